"""Takes impossible spans out of a request, counted by reason; repairs what can be repaired. No I/O.

Sources: trace.proto of OTLP ("The ID is a 16-byte array. An ID with all zeroes OR of length other than 16 bytes is
considered invalid"), and the columns of MLflow's tables (times are signed 64-bit nanoseconds).
"""

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from headrace.envelope.incoming import Request
from headrace.otlp.readable import ReadableRequest, ReadableSpan
from headrace.processor.edit import drop_empty, replace_spans
from headrace.processor.verdict import Verdict

_NO_TRACE_ID = bytes(16)
_NO_SPAN_ID = bytes(8)
_MAX_INT64 = 2**63 - 1


class Validate:
    """The first processor. Every span that it lets pass can be stored, and every scope and resource has a span.

    An end that no column can hold is mended later (`headrace.mlflow.translate.times`), so that what was sent can be kept.
    """

    def process(self, request: Request, verdict: Verdict) -> Request:
        """See `Processor`. Nearly all requests are fine: they are read once, and keep their original bytes."""
        if not _is_fine(request.message):
            _mend(request.for_change(), verdict)
        return request


def _is_fine(message: ReadableRequest) -> bool:
    """Whether nothing of it has to be changed."""
    for resource_spans in message.resource_spans:
        if not resource_spans.scope_spans:
            return False
        for scope in resource_spans.scope_spans:
            spans = scope.spans
            if not spans:
                return False
            for span in spans:
                if _reason(span) or _is_its_own_parent(span):
                    return False
    return True


def _mend(message: ExportTraceServiceRequest, verdict: Verdict) -> None:
    for resource_spans in message.resource_spans:
        for scope in resource_spans.scope_spans:
            reasons = [_reason(span) for span in scope.spans]
            if any(reasons):
                kept = [span for span, reason in zip(scope.spans, reasons, strict=True) if reason is None]
                verdict.rejected.update(reason for reason in reasons if reason)
                replace_spans(scope, kept)
            for span in scope.spans:
                _repair(span, verdict)
    drop_empty(message)


def _repair(span: Span, verdict: Verdict) -> None:
    if _is_its_own_parent(span):
        span.ClearField("parent_span_id")
        verdict.repair("self_parent")


def _is_its_own_parent(span: ReadableSpan) -> bool:
    return bool(span.parent_span_id) and span.parent_span_id == span.span_id


def _reason(span: ReadableSpan) -> str | None:
    """The first reason for which this span cannot be stored, or None."""
    if len(span.trace_id) != 16 or span.trace_id == _NO_TRACE_ID:
        return "invalid_trace_id"
    if len(span.span_id) != 8 or span.span_id == _NO_SPAN_ID:
        return "invalid_span_id"
    if span.parent_span_id and len(span.parent_span_id) != 8:
        return "invalid_parent_span_id"
    if span.start_time_unix_nano > _MAX_INT64:
        return "time_out_of_range"
    return None
