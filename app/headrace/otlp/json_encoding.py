"""OTLP/JSON ↔ `ExportTraceServiceRequest`: the form of the specification. Wrong forms that exporters send: `json_mistakes.py`.
No I/O.

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
from headrace.otlp.json_mistakes import (
    BAD_JSON,
    bound_times,
    each_scope,
    forgiven,
    has_old_forms,
    note_unknown,
    plain_id,
    with_new_names,
)
from headrace.otlp.notes import Notes, first_line, replace_what_is_no_utf8
from headrace.otlp.parts import MAX_PARTS
from headrace.otlp.weight import Charge

_ID_KEYS = ("traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id")
_TRACE_ID_KEYS = ("traceId", "trace_id")
_MAX_DEPTH = 100  # protobuf's own limit for nested messages on the wire, applied to JSON as well
_SPAN_DEPTH = 3  # levels above a span in its request
_MAX_OBJECTS = 4_000_000
"""Most objects and lists in one body. Each may be three bytes long, and costs 10 µs and up to 200 bytes of memory. The densest
body of 64 MiB that an exporter sends has half as many."""


def decode_json(
    body: bytes, charge: Charge = weight.nothing, notes: Notes | None = None
) -> tuple[ExportTraceServiceRequest, int]:
    """A body → the request, and the number of spans that were left out because their JSON is not that of a span.

    `charge` is called with bytes of memory before they are taken. `notes` is told what was repaired, and what was not read.

    Raises:
        MalformedBody: the body is no `ExportTraceServiceRequest`.
        BodyTooLarge: it has too many parts. InFlightFull: `charge` raised it.
    """
    notes = Notes() if notes is None else notes
    data = load_object(body, charge, notes)
    try:
        charge(weight.of_json_messages(body, _check_parts(data)))
        if not has_old_forms(body):
            _decode_ids(data, notes)
            request = _parse(data, ExportTraceServiceRequest())
            note_unknown(data, notes)
            return request, 0
    except BAD_JSON:
        pass  # not the specification's form: try again, forgiving known mistakes
    del data  # frees its memory: the next one takes as much, and `forgiven` makes a third
    notes.forget()  # all of it comes again
    return _decode_forgiving(body, charge, notes)


def _decode_forgiving(body: bytes, charge: Charge, notes: Notes) -> tuple[ExportTraceServiceRequest, int]:
    """The same, for a body that is not in the specification's form."""
    try:
        data = with_new_names(forgiven(load_object(body, charge, notes), notes), notes)
        _check_parts(data)
        _decode_ids(data, notes)
        note_unknown(data, notes)
    except BAD_JSON as error:
        raise MalformedBody(f"The body is not an OTLP/JSON ExportTraceServiceRequest: {first_line(error)}.") from None
    return _salvage(data, notes)


def encode_json(request: ExportTraceServiceRequest) -> dict[str, Any]:
    """A request → its OTLP/JSON as a JSON object: ids in hex, enums as numbers. The inverse of `decode_json`."""
    data: dict[str, Any] = json_format.MessageToDict(request, use_integers_for_enums=True)
    for span in _each_span(data):
        for holder in (span, *span.get("links", ())):
            holder |= {key: base64.b64decode(holder[key]).hex() for key in _ID_KEYS if key in holder}
    return data


def load_object(body: bytes, charge: Charge = weight.nothing, notes: Notes | None = None) -> dict[str, Any]:
    """A body → the JSON object in it. `charge` is called with the bytes of memory that the object will take.

    Bytes that are no UTF-8 become U+FFFD; `notes` says how many.

    Raises:
        MalformedBody: the body is no JSON object.
        BodyTooLarge: it has too many parts. InFlightFull: `charge` raised it.
    """
    if body.count(b"{") + body.count(b"[") > _MAX_OBJECTS:
        raise BodyTooLarge(f"The body has over {_MAX_OBJECTS} objects and lists: send smaller batches.")
    charge(weight.of_json(body))
    try:
        try:
            data = json.loads(body)
        except UnicodeDecodeError:
            data = json.loads(_readable(body, Notes() if notes is None else notes))
    except (ValueError, RecursionError) as error:
        raise MalformedBody(f"The body is not JSON: {first_line(error)}.") from None
    if not isinstance(data, dict):
        raise MalformedBody("The body is JSON, but not an object: send an OTLP/JSON request.")
    return data


def _readable(body: bytes, notes: Notes) -> str:
    """The text of a body that is not wholly UTF-8. Raises UnicodeDecodeError if it is broken UTF-16 or UTF-32."""
    encoding = json.detect_encoding(body)
    return replace_what_is_no_utf8(body, notes, encoding) if encoding.startswith("utf-8") else body.decode(encoding)


def _check_parts(data: dict[str, Any]) -> int:
    """Returns the number of spans, scopes and resources. Refuses too many of them here, because `parts.check_parts` could do so
    only after parsing, which takes much longer."""
    parts = len(data.get("resourceSpans") or data.get("resource_spans") or ())
    for _, scope in each_scope(data):
        parts += 1 + len(_spans_of(scope))
    if parts > MAX_PARTS:
        raise BodyTooLarge(f"The body has over {MAX_PARTS} spans: send smaller batches.")
    return parts


def _decode_ids(data: dict[str, Any], notes: Notes) -> None:
    for span in _each_span(data):
        _ids_to_base64(span, notes)
        links = span.get("links")
        for link in links if isinstance(links, list) else ():  # if it is no list, this span is left out later
            if isinstance(link, dict):
                _ids_to_base64(link, notes)


def _salvage(data: dict[str, Any], notes: Notes) -> tuple[ExportTraceServiceRequest, int]:
    """A JSON object → the request without the spans that cannot be parsed, and their number. So one bad span costs one span."""
    left_out = 0
    for _, scope in each_scope(data):
        kept = [span for span in _spans_of(scope) if _can_be_parsed(span, notes)]
        left_out += len(_spans_of(scope)) - len(kept)
        scope["spans"] = kept
    try:
        return _parse(data, ExportTraceServiceRequest()), left_out
    except BAD_JSON as error:
        reason = notes.why or first_line(error)
        raise MalformedBody(f"The body is not an OTLP/JSON ExportTraceServiceRequest: {reason}.") from None


def _can_be_parsed(span: Any, notes: Notes) -> bool:
    """Whether this is the JSON of a span. Times that OTLP cannot hold are changed in it, if they stand in the way."""
    try:
        if not isinstance(span, dict):
            raise TypeError("a span is not an object")
        try:
            _parse(span, Span(), _SPAN_DEPTH)
        except json_format.ParseError:
            if not bound_times(span, notes):
                raise
            _parse(span, Span(), _SPAN_DEPTH)
    except BAD_JSON as error:
        notes.left_out(error)
        return False
    return True


def _parse(data: dict[str, Any], message: Any, depth: int = 0) -> Any:
    return json_format.ParseDict(data, message, ignore_unknown_fields=True, max_recursion_depth=_MAX_DEPTH - depth)


def _each_span(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for _, scope in each_scope(data):
        yield from (span for span in _spans_of(scope) if isinstance(span, dict))


def _spans_of(scope: dict[str, Any]) -> list[Any]:
    spans = scope.get("spans") or []
    if not isinstance(spans, list):
        raise TypeError("spans is not a list")
    return spans


def _ids_to_base64(holder: dict[str, Any], notes: Notes) -> None:
    """Rewrites the ids of a span or a link, in place, from hex to base64. OTLP/JSON has hex; protobuf's JSON mapping wants
    base64.

    Some exporters send base64 (opentelemetry-collector#8720), which is recognized by its padding. An id that is neither becomes
    empty, so that validation rejects that one span and says why.
    """
    for key in _ID_KEYS:
        if key in holder:
            id_ = holder[key]
            try:
                raw = base64.b64decode(id_, validate=True) if id_.endswith("=") else _from_hex(id_, key, notes)
                holder[key] = base64.b64encode(raw).decode("ascii")
            except (ValueError, TypeError, AttributeError):
                holder[key] = ""


def _from_hex(id_: str, key: str, notes: Notes) -> bytes:
    try:
        return bytes.fromhex(id_)
    except ValueError:
        raw = plain_id(id_, 16 if key in _TRACE_ID_KEYS else 8)
        notes.repaired["id_rewritten"] += 1
        return raw
