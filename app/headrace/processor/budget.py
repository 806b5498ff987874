"""How many rows a request becomes when it is written, told before it is queued, and kept within a limit. Pure; no I/O.

What many spans share is sent once and stored for each of them: a resource of 1,500 attributes and 300 traces fit into 15 KB of
gzip, and become 450,000 tags. So a request has a budget. Traces are given fewer tags first, which loses nothing that
`headrace.origin` does not keep; spans that do not fit even so are refused.

A row counts once, and once more for each further KiB that the request makes it longer.
"""

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from headrace.processor.validate import Verdict, drop_empty, replace_spans

_KIB = 1024
_MAX_VALUE = 8000
"""Characters of a tag's value that MLflow keeps."""
_MAX_SHARED = 3
"""KiB that enrichment adds to a span at the most: its service, the name and version of its scope."""
_HELD = 4
_TRACE_ROWS = 6
"""Of a trace: its own, the places of its spans and artifacts, its user, the link to its run, a note of ours."""
_TRACE_TAG = "mlflow.traceTag."
_NO_TAGS = ("telemetry.sdk.", "mlflow.")


def keep_within(request: ExportTraceServiceRequest, verdict: Verdict, max_rows: int, max_tags: int) -> int:
    """Takes out of `request` the spans that do not fit into `max_rows`, and says how many tags each trace may have.

    Returns:
        A number below `max_tags` where the budget leaves room for no more; else 0, which means `max_tags`.
    """
    if _fits(request, max_rows, max_tags):
        return 0
    used, traces = _keep_spans(request, verdict, max_rows, max_tags)
    heaviest = max((_tag_rows(resource.resource) for resource in request.resource_spans), default=1)
    allowed = min(max_tags, max(1, (max_rows - used) // max(1, len(traces) * heaviest)))
    over = sum(_over(resource_spans, allowed) for resource_spans in request.resource_spans)
    if over:
        verdict.warn("tags_over_limit", over)
    return allowed if allowed < max_tags else 0


def _fits(request: ExportTraceServiceRequest, max_rows: int, max_tags: int) -> bool:
    """Whether it fits in any case: as if each span were a trace of its own. Quick, for nearly all requests do."""
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


def _keep_spans(request: ExportTraceServiceRequest, verdict: Verdict, max_rows: int, max_tags: int) -> tuple[int, set[bytes]]:
    """Takes out the spans that do not fit, without the tags of resources; returns the rows of the others, and their traces."""
    used, refused = 0, 0
    traces: set[bytes] = set()
    for resource_spans in request.resource_spans:
        size = _origin_rows(resource_spans)
        for scope in resource_spans.scope_spans:
            shared = _shared_rows(resource_spans, scope)
            kept: list[Span] = []
            for span in scope.spans:
                rows = 1 + shared + min(_root_tags(span), max_tags) + (0 if kept else size)
                rows += 0 if span.trace_id in traces else _TRACE_ROWS
                if used + rows <= max_rows:
                    used += rows
                    traces.add(span.trace_id)
                    kept.append(span)
            if len(kept) < len(scope.spans):
                refused += len(scope.spans) - len(kept)
                replace_spans(scope, kept)
    if refused:
        verdict.reject("too_many_rows", refused)
        drop_empty(request)
    return used, traces


def _origin_rows(resource_spans: ResourceSpans) -> int:
    """What stands once for each scope: the resource with it. On its way the driver and libpq hold it several times."""
    return 1 + _HELD * resource_spans.resource.ByteSize() // _KIB


def _shared_rows(resource_spans: ResourceSpans, scope: ScopeSpans) -> int:
    """KiB that each span of a scope is given."""
    service = max((_length(pair) for pair in resource_spans.resource.attributes if pair.key == "service.name"), default=0)
    shared = sum(min(length, _KIB) for length in (service, len(scope.scope.name), len(scope.scope.version)))
    return shared // _KIB


def _tag_rows(resource: Resource) -> int:
    """Rows that the longest tag of the resource counts as."""
    longest = max(map(_length, resource.attributes), default=0)
    return 1 + min(longest, _MAX_VALUE) // _KIB


def _length(pair: KeyValue) -> int:
    return len(pair.value.string_value) or pair.value.ByteSize()


def _over(resource_spans: ResourceSpans, allowed: int) -> int:
    """How many spans of this resource belong to traces that do not get all tags."""
    tags = sum(1 for pair in resource_spans.resource.attributes if not pair.key.startswith(_NO_TAGS))
    spans = (span for scope in resource_spans.scope_spans for span in scope.spans)
    if tags > allowed:
        return sum(1 for _ in spans)
    return sum(1 for span in spans if _root_tags(span) > allowed)


def _root_tags(span: Span) -> int:
    """How many tags a root span gives its trace."""
    return 0 if span.parent_span_id else sum(1 for pair in span.attributes if pair.key.startswith(_TRACE_TAG))
