"""The spans of a request."""

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from headrace.otlp.readable import ReadableRequest


def spans_of(request: ExportTraceServiceRequest) -> list[Span]:
    """All spans of a request, in order."""
    return [span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]


def count_spans(request: ReadableRequest) -> int:
    """How many spans a request holds."""
    return sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)
