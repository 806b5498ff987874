"""Wrong forms of OTLP/JSON that exporters send: corrected where it is plain what was meant. Records that are lost are counted.
No I/O.

Sources: opentelemetry-js#4202 (integers in two halves); Go's encoding/json, which writes a `oneof` as the name of its struct's
field, `{"Value": {"StringValue": "x"}}`; trace.proto of OTLP 0.9 to 0.19 (`instrumentation_library_spans`).
"""

import json
import re
from typing import Any

from google.protobuf import json_format

from headrace.otlp.json_form import JsonForm
from headrace.otlp.notes import Notes

BAD_JSON = (
    *(json_format.ParseError, ValueError, TypeError, AttributeError, RecursionError),
    OverflowError,  # an enum of 1e999, a double of 400 digits
    SystemError,  # protobuf raises it for half a surrogate pair in an object's key
)
"""What Python and protobuf raise on JSON that is none of OTLP."""

_OLD_SCOPE = ("instrumentationLibrary", "instrumentation_library")
_GO_VALUES = {
    "StringValue": "stringValue",
    "BoolValue": "boolValue",
    "IntValue": "intValue",
    "DoubleValue": "doubleValue",
    "BytesValue": "bytesValue",
    "ArrayValue": "arrayValue",
    "KvlistValue": "kvlistValue",
}
_DEEPEST = 220
"""Objects and lists inside each other. Protobuf reads half as many, and Python's own stack ends soon after."""
_HALVES = re.compile("[\ud800-\udfff]")


def forgiven(value: Any, notes: Notes, depth: int = 0) -> Any:
    """A JSON value → the same with known mistakes corrected: 64-bit integers as `{"low": …, "high": …}`, values as Go's
    encoding/json writes them, and half surrogate pairs. What lies too deep becomes its JSON as text."""
    if depth > _DEEPEST and isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        if value.keys() - {"unsigned"} == {"low", "high"}:
            return _long(value)
        if value.keys() == {"Value"} and (go := _go_value(value["Value"])) is not None:
            notes.repaired["go_value_read"] += 1
            value = go
        return {forgiven(key, notes): forgiven(item, notes, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [forgiven(item, notes, depth + 1) for item in value]
    if isinstance(value, str) and not value.isascii() and _HALVES.search(value):
        text = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if text.count("\ufffd") > value.count("\ufffd"):
            notes.repaired["surrogate_replaced"] += 1
        return text
    return value


def _go_value(value: Any) -> dict[str, Any] | None:
    """What stands under `Value` in Go's form of an `AnyValue` → OTLP's form; None if it is something else."""
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) != 1:
        return None
    ((kind, inner),) = value.items()
    return {_GO_VALUES[kind]: inner} if kind in _GO_VALUES else None


def _long(value: dict[str, Any]) -> Any:
    """`{"low": …, "high": …}` → a decimal text. `high` is signed unless `unsigned` is true. Another object is returned as it
    is, and its span is left out later."""
    low, high = value["low"], value["high"]
    if not (isinstance(low, int) and isinstance(high, int)):
        return value
    number = high << 32 | low & 0xFFFFFFFF
    return str(number & 0xFFFFFFFFFFFFFFFF if value.get("unsigned") else number)


def with_new_names(data: dict[str, Any], names: JsonForm, notes: Notes) -> dict[str, Any]:
    """A request in which `instrumentationLibrarySpans` are `scopeSpans`, in place. Those that have both keep both. The other
    signals alike."""
    for resource in names.each_resource(data):
        for old in names.old_scopes:
            if not (scopes := resource.pop(old, None)):
                continue
            for scope in scopes:
                notes.repaired["old_name_read"] += len(names.items_of(scope))
                for name in _OLD_SCOPE:
                    if name in scope:
                        scope.setdefault("scope", scope.pop(name))
            name = names.scopes[1] if names.scopes[1] in resource else names.scopes[0]
            resource[name] = [*(resource.get(name) or ()), *scopes]
    return data


def plain_id(id_: str, size: int) -> bytes:
    """An id as a UUID with dashes, in braces, or with 0x in front → its bytes. 0x may leave out zeros in front.

    Raises:
        ValueError: it is none of these.
    """
    text = id_.strip()
    if text[:2] in ("0x", "0X"):
        return bytes.fromhex(text[2:].rjust(2 * size, "0"))
    return bytes.fromhex(text.removeprefix("urn:uuid:").strip("{}").replace("-", ""))


def note_unknown(data: dict[str, Any], names: JsonForm, notes: Notes) -> None:
    """Counts the records under keys that OTLP does not have, on the three levels on which records could stand."""
    if names.form.ids is None:
        return  # a data point cannot be told from something else
    request, resources, scopes = names.known
    _note_unknown(data, request, "", notes)
    for resource in names.each_resource(data):
        _note_unknown(resource, resources, f"{names.resources[0]}.", notes)
    for scope in names.each_scope(data):
        _note_unknown(scope, scopes, f"{names.resources[0]}.{names.scopes[0]}.", notes)


def _note_unknown(holder: dict[str, Any], known: frozenset[str], path: str, notes: Notes) -> None:
    for key in holder.keys() - known:
        notes.unknown(_count_records(holder[key]), f"{path}{key}")


def _count_records(value: Any) -> int:
    """How many objects in a JSON value look like spans or log records: with the id of a trace and that of a span. No recursion:
    it may be deep."""
    count, waiting = 0, [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            keys = {key.replace("_", "").lower() for key in item if isinstance(key, str) and len(key) <= 8}
            if {"traceid", "spanid"} <= keys:
                count += 1
            else:
                waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    return count
