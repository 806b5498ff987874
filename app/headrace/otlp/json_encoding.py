"""OTLP/JSON ↔ `ExportTraceServiceRequest`: the form of the specification, and wrong forms that exporters send. No I/O.

Source: OTLP specification, "JSON Protobuf Encoding"
(https://github.com/open-telemetry/opentelemetry-proto/blob/main/docs/specification.md#json-protobuf-encoding).
"""

import base64
import json
from collections.abc import Iterator
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from headrace.errors import BodyTooLarge, MalformedBody
from headrace.otlp import weight
from headrace.otlp.parts import MAX_PARTS
from headrace.otlp.weight import Charge

_ID_KEYS = ("traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id")
_MAX_DEPTH = 100  # protobuf's own limit for nested messages on the wire, applied to JSON as well
_SPAN_DEPTH = 3  # levels above a span in its request
_MAX_OBJECTS = 4_000_000
"""Most objects and lists in one body. Each may be three bytes long, and costs 10 µs and up to 200 bytes of memory. The densest
body of 64 MiB that an exporter sends has half as many."""
_BAD_JSON = (
    *(json_format.ParseError, ValueError, TypeError, AttributeError, RecursionError),
    OverflowError,  # an enum of 1e999, a double of 400 digits
    SystemError,  # protobuf raises it for half a surrogate pair in an object's key
)


def decode_json(body: bytes, charge: Charge = weight.nothing) -> tuple[ExportTraceServiceRequest, int]:
    """A body → the request, and the number of spans that were left out because their JSON is not that of a span.

    `charge` is called with bytes of memory before they are taken.

    Raises:
        MalformedBody: the body is no `ExportTraceServiceRequest`.
        BodyTooLarge: it has too many parts. InFlightFull: `charge` raised it.
    """
    data = load_object(body, charge)
    try:
        charge(weight.of_json_messages(body, _check_parts(data)))
        _decode_ids(data)
        return _parse(data, ExportTraceServiceRequest()), 0
    except _BAD_JSON:
        pass  # not the specification's form: try again, forgiving known mistakes
    del data  # frees its memory: the next one takes as much, and `_forgiven` makes a third
    try:
        data = _forgiven(load_object(body, charge))
        _decode_ids(data)
    except _BAD_JSON as error:
        raise MalformedBody(f"The body is not an OTLP/JSON ExportTraceServiceRequest: {_first_line(error)}") from None
    return _salvage(data)


def encode_json(request: ExportTraceServiceRequest) -> dict[str, Any]:
    """A request → its OTLP/JSON as a JSON object: ids in hex, enums as numbers. The inverse of `decode_json`."""
    data: dict[str, Any] = json_format.MessageToDict(request, use_integers_for_enums=True)
    for span in _each_span(data):
        for holder in (span, *span.get("links", ())):
            holder |= {key: base64.b64decode(holder[key]).hex() for key in _ID_KEYS if key in holder}
    return data


def load_object(body: bytes, charge: Charge = weight.nothing) -> dict[str, Any]:
    """A body → the JSON object in it. `charge` is called with the bytes of memory that the object will take.

    Raises:
        MalformedBody: the body is no JSON object.
        BodyTooLarge: it has too many parts. InFlightFull: `charge` raised it.
    """
    if body.count(b"{") + body.count(b"[") > _MAX_OBJECTS:
        raise BodyTooLarge(f"The body has over {_MAX_OBJECTS} objects and lists: send smaller batches.")
    charge(weight.of_json(body))
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedBody(f"The body is not JSON: {_first_line(error)}") from None
    if not isinstance(data, dict):
        raise MalformedBody("The body is JSON, but not an object: send an OTLP/JSON request.")
    return data


def _check_parts(data: dict[str, Any]) -> int:
    """Returns the number of spans, scopes and resources. Refuses too many of them here, because `parts.check_parts` could do so
    only after parsing, which takes much longer."""
    parts = len(data.get("resourceSpans") or data.get("resource_spans") or ())
    for _, scope in _each_scope(data):
        parts += 1 + len(_spans_of(scope))
    if parts > MAX_PARTS:
        raise BodyTooLarge(f"The body has over {MAX_PARTS} spans: send smaller batches.")
    return parts


def _decode_ids(data: dict[str, Any]) -> None:
    for span in _each_span(data):
        _ids_to_base64(span)
        links = span.get("links")
        for link in links if isinstance(links, list) else ():  # if it is no list, this span is left out later
            if isinstance(link, dict):
                _ids_to_base64(link)


def _forgiven(value: Any) -> Any:
    """A JSON value → the same with known mistakes of exporters corrected: 64-bit integers as `{"low": …, "high": …}`
    (opentelemetry-js#4202), and half surrogate pairs."""
    if isinstance(value, dict):
        if value.keys() - {"unsigned"} == {"low", "high"}:
            return _long(value)
        return {_forgiven(key): _forgiven(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_forgiven(item) for item in value]
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def _long(value: dict[str, Any]) -> Any:
    """`{"low": …, "high": …}` → a decimal text. `high` is signed unless `unsigned` is true. Another object is returned as it
    is, and its span is left out later."""
    low, high = value["low"], value["high"]
    if not (isinstance(low, int) and isinstance(high, int)):
        return value
    number = high << 32 | low & 0xFFFFFFFF
    return str(number & 0xFFFFFFFFFFFFFFFF if value.get("unsigned") else number)


def _salvage(data: dict[str, Any]) -> tuple[ExportTraceServiceRequest, int]:
    """A JSON object → the request without the spans that cannot be parsed, and their number. So one bad span costs one span."""
    left_out = 0
    reason = ""
    for _, scope in _each_scope(data):
        kept = []
        for span in _spans_of(scope):
            try:
                if not isinstance(span, dict):
                    raise TypeError("a span is not an object")
                _parse(span, Span(), _SPAN_DEPTH)
                kept.append(span)
            except _BAD_JSON as error:
                left_out += 1
                reason = _first_line(error)
        scope["spans"] = kept
    try:
        return _parse(data, ExportTraceServiceRequest()), left_out
    except _BAD_JSON as error:
        reason = reason or _first_line(error)
        raise MalformedBody(f"The body is not an OTLP/JSON ExportTraceServiceRequest: {reason}") from None


def _parse(data: dict[str, Any], message: Any, depth: int = 0) -> Any:
    return json_format.ParseDict(data, message, ignore_unknown_fields=True, max_recursion_depth=_MAX_DEPTH - depth)


def _each_scope(data: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for resource in data.get("resourceSpans") or data.get("resource_spans") or ():
        for scope in resource.get("scopeSpans") or resource.get("scope_spans") or ():
            yield resource, scope


def _each_span(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for _, scope in _each_scope(data):
        yield from (span for span in _spans_of(scope) if isinstance(span, dict))


def _spans_of(scope: dict[str, Any]) -> list[Any]:
    spans = scope.get("spans") or []
    if not isinstance(spans, list):
        raise TypeError("spans is not a list")
    return spans


def _ids_to_base64(holder: dict[str, Any]) -> None:
    """Rewrites the ids of a span or a link, in place, from hex to base64. OTLP/JSON has hex; protobuf's JSON mapping wants
    base64.

    Some exporters send base64 (opentelemetry-collector#8720), which is recognized by its padding. An id that is neither becomes
    empty, so that validation rejects that one span and says why.
    """
    for key in _ID_KEYS:
        if key in holder:
            id_ = holder[key]
            try:
                raw = base64.b64decode(id_, validate=True) if id_.endswith("=") else bytes.fromhex(id_)
                holder[key] = base64.b64encode(raw).decode("ascii")
            except (ValueError, TypeError, AttributeError):
                holder[key] = ""


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
