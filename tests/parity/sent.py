"""OTLP, span by span, in a form in which what was sent and what was read back are equal where they say the same."""

from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, TracesData

Key = tuple[bytes, bytes]
Sent = dict[Key, tuple[bytes, bytes]]


def normal(span: Span) -> Span:
    """An empty Status or AnyValue says the same as none; two members of a `oneof` say what the last one says."""
    copy = Span.FromString(span.SerializeToString())
    if not copy.status.code and not copy.status.message:
        copy.ClearField("status")
    holders: list[Any] = [copy, *copy.events, *copy.links]
    for holder in holders:
        for pair in holder.attributes:
            pair.value.SetInParent()
    return copy


def has_end(span: Span) -> bool:
    """Whether it has an end that can be one. A copy without takes no other's place."""
    return span.start_time_unix_nano <= span.end_time_unix_nano < 2**63 and span.end_time_unix_nano > 0


def by_span(data: "TracesData | ExportTraceServiceRequest") -> Sent:
    """Each span, by its ids: (resource and scope, span). Of one that comes twice the last stands, as in the tables; but none
    without an end takes the place of one that has one."""
    found: Sent = {}
    whole: set[Key] = set()
    for resource_spans in data.resource_spans:
        for scope in resource_spans.scope_spans:
            origin = b"|".join(
                (
                    resource_spans.resource.SerializeToString(deterministic=True),
                    resource_spans.schema_url.encode(),
                    scope.scope.SerializeToString(deterministic=True),
                    scope.schema_url.encode(),
                )
            )
            for span in scope.spans:
                key = span.trace_id, span.span_id
                if has_end(span) or key not in whole:
                    found[key] = (origin, normal(span).SerializeToString(deterministic=True))
                if has_end(span):
                    whole.add(key)
    return found
