"""An attribute's value in OTLP/JSON that protobuf's reader refuses → one that says the same. No I/O."""

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

Count = Callable[[], None]
"""Counts one value that was replaced."""

_BASE64 = re.compile("[A-Za-z0-9+/_-]*={0,2}")
ANY = "opentelemetry.proto.common.v1.AnyValue"
"""The full name of the message."""
DEEPEST = 92
"""Protobuf reads 100 messages inside each other. A list in a value takes two of them, a map takes three."""


def read_any(value: Any, depth: int, count: Count) -> Any:
    """The JSON of an `AnyValue` → JSON that protobuf can read. What is fine stays the same.

    `depth`: the number of messages above it. What lies too deep for protobuf becomes its JSON as text. `count` is called for
    each value that was replaced.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        count()
        return any_of(value)
    kinds = [key for key in value if key in _READERS and value[key] is not None]
    if len(kinds) > 1:
        count()
    if not kinds:
        return value if _READERS.keys() >= value.keys() else _plain(value, count)
    kind = kinds[0]
    inner = value[kind]
    if isinstance(inner, dict | list) and depth > DEEPEST:
        count()
        return {"stringValue": json.dumps(value, ensure_ascii=False)}
    read = _READERS[kind](inner, depth, count)
    if read is None:  # it is not of its kind: it is read as what it is
        count()
        return any_of(inner)
    return {kind: read}


def any_of(value: Any) -> dict[str, Any]:
    """A plain JSON value → an `AnyValue` that says the same. An object or a list becomes its text."""
    if value is None:
        return {}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": value} if _fits(value) else {"stringValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": finite(value)}
    return {"stringValue": value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}


def _plain(value: dict[str, Any], count: Count) -> dict[str, Any]:
    """An object under none of the names of an `AnyValue`: somebody's own JSON, or a kind of value that is newer than this."""
    count()
    return any_of(value)


def finite(value: float) -> float | str:
    """ProtoJSON writes numbers that JSON does not have as texts."""
    return value if math.isfinite(value) else "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _text(value: Any, _: int, __: Count) -> Any:
    return value if isinstance(value, str) else None


def _truth(value: Any, _: int, count: Count) -> Any:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        count()
        return value.lower() == "true"
    return value if isinstance(value, bool) else None


def _integer(value: Any, _: int, __: Count) -> Any:
    """A whole number of 64 bits, in each form that protobuf reads: 5, "5", 5.0, "5e3"."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = value if isinstance(value, int) else int(value) if isinstance(value, str) else _whole(value)
    except ValueError:
        try:
            number = _whole(float(value))
        except ValueError:
            return None
    return value if number is not None and _fits(number) else None


def _whole(value: float) -> int | None:
    return int(value) if value.is_integer() else None


def _fits(number: int) -> bool:
    """Whether OTLP's integers can hold it. (A look into a `range` for something else than an integer would take for ever.)"""
    return -(2**63) <= number < 2**63


def _double(value: Any, _: int, count: Count) -> Any:
    try:
        number = float(value)
    except (ValueError, TypeError, OverflowError):
        return None
    if isinstance(value, float) and not math.isfinite(number):
        count()
        return finite(number)
    return None if isinstance(value, bool) else value


def _bytes(value: Any, _: int, __: Count) -> Any:
    """Base64, of either alphabet, with or without its padding."""
    return value if isinstance(value, str) and _BASE64.fullmatch(value) and len(value.rstrip("=")) % 4 != 1 else None


def _array(value: Any, depth: int, count: Count) -> Any:
    """`{"values": […]}`, or the list itself. An element that is null has no value."""
    values = value.get("values") or [] if isinstance(value, dict) else value
    if not isinstance(values, list):
        return None
    if values is value or None in values:
        count()
    return {"values": [read_any(item, depth + 2, count) for item in values]}


def _map(value: Any, depth: int, count: Count) -> Any:
    """`{"values": [{"key": …, "value": …}]}`, the list itself, or a plain object."""
    values = value.get("values") or [] if isinstance(value, dict) and (not value or "values" in value) else value
    if values is value:
        count()
    if isinstance(values, dict):
        values = [{"key": key, "value": item} for key, item in values.items()]
    if not isinstance(values, list):
        return None
    return {"values": [_pair(pair, depth, count) for pair in values if isinstance(pair, dict)]}


def _pair(pair: dict[str, Any], depth: int, count: Count) -> dict[str, Any]:
    read = pair | {"value": read_any(pair.get("value"), depth + 3, count)}
    if not isinstance(key := pair.get("key", ""), str):
        count()
        read["key"] = json.dumps(key, ensure_ascii=False)
    return read


_READERS: Mapping[str, Callable[[Any, int, Count], Any]] = {
    name: read
    for names, read in (
        (("stringValue", "string_value"), _text),
        (("boolValue", "bool_value"), _truth),
        (("intValue", "int_value"), _integer),
        (("doubleValue", "double_value"), _double),
        (("bytesValue", "bytes_value"), _bytes),
        (("arrayValue", "array_value"), _array),
        (("kvlistValue", "kvlist_value"), _map),
    )
    for name in names
}
"""The keys of an `AnyValue` → what reads the value under that key. None: it is not of that kind."""
