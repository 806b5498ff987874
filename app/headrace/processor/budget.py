"""Limits how many rows a request becomes when it is written. It is checked before the request is queued. No I/O.

A value that many spans share is sent once, but stored for each of them: a resource of 1,500 attributes with 300 traces fits
into 15 KB of gzip, and becomes 450,000 tags. So a request has a budget. First its traces get fewer tags; nothing is lost by
that, because `headrace.origin` keeps the attributes. Spans that still do not fit are refused.

A row of up to 1 KiB counts as one row, and each further KiB as one more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from headrace.envelope.incoming import Request
from headrace.otlp.readable import (
    ReadablePair,
    ReadableRequest,
    ReadableResource,
    ReadableResourceSpans,
    ReadableScopeSpans,
    ReadableSpan,
)
from headrace.processor.edit import drop_empty, replace_spans
from headrace.processor.verdict import Verdict

_KIB = 1024
_MAX_VALUE = 8000
"""Characters of a tag's value that MLflow keeps."""
_MAX_SHARED = 3
"""KiB that enrichment adds to a span at the most: its service, the name and version of its scope."""
_HELD = 4
_TRACE_ROWS = 6
"""The other rows of a trace: its own row, the tags with the places of its spans and artifacts, its user, the link to its run,
and a note of ours."""
_TRACE_TAG = "mlflow.traceTag."
_NO_TAGS = ("telemetry.sdk.", "mlflow.")


@dataclass(frozen=True, slots=True)
class Budget:
    """The processor that takes out the spans that do not fit into `max_rows`, and says how many tags each trace may have."""

    max_rows: int
    max_tags: int

    def process(self, request: Request, verdict: Verdict) -> Request:
        """See `Processor`. `request.max_tags` is set where the budget leaves room for fewer than `max_tags`."""
        if _fits(request.message, self.max_rows, self.max_tags):
            return request
        plan = _plan(request.message, self.max_rows, self.max_tags)
        if plan.refused:
            verdict.reject("too_many_rows", plan.refused)
            _keep(request.for_change(), plan.kept)
        message = request.message
        heaviest = max((_tag_rows(resource.resource) for resource in message.resource_spans), default=1)
        allowed = min(self.max_tags, max(1, (self.max_rows - plan.rows) // max(1, plan.traces * heaviest)))
        if over := sum(_over(resource_spans, allowed) for resource_spans in message.resource_spans):
            verdict.warn("tags_over_limit", over)
        request.max_tags = allowed if allowed < self.max_tags else 0
        return request


@dataclass(slots=True)
class _Plan:
    """Which spans stay: for each scope in turn their indices, then the rows that they become, and their traces."""

    kept: list[list[int]]
    refused: int = 0
    rows: int = 0
    traces: int = 0


def _fits(request: ReadableRequest, max_rows: int, max_tags: int) -> bool:
    """Whether the request fits even if each span were a trace of its own. This check is quick, and nearly all requests pass
    it."""
    rows = 0
    for resource_spans in request.resource_spans:
        tags = len(resource_spans.resource.attributes)
        size = _origin_rows(resource_spans)
        each = 1 + _MAX_SHARED + _TRACE_ROWS + tags + min(size, tags * _MAX_VALUE // _KIB)
        for scope in resource_spans.scope_spans:
            own = [len(span.attributes) for span in scope.spans if not span.parent_span_id]
            rows += size + len(scope.spans) * each + sum(own)
            if rows > max_rows or tags > max_tags or (own and max(own) > max_tags):
                return False
    return True


def _plan(request: ReadableRequest, max_rows: int, max_tags: int) -> _Plan:
    """Keeps each span that still fits, without the tags of its resource. A later, smaller span may fit although an earlier one
    did not."""
    plan = _Plan([])
    traces: set[bytes] = set()
    for resource_spans in request.resource_spans:
        size = _origin_rows(resource_spans)
        for scope in resource_spans.scope_spans:
            shared = _shared_rows(resource_spans, scope)
            kept: list[int] = []
            for number, span in enumerate(scope.spans):
                rows = 1 + shared + min(_root_tags(span), max_tags) + (0 if kept else size)
                rows += 0 if span.trace_id in traces else _TRACE_ROWS
                if plan.rows + rows <= max_rows:
                    plan.rows += rows
                    traces.add(span.trace_id)
                    kept.append(number)
            plan.refused += len(scope.spans) - len(kept)
            plan.kept.append(kept)
    plan.traces = len(traces)
    return plan


def _keep(message: ExportTraceServiceRequest, kept: Sequence[Sequence[int]]) -> None:
    """Takes out all spans but these; `kept` has their indices for each scope in turn."""
    scopes = (scope for resource_spans in message.resource_spans for scope in resource_spans.scope_spans)
    for scope, numbers in zip(scopes, kept, strict=True):
        if len(numbers) < len(scope.spans):
            replace_spans(scope, [scope.spans[number] for number in numbers])
    drop_empty(message)


def _origin_rows(resource_spans: ReadableResourceSpans) -> int:
    """KiB of what is stored once for each scope: the scope and its resource. The driver and libpq hold several copies of it."""
    return 1 + _HELD * resource_spans.resource.ByteSize() // _KIB


def _shared_rows(resource_spans: ReadableResourceSpans, scope: ReadableScopeSpans) -> int:
    """KiB that each span of a scope is given."""
    service = max((_length(pair) for pair in resource_spans.resource.attributes if pair.key == "service.name"), default=0)
    shared = sum(min(length, _KIB) for length in (service, len(scope.scope.name), len(scope.scope.version)))
    return shared // _KIB


def _tag_rows(resource: ReadableResource) -> int:
    """Rows that the longest tag of the resource counts as."""
    longest = max(map(_length, resource.attributes), default=0)
    return 1 + min(longest, _MAX_VALUE) // _KIB


def _length(pair: ReadablePair) -> int:
    return len(pair.value.string_value) or pair.value.ByteSize()


def _over(resource_spans: ReadableResourceSpans, allowed: int) -> int:
    """How many spans of this resource belong to traces that do not get all tags."""
    tags = sum(1 for pair in resource_spans.resource.attributes if not pair.key.startswith(_NO_TAGS))
    spans = (span for scope in resource_spans.scope_spans for span in scope.spans)
    if tags > allowed:
        return sum(1 for _ in spans)
    return sum(1 for span in spans if _root_tags(span) > allowed)


def _root_tags(span: ReadableSpan) -> int:
    """How many tags a root span gives its trace."""
    return 0 if span.parent_span_id else sum(1 for pair in span.attributes if pair.key.startswith(_TRACE_TAG))
