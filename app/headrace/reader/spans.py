"""Rows of MLflow's table `spans` → OTLP. One row that cannot be read costs one span's details, never the trace."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status, TracesData

from headrace.mlflow.translate.readback import to_span
from headrace.telemetry.logging import log_rarely

_CODES = {"OK": 1, "ERROR": 2}


class StoredSpan(NamedTuple):
    """A row, as the statement `SPANS` names its columns."""

    content: str
    span_id: str
    parent_span_id: str | None
    name: str | None
    status: str
    start: int
    end: int | None


class ParsedSpan(NamedTuple):
    """A span, and the digest of the resource and scope that it came with. Empty: none is known."""

    span: Span
    digest: str


def parse(trace_id: bytes, row: StoredSpan) -> ParsedSpan:
    """A row → its span. Where its content is not what MLflow writes today, the span has what the columns say."""
    try:
        stored = json.loads(row.content)
        note = stored.get("otlp")
        return ParsedSpan(to_span(stored), str(note["origin"]) if note else "")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        log_rarely("a stored span cannot be read", "reader", trace=trace_id.hex(), span=row.span_id, error=str(error)[:200])
        return ParsedSpan(_of_columns(trace_id, row), "")


def _of_columns(trace_id: bytes, row: StoredSpan) -> Span:
    code = _CODES.get(row.status, 0)
    return Span(
        trace_id=trace_id,
        span_id=_id(row.span_id),
        parent_span_id=_id(row.parent_span_id or ""),
        name=row.name or "",
        start_time_unix_nano=max(0, row.start),
        end_time_unix_nano=max(0, row.end or 0),
        status=Status(code=code) if code else None,  # type: ignore[arg-type]
    )


def _id(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return text.encode()[:8]


def grouped(spans: Iterable[ParsedSpan], origins: Mapping[str, bytes]) -> TracesData:
    """Spans and the resources and scopes that they name → OTLP, one ResourceSpans for each of them."""
    found: dict[str, Any] = {}
    for span, digest in spans:
        if digest not in found:
            found[digest] = empty(origins.get(digest, b""))
        found[digest].scope_spans[0].spans.append(span)
    return TracesData(resource_spans=found.values())


def of_service(name: str) -> bytes:
    """A resource that says no more than the name of its service, as `headrace.origin` would store it."""
    attribute = KeyValue(key="service.name", value=AnyValue(string_value=name))
    return ResourceSpans(resource=Resource(attributes=[attribute])).SerializeToString()


def empty(origin: bytes) -> ResourceSpans:
    """A stored resource and scope, with room for spans."""
    message = ResourceSpans.FromString(origin)
    if not message.scope_spans:
        message.scope_spans.add()
    return message
