"""Values in OTLP/JSON that protobuf's reader refuses, read as what they say: a number where OTLP wants text, a number beyond 64
bits, a bare NaN, attributes as an object. No I/O.

One such value would cost its record. In a resource or a scope it would cost the whole request, for ever.

Source: OTLP specification, "JSON Protobuf Encoding", and ProtoJSON (https://protobuf.dev/programming-guides/json/).
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from headrace.otlp.form import DATA_POINTS, LOG_RECORDS, SPANS
from headrace.otlp.json_any import ANY, finite, read_any
from headrace.otlp.notes import Notes

_MAX_DIGITS = 40
_TIME = "_unix_nano"
_RANGES = {
    FieldDescriptor.TYPE_FIXED64: (0, 2**64 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.TYPE_FIXED32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_SINT32: (-(2**31), 2**31 - 1),
}
_LEAST_INT, _MOST_INT = -(2**63), 2**63 - 1
_PAIR = "opentelemetry.proto.common.v1.KeyValue"
_STATUS, _BOTH = "opentelemetry.proto.trace.v1.Status", 2
_RECORDS = frozenset(form.item.DESCRIPTOR.full_name for form in (SPANS, LOG_RECORDS, DATA_POINTS))
"""A record that is null is counted later."""
_EMPTY = re.compile(rb'"(?:value|body)"\s*:\s*""')
"""An empty text as a value: the one wrong form that protobuf's reader takes even where it is strict, and reads as no value."""
_BY_TEXT = {"Status": "code", "InstrumentationScope": "name", "Event": "name", "KeyValue": "key"}
"""A message → its field that a bare text in its place says."""


class _NoObject:
    """Stands where a message belongs and something else was sent. Protobuf's reader would take a text for a message without
    fields; it refuses this."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __iter__(self) -> Any:
        raise TypeError(f"{str(self._value)[:50]!r} is not an object")

    def __str__(self) -> str:
        return str(self._value)


def has_empty_values(body: bytes) -> bool:
    """Whether a body may have values that protobuf's reader takes, and reads as nothing."""
    return _EMPTY.search(body) is not None


def mend_values(holder: Any, message: Any, notes: Notes, depth: int = 0) -> None:
    """Replaces, in place, the values of a JSON object that cannot be parsed as this message, at any depth.

    `message` is the message's descriptor, `depth` the number of messages above it. `notes` is told how many were replaced. Ids,
    and keys that OTLP does not have, are left alone, and so is what says nothing.
    """
    if not isinstance(holder, dict):
        return
    fields = _fields(message)
    for key, value in list(holder.items()):
        if (field := fields.get(key)) is None or value is None:
            continue
        if field.name == "as_int" and (number := _no_integer(value)) is not None:
            del holder[key]
            holder["asDouble"] = number
            notes.repaired["json_value_read"] += 1
        else:
            holder[key] = _read(value, field, notes, depth + 1)


@cache
def _fields(message: Descriptor) -> Mapping[str, FieldDescriptor]:
    """The fields of a message by each name that protobuf's reader takes."""
    return {**message.fields_by_name, **message.fields_by_camelcase_name}


def _read(value: Any, field: Any, notes: Notes, depth: int) -> Any:
    """The value of a field → a value that can be parsed, or the same."""
    if field.is_repeated:
        return _list(value, field, notes, depth)
    if field.message_type is None:
        return _scalar(value, field, notes)
    return _message(value, field.message_type, notes, depth)


def _message(value: Any, message: Any, notes: Notes, depth: int) -> Any:
    if message.full_name == ANY:
        return read_any(value, depth, _counter(notes))
    if not isinstance(value, dict):
        notes.repaired["json_value_read"] += 1
        value = _as_object(value, message)
    mend_values(value, message, notes, depth)
    return value


def _as_object(value: Any, message: Any) -> Any:
    """Something else than an object where this message belongs → an object that says the same, or what no reader takes."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        return value[0]
    if message.full_name == _PAIR and isinstance(value, list) and len(value) == _BOTH:
        return {"key": value[0], "value": value[1]}
    if (
        message.full_name == _STATUS
        and isinstance(value, str)
        and isinstance(_enum(value, message.fields_by_name["code"]), str)
    ):
        return {"message": value}
    field = _BY_TEXT.get(message.name)
    is_said = isinstance(value, str) or (message.full_name == _STATUS and isinstance(value, int))
    return {field: value} if field is not None and is_said else _NoObject(value)


def _list(value: Any, field: Any, notes: Notes, depth: int) -> Any:
    if not isinstance(value, list):
        notes.repaired["json_value_read"] += 1
        by_key = isinstance(value, dict) and field.message_type is not None and field.message_type.full_name == _PAIR
        value = _pairs(value) if by_key else [value]
    if field.message_type is None:
        return [_scalar(item, field, notes) for item in value]
    if None in value and field.message_type.full_name not in _RECORDS:
        notes.repaired["json_value_read"] += 1
        value = [item for item in value if item is not None]
    return [_message(item, field.message_type, notes, depth) for item in value]


def _pairs(value: dict[str, Any]) -> list[dict[str, Any]]:
    """An object where attributes belong → a pair for each of its keys; or the object itself, if it is one pair."""
    if value.keys() == {"key", "value"} and isinstance(value["value"], dict):
        return [value]
    return [{"key": key, "value": item} for key, item in value.items()]


def _scalar(value: Any, field: Any, notes: Notes) -> Any:
    read = _READERS.get(field.type)
    found = value if read is None else read(value, field)
    if found is not value:
        late = field.name.endswith(_TIME) and isinstance(found, str)
        if late:
            notes.repaired["time_beyond_otlp"] += 1
        else:
            notes.repaired["json_value_read"] += 1
    return found


def _counter(notes: Notes) -> Callable[[], None]:
    def count() -> None:
        notes.repaired["json_value_read"] += 1

    return count


def _text(value: Any, _: Any) -> Any:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _truth(value: Any, _: Any) -> Any:
    said = str(value).lower()
    return value if isinstance(value, bool) or said not in ("true", "false", "0", "1") else said in ("true", "1")


def _enum(value: Any, field: Any) -> Any:
    """The end of an enum's name, in upper or lower case, → its number: `error`, `STATUS_CODE_ERROR`."""
    if isinstance(value, str) and value not in field.enum_type.values_by_name:
        end = f"_{value.upper()}"
        return next((each.number for each in field.enum_type.values if f"_{each.name}".endswith(end)), value)
    return value


def _double(value: Any, _: Any) -> Any:
    if isinstance(value, float):
        return finite(value)
    return 0 if value == "" else value


def _integer(value: Any, field: Any) -> Any:
    """A number → the nearest one that the field can hold. A time that is too late → a text, by which it is known."""
    if (number := _number(value)) is None:
        return value
    least, most = _RANGES[field.type]
    if least <= number <= most:
        return value if number == int(number) and value != "" else int(number)
    if field.name.endswith(_TIME) and number > most:
        return str(most) if number < 10**_MAX_DIGITS else value
    return max(least, min(most, int(number)))


def _number(value: Any) -> int | float | None:
    """The number that a JSON value says; None if it says none. An empty text says zero."""
    if isinstance(value, str):
        text = value.strip()
        if text.lstrip("-").isascii() and text.lstrip("-").isdigit() and len(text) <= _MAX_DIGITS:
            return int(text)
        return None if text else 0
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def _no_integer(value: Any) -> float | None:
    """The number of a data point that OTLP's integers cannot hold; None if they can, or it is no number."""
    number = _number(value)
    return None if number is None or (number == int(number) and _LEAST_INT <= number <= _MOST_INT) else float(number)


_READERS: Mapping[int, Callable[[Any, Any], Any]] = {
    FieldDescriptor.TYPE_STRING: _text,
    FieldDescriptor.TYPE_BOOL: _truth,
    FieldDescriptor.TYPE_ENUM: _enum,
    FieldDescriptor.TYPE_DOUBLE: _double,
    **dict.fromkeys(_RANGES, _integer),
}
