"""How the demo's traces are built: OTLP messages by hand, a request for each service, as several services would send them."""

import os
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

MS = 1_000_000
INTERNAL, SERVER, CLIENT = Span.SPAN_KIND_INTERNAL, Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT


class Trace:
    """A trace that ends at a moment. Its spans are added from the root downwards; times are milliseconds from its start."""

    def __init__(self, end_unix_nano: int, length_ms: int, slowness: float = 1.0) -> None:
        self._id = os.urandom(16)
        self._slowness = slowness
        self._start = end_unix_nano - int(length_ms * slowness) * MS
        self._services: dict[str, tuple[str, list[Span]]] = {}

    @property
    def mlflow_id(self) -> str:
        """MLflow's id of it."""
        return f"tr-{self._id.hex()}"

    def span(
        self,
        service: tuple[str, str],
        parent: Span | None,
        name: str,
        times: tuple[int, int],
        kind: "Span.SpanKind.ValueType" = INTERNAL,
        **said: Any,
    ) -> Span:
        """Adds a span. `service`: its name and language; `times`: begin and end; `said`: attributes, where `a__b` is `a.b`."""
        begin, end = (self._start + int(time * self._slowness) * MS for time in times)
        made = Span(
            trace_id=self._id,
            span_id=os.urandom(8),
            parent_span_id=parent.span_id if parent is not None else b"",
            name=name,
            kind=kind,
            start_time_unix_nano=begin,
            end_time_unix_nano=end,
            attributes=[attribute(key.replace("__", "."), value) for key, value in said.items()],
            status=Status(code=Status.STATUS_CODE_OK),
        )
        self._services.setdefault(service[0], (service[1], []))[1].append(made)
        return made

    def requests(self) -> list[ExportTraceServiceRequest]:
        """One for each service. The root's service comes last, and in it the root: spans end in that order."""
        return [_request(name, language, spans[::-1]) for name, (language, spans) in reversed(self._services.items())]


def fail(span: Span, kind: str, message: str) -> None:
    """Makes it a span that ended with an exception."""
    span.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message=message))
    said = {"exception.type": kind, "exception.message": message}
    span.events.add(
        name="exception", time_unix_nano=span.end_time_unix_nano, attributes=[attribute(*pair) for pair in said.items()]
    )


def resource(service: str, language: str) -> Resource:
    """What a service says of itself."""
    said = {"service.name": service, "telemetry.sdk.language": language, "deployment.environment.name": "demo"}
    return Resource(attributes=[attribute(key, value) for key, value in said.items()])


def _request(service: str, language: str, spans: list[Span]) -> ExportTraceServiceRequest:
    scopes = [ScopeSpans(spans=spans)]
    return ExportTraceServiceRequest(resource_spans=[ResourceSpans(resource=resource(service, language), scope_spans=scopes)])


def attribute(key: str, value: str | float) -> KeyValue:
    """A whole number, another number, or a text."""
    if isinstance(value, int):
        return KeyValue(key=key, value=AnyValue(int_value=value))
    if isinstance(value, float):
        return KeyValue(key=key, value=AnyValue(double_value=value))
    return KeyValue(key=key, value=AnyValue(string_value=value))
