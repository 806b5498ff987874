"""Takes spans out of a message."""

from collections.abc import Sequence

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span


def replace_spans(scope: ScopeSpans, spans: Sequence[Span]) -> None:
    """Takes out all spans in one pass. To delete them from a repeated field one by one would take time in the square of its
    length."""
    kept = ScopeSpans(spans=spans)
    scope.ClearField("spans")
    scope.spans.MergeFrom(kept.spans)


def drop_empty(message: ExportTraceServiceRequest) -> None:
    """Takes out scopes and resources without spans, so that they need no destination. (OTLP: "MAY ignore" them.)"""
    if all(map(_says_something, message.resource_spans)):
        return
    kept = ExportTraceServiceRequest()
    for resource_spans in message.resource_spans:
        if scopes := [scope for scope in resource_spans.scope_spans if scope.spans]:
            copy = kept.resource_spans.add(schema_url=resource_spans.schema_url, scope_spans=scopes)
            if resource_spans.HasField("resource"):
                copy.resource.CopyFrom(resource_spans.resource)
    message.CopyFrom(kept)


def _says_something(resource_spans: ResourceSpans) -> bool:
    return len(resource_spans.scope_spans) > 0 and all(scope.spans for scope in resource_spans.scope_spans)
