"""OTLP/JSON ↔ the requests of the signals: the form of the specification. Wrong forms that exporters send: `json_mistakes.py`.
No I/O.

Source: OTLP specification, "JSON Protobuf Encoding"
(https://github.com/open-telemetry/opentelemetry-proto/blob/main/docs/specification.md#json-protobuf-encoding).
"""

import base64
import json
from typing import Any

from google.protobuf import json_format

from headrace.errors import BodyTooLarge, MalformedBody
from headrace.otlp import weight
from headrace.otlp.form import SPANS, Form
from headrace.otlp.json_form import JsonForm, json_form, points_of
from headrace.otlp.json_mistakes import BAD_JSON, forgiven, note_unknown, plain_id, with_new_names
from headrace.otlp.json_salvage import make_levels, parse, salvage_json
from headrace.otlp.json_values import has_empty_values, mend_values
from headrace.otlp.notes import Notes, first_line, replace_what_is_no_utf8
from headrace.otlp.parts import MAX_PARTS
from headrace.otlp.weight import Charge

_ID_KEYS = ("traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id")
_TRACE_ID_KEYS = ("traceId", "trace_id")
_PARENT_KEYS = ("parentSpanId", "parent_span_id")
_NO_PARENT = "AA=="
"""One byte. An empty parent would make its span a root."""
_MAX_DIGITS = 1000
"""Python makes no number of more than 4300 digits: their time is quadratic."""
_MAX_OBJECTS = 4_000_000
"""Most objects and lists in one body. Each may be three bytes long, and costs 10 µs and up to 200 bytes of memory. The densest
body of 64 MiB that an exporter sends has half as many."""


def decode_json(
    body: bytes, charge: Charge = weight.nothing, notes: Notes | None = None, form: Form = SPANS
) -> tuple[Any, int]:
    """A body → the request, and the number of records that were left out because their JSON is not that of a record.

    `charge` is called with bytes of memory before they are taken. `notes` is told what was repaired, and what was not read.

    Raises:
        MalformedBody: the body is no request of this form.
        BodyTooLarge: it has too many parts. InFlightFull: `charge` raised it.
    """
    notes = Notes() if notes is None else notes
    names = json_form(form)
    data = load_object(body, charge, notes)
    try:
        charge(weight.of_json_messages(body, _check_parts(data, names)))
        if not has_empty_values(body):
            _decode_ids(data, names, notes)
            return parse(data, form.request(), strict=True), 0
    except BAD_JSON:
        pass  # not the specification's form: try again, forgiving known mistakes
    del data  # frees its memory: the next one takes as much, and `forgiven` makes a third
    notes.forget()  # all of it comes again
    return _decode_forgiving(body, charge, names, notes)


def _decode_forgiving(body: bytes, charge: Charge, names: JsonForm, notes: Notes) -> tuple[Any, int]:
    """The same, for a body that is not in the specification's form."""
    try:
        data = forgiven(load_object(body, charge, notes), notes)
        no_objects = make_levels(data, names, notes)
        data = with_new_names(data, names, notes)
        _check_parts(data, names)
        _decode_ids(data, names, notes)
        mend_values(data, names.form.request.DESCRIPTOR, notes)
        note_unknown(data, names, notes)
        request, left_out = salvage_json(data, names, notes)
        if notes.why and not left_out and not names.form.count(request):
            raise ValueError(notes.why)
    except BAD_JSON as error:
        reason = f"The body is not an OTLP/JSON {names.form.request.DESCRIPTOR.name}: {first_line(error)}."
        raise MalformedBody(reason) from None
    return request, left_out + no_objects


def encode_json(request: Any, form: Form = SPANS) -> dict[str, Any]:
    """A request → its OTLP/JSON as a JSON object: ids in hex, enums as numbers. The inverse of `decode_json`."""
    data: dict[str, Any] = json_format.MessageToDict(request, use_integers_for_enums=True)
    names = json_form(form)
    for item in names.each_item(data):
        for holder in names.with_ids(item):
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
        data = _lenient(body, error, Notes() if notes is None else notes)
    if not isinstance(data, dict):
        raise MalformedBody("The body is JSON, but not an object: send an OTLP/JSON request.")
    return data


def _lenient(body: bytes, error: Exception, notes: Notes) -> Any:
    """Reads what is JSON but for bare control characters in its texts, or has numbers of thousands of digits: as texts.

    Raises:
        MalformedBody: it is no JSON for another reason. `error` says which.
    """
    try:
        data = json.loads(_readable(body, Notes()), strict=False, parse_int=_number)
    except (ValueError, RecursionError):
        raise MalformedBody(f"The body is not JSON: {first_line(error)}.") from None
    notes.repaired["json_value_read"] += 1
    return data


def _number(digits: str) -> int | str:
    return int(digits) if len(digits) <= _MAX_DIGITS else digits


def _readable(body: bytes, notes: Notes) -> str:
    """The text of a body that is not wholly UTF-8. Raises UnicodeDecodeError if it is broken UTF-16 or UTF-32."""
    encoding = json.detect_encoding(body)
    return replace_what_is_no_utf8(body, notes, encoding) if encoding.startswith("utf-8") else body.decode(encoding)


def _check_parts(data: dict[str, Any], names: JsonForm) -> int:
    """Returns the number of records, scopes and resources. Refuses too many of them here, because `parts.check_parts` could do
    so only after parsing, which takes much longer."""
    parts = sum(1 for _ in names.each_resource(data))
    for scope in names.each_scope(data):
        items = names.items_of(scope)
        parts += 1 + len(items)
        if names.form is not SPANS:
            parts += sum(1 for item in items if isinstance(item, dict) for _ in points_of(item))
    if parts > MAX_PARTS:
        raise BodyTooLarge(f"The body has over {MAX_PARTS} {names.form.noun}s: send smaller batches.")
    return parts


def _decode_ids(data: dict[str, Any], names: JsonForm, notes: Notes) -> None:
    for item in names.each_item(data):
        for holder in names.with_ids(item):
            _ids_to_base64(holder, notes)


def _ids_to_base64(holder: dict[str, Any], notes: Notes) -> None:
    """Rewrites the ids of a span or a link, in place, from hex to base64. OTLP/JSON has hex; protobuf's JSON mapping wants
    base64.

    Some exporters send base64 (opentelemetry-collector#8720), which is recognized by its padding. An id that is neither becomes
    one that is none, so that validation rejects that one span and says why.
    """
    for key in _ID_KEYS:
        if (id_ := holder.get(key)) is not None:
            try:
                raw = base64.b64decode(id_, validate=True) if id_.endswith("=") else _from_hex(id_, key, notes)
                holder[key] = base64.b64encode(raw).decode("ascii")
            except (ValueError, TypeError, AttributeError):
                holder[key] = _NO_PARENT if key in _PARENT_KEYS and str(id_).strip("0") else ""


def _from_hex(id_: str, key: str, notes: Notes) -> bytes:
    try:
        return bytes.fromhex(id_)
    except ValueError:
        raw = plain_id(id_, 16 if key in _TRACE_ID_KEYS else 8)
        notes.repaired["id_rewritten"] += 1
        return raw
