"""Builds OTLP messages for tests: `span(…)`, `request(span(…), service="checkout")`."""

import os
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from headrace.envelope.incoming import Request, Sender
from headrace.processor.validate import Validate
from headrace.processor.verdict import Verdict

SECOND = 1_000_000_000
START = 1_790_000_000 * SECOND


def value(python: Any) -> AnyValue:
    """A Python value → an AnyValue; None → one without a value."""
    if python is None:
        return AnyValue()
    if isinstance(python, bool):
        return AnyValue(bool_value=python)
    if isinstance(python, int):
        return AnyValue(int_value=python)
    if isinstance(python, float):
        return AnyValue(double_value=python)
    if isinstance(python, bytes):
        return AnyValue(bytes_value=python)
    if isinstance(python, dict):
        return AnyValue(kvlist_value=KeyValueList(values=attributes(python)))
    if isinstance(python, list):
        return AnyValue(array_value=ArrayValue(values=[value(item) for item in python]))
    return AnyValue(string_value=str(python))


def attributes(pairs: dict[str, Any]) -> list[KeyValue]:
    """A dict → OTLP attributes."""
    return [KeyValue(key=key, value=value(python)) for key, python in pairs.items()]


def span(
    name: str = "work",
    trace_id: bytes | None = None,
    span_id: bytes | None = None,
    parent: bytes = b"",
    start: int = START,
    end: int = START + SECOND,
    attrs: dict[str, Any] | None = None,
    **fields: Any,
) -> Span:
    """A span that is valid unless told otherwise."""
    return Span(
        trace_id=os.urandom(16) if trace_id is None else trace_id,
        span_id=os.urandom(8) if span_id is None else span_id,
        parent_span_id=parent,
        name=name,
        start_time_unix_nano=start,
        end_time_unix_nano=end,
        attributes=attributes(attrs or {}),
        **fields,
    )


def resource_spans(*spans: Span, service: str | None = "checkout", **resource: Any) -> ResourceSpans:
    """One resource with one scope; underscores in the names of its attributes become dots."""
    named = {"service.name": service} if service else {}
    named |= {key.replace("_", "."): python for key, python in resource.items()}
    return ResourceSpans(resource=Resource(attributes=attributes(named)), scope_spans=[ScopeSpans(spans=spans)])


def request(*spans: Span, service: str | None = "checkout", **resource: Any) -> ExportTraceServiceRequest:
    """A request of one resource."""
    return ExportTraceServiceRequest(resource_spans=[resource_spans(*spans, service=service, **resource)])


def trace_id_of(message: Span) -> str:
    """MLflow's id of the span's trace."""
    return f"tr-{message.trace_id.hex()}"


def sent(message: ExportTraceServiceRequest, headers: dict[str, str] | None = None, **sender: Any) -> Request:
    """A message as it comes in over protobuf, with the bytes that it was read from."""
    original = message.SerializeToString()
    return Request(ExportTraceServiceRequest.FromString(original), Sender(headers or {}, **sender), original)


def validate(message: ExportTraceServiceRequest) -> Verdict:
    """Takes out of the message, in place, what Headrace never stores; says what that was."""
    request = Request(message, Sender({}))
    verdict = Verdict.of(request)
    Validate().process(request, verdict)
    return verdict
