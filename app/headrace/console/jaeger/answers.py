"""What was read → Jaeger's messages. Pure; no I/O.

Each message stays under the 4 MiB that gRPC's clients take by default: a trace goes on in the next message. A span, or a
resource, that is larger alone loses its largest attributes; `dropped_attributes_count` says how many.
"""

from collections.abc import Iterator
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, TracesData

from headrace.analysis.otlp import traces_of
from headrace.analysis.trace import Trace
from headrace.console.jaeger.trace_storage_pb2 import ServiceSummary, TraceSummary

MAX_MESSAGE_BYTES = 2 * 1024 * 1024
"""Where a message is cut. One span and its resource may come on top of it."""
_MAX_PART_BYTES = 512 * 1024
"""Of one span, and of a resource with its scope."""


def chunks(data: TracesData) -> Iterator[TracesData]:
    """One trace → messages, none of them empty."""
    message, size = TracesData(), 0
    for resource_spans in data.resource_spans:
        for scope in resource_spans.scope_spans:
            head = _head(resource_spans, scope.scope, scope.schema_url)
            begun = None
            for sent in scope.spans:
                span = _fitting(sent)
                if begun is None or size + span.ByteSize() > MAX_MESSAGE_BYTES:
                    if size + head.ByteSize() + span.ByteSize() > MAX_MESSAGE_BYTES and size:
                        yield message
                        message, size = TracesData(), 0
                    begun = message.resource_spans.add()
                    begun.CopyFrom(head)
                    size += head.ByteSize()
                begun.scope_spans[0].spans.append(span)
                size += span.ByteSize() + 8
    if size:
        yield message


def _head(resource_spans: ResourceSpans, scope: Any, schema_url: str) -> ResourceSpans:
    """A resource and a scope, without spans."""
    head = ResourceSpans(schema_url=resource_spans.schema_url)
    if resource_spans.HasField("resource"):
        head.resource.CopyFrom(_bounded(resource_spans.resource))
    added = head.scope_spans.add(schema_url=schema_url)
    if scope.ByteSize():
        added.scope.CopyFrom(_bounded(scope))
    return head


def _bounded(holder: Any) -> Any:
    """A resource, a scope or a span whose attributes are small enough."""
    excess = holder.ByteSize() - _MAX_PART_BYTES
    if excess <= 0:
        return holder
    copy = type(holder)()
    copy.CopyFrom(holder)
    for index in sorted(range(len(holder.attributes)), key=lambda index: -holder.attributes[index].ByteSize()):
        if excess <= 0:
            break
        excess -= holder.attributes[index].ByteSize()
        copy.attributes[index].Clear()
    kept = [pair for pair in copy.attributes if pair.key]
    copy.dropped_attributes_count = min(2**32 - 1, copy.dropped_attributes_count + len(copy.attributes) - len(kept))
    del copy.attributes[:]
    copy.attributes.extend(kept)
    return copy


def _fitting(span: Span) -> Span:
    """A span that is small enough. What does not fit goes: attributes, the largest first; then all events, then all links."""
    small = _bounded(span)
    for field in ("events", "links"):
        if small.ByteSize() > _MAX_PART_BYTES:
            number = len(getattr(small, field))
            small.ClearField(field)
            setattr(small, f"dropped_{field}_count", min(2**32 - 1, getattr(small, f"dropped_{field}_count") + number))
    if small.ByteSize() > _MAX_PART_BYTES:  # a name or a message of megabytes
        small.name, small.trace_state = small.name[:1000], ""
        small.status.message = small.status.message[:1000]
    return small  # type: ignore[no-any-return]


def summary(data: TracesData) -> TraceSummary | None:
    """One trace → what Jaeger's list of traces shows of it. None: it has no span."""
    for trace in traces_of(data):
        return _summary(trace)
    return None


def _summary(trace: Trace) -> TraceSummary:
    spans = trace.spans.values()
    services: dict[str, ServiceSummary] = {}
    for span in spans:
        service = services.setdefault(span.service, ServiceSummary(name=span.service))
        service.span_count += 1
        service.error_span_count += span.error
    root = trace.roots[0]
    return TraceSummary(
        trace_id=bytes.fromhex(trace.trace_id),
        root_service_name=root.service,
        root_operation_name=root.operation,
        min_start_time_unix_nano=min(span.start for span in spans),
        max_end_time_unix_nano=max(span.end for span in spans),
        span_count=len(spans),
        error_span_count=sum(span.error for span in spans),
        orphan_span_count=sum(bool(span.parent_id) for span in trace.roots),
        services=[services[name] for name in sorted(services)],
    )
