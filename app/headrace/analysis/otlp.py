"""OTLP → `Trace`, for the analysis."""

from collections.abc import Iterable

from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, TracesData
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan

from headrace.analysis.trace import Span, Trace
from headrace.otlp.attributes import to_dict, to_text
from headrace.otlp.readable import ReadablePair

_PEERS = ("peer.service", "service.peer.name")
"""Attributes by which a span names the service that it calls; the first that is there counts."""


def traces_of(data: TracesData) -> list[Trace]:
    """Spans of any traces → the traces, ordered by id. Ids are in hex."""
    spans: dict[str, list[Span]] = {}
    for resource_spans in data.resource_spans:
        service = _service(resource_spans)
        for scope in resource_spans.scope_spans:
            for span in scope.spans:
                spans.setdefault(span.trace_id.hex(), []).append(_span(service, span))
    return [Trace.of(trace_id, found) for trace_id, found in sorted(spans.items())]


def _service(resource_spans: ResourceSpans) -> str:
    return _text(resource_spans.resource.attributes, ("service.name",))


def _span(service: str, span: OtlpSpan) -> Span:
    return Span(
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex() if any(span.parent_span_id) else "",
        service=service,
        operation=span.name,
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        kind=span.kind,
        error=span.status.code == span.status.STATUS_CODE_ERROR,
        peer=_text(span.attributes, _PEERS),
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
    )


def _text(attributes: Iterable[ReadablePair], keys: tuple[str, ...]) -> str:
    values = to_dict(pair for pair in attributes if pair.key in keys)
    return next((to_text(values[key]) for key in keys if key in values), "")
