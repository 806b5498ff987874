"""Takes out spans that are larger than a record of Kafka's topic may be. Only where the queue is in Kafka. No I/O."""

from headrace.envelope.incoming import Request
from headrace.otlp.readable import ReadableRequest
from headrace.processor.edit import drop_empty, replace_spans
from headrace.processor.verdict import Verdict

_BESIDE = 4096
"""Bytes of a record beside its span, its resource and its scope: headers, and what the envelope says of the sender."""


class RecordSize:
    """Every span that it lets pass fits into a record alone, with its resource and its scope."""

    def __init__(self, max_record: int) -> None:
        self._most = max_record - _BESIDE

    def process(self, request: Request, verdict: Verdict) -> Request:
        """See `Processor`. A request that fits as a whole is not looked at."""
        whole = len(request.original) if request.original is not None else request.message.ByteSize()
        if whole > self._most and self._too_large(request.message):
            self._take_out(request, verdict)
        return request

    def _too_large(self, message: ReadableRequest) -> bool:
        return any(
            resource.resource.ByteSize() + scope.scope.ByteSize() + span.ByteSize() > self._most
            for resource in message.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        )

    def _take_out(self, request: Request, verdict: Verdict) -> None:
        message = request.for_change()
        for resource in message.resource_spans:
            for scope in resource.scope_spans:
                beside = resource.resource.ByteSize() + scope.scope.ByteSize()
                kept = [span for span in scope.spans if beside + span.ByteSize() <= self._most]
                if len(kept) < len(scope.spans):
                    verdict.reject("too_large_record", len(scope.spans) - len(kept))
                    replace_spans(scope, kept)
        drop_empty(message)
