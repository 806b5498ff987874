"""The fields of a protobuf message, read from its bytes without a description of it. No I/O.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterator
from typing import NamedTuple

from google.protobuf.message import DecodeError

VARINT, FIXED64, BYTES = 0, 1, 2
"""Wire types. Texts, bytes and messages have the last one."""
_FIXED = {FIXED64: 8, 5: 4}
_MAX_SHIFT = 70


class Field(NamedTuple):
    """One field: it stands from `start` to `end`. Its value begins at `value`."""

    number: int
    kind: int
    start: int
    value: int
    end: int


class Budget:
    """How many more fields may be looked at. Each takes some 2 µs."""

    def __init__(self, fields: int) -> None:
        self._left = fields

    def take(self) -> None:
        """Raises DecodeError if none is left."""
        self._left -= 1
        if self._left < 0:
            raise DecodeError("it has too many fields to look at each of them")


def fields_of(data: bytes | memoryview, budget: Budget) -> Iterator[Field]:
    """The fields of a message, in order. Raises DecodeError where something is no field, or the budget is used up."""
    position = 0
    while position < len(data):
        budget.take()
        start = position
        tag, value = _varint(data, start)
        kind = tag & 7
        if kind == BYTES:
            size, value = _varint(data, value)
            position = value + size
        elif kind == VARINT:
            _, position = _varint(data, value)
        else:
            if kind not in _FIXED:
                raise DecodeError(f"wire type {kind} is not used by OTLP")
            position = value + _FIXED[kind]
        if position > len(data):
            raise DecodeError("a field is longer than its message")
        yield Field(tag >> 3, kind, start, value, position)


def field_of(number: int, value: bytes) -> bytes:
    """A field of bytes: a text, bytes or a message."""
    return head_of(number, len(value)) + value


def head_of(number: int, size: int) -> bytes:
    """What stands before the value of a field of `size` bytes."""
    return _as_varint(number << 3 | BYTES) + _as_varint(size)


def number_at(data: bytes | memoryview, position: int) -> int:
    """The number at this position."""
    return _varint(data, position)[0]


def _varint(data: bytes | memoryview, position: int) -> tuple[int, int]:
    """A number at this position, and the position behind it."""
    number = shift = 0
    while position < len(data) and shift < _MAX_SHIFT:
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
        shift += 7
    raise DecodeError("a number is cut, or too long")


def _as_varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
