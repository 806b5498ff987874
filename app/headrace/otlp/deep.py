"""Values that lie deeper in a request than protobuf reads: they become their JSON as text, as in JSON (`json_any.py`). No I/O.

Protobuf's parser refuses a message inside of a hundred others, and with it all that stands around it.
"""

import base64
import json
import struct
from collections.abc import Callable, Mapping
from typing import Any

from headrace.otlp.json_any import ANY, DEEPEST, finite
from headrace.otlp.notes import Notes, replace_what_is_no_utf8
from headrace.otlp.wire import BYTES, FIXED64, VARINT, Budget, field_of, fields_of, head_of, number_at

MAX_FIELDS = 200_000
"""Most fields that are looked at, of one body."""
_ARRAY, _MAP = 5, 6
"""The numbers of the fields of `AnyValue` that hold further values."""
_LEAST_BYTES = 2
"""A message that holds another one takes so many bytes more than that one."""


class Deep:
    """Rewrites the messages of one body. `notes` is told of each value that became text."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._budget = Budget(MAX_FIELDS)

    def rewritten(self, data: bytes, message: Any, depth: int) -> bytes:
        """The bytes of a message → the same without values that are too deep.

        `message` is its descriptor, `depth` the number of messages above it. Raises DecodeError: it is no such message, or has
        too many fields.
        """
        pieces: list[bytes | memoryview] = []
        self._copy(memoryview(data), message, depth, pieces)
        return b"".join(pieces)

    def _copy(self, data: memoryview, message: Any, depth: int, pieces: list[bytes | memoryview]) -> int:
        """Adds the pieces of a message, and returns their length. Nothing is copied but what changes."""
        if len(data) < _LEAST_BYTES * (DEEPEST - depth):  # so little cannot be too deep
            pieces.append(data)
            return len(data)
        if message.full_name == ANY and depth > DEEPEST and self._holds_values(data):
            self._notes.repaired["deep_value_as_text"] += 1
            pieces.append(field_of(1, self._text(data).encode()))
            return len(pieces[-1])
        size = 0
        for field in fields_of(data, self._budget):
            known = message.fields_by_number.get(field.number)
            if field.kind != BYTES or known is None or known.message_type is None:
                pieces.append(data[field.start : field.end])
                size += field.end - field.start
                continue
            pieces.append(b"")
            place = len(pieces) - 1
            inner = self._copy(data[field.value : field.end], known.message_type, depth + 1, pieces)
            pieces[place] = head_of(field.number, inner)
            size += len(pieces[place]) + inner
        return size

    def _holds_values(self, data: memoryview) -> bool:
        return any(field.number in (_ARRAY, _MAP) for field in fields_of(data, self._budget))

    def _text(self, value: memoryview) -> str:
        """The bytes of an `AnyValue` → its OTLP/JSON. No recursion: it may be of any depth."""
        pieces: list[str] = []
        waiting: list[str | memoryview] = [value]
        while waiting:
            top = waiting.pop()
            if isinstance(top, str):
                pieces.append(top)
            else:
                waiting.extend(reversed(self._opened(top)))
        return "".join(pieces)

    def _opened(self, value: memoryview) -> list[str | memoryview]:
        """An `AnyValue` → the JSON of it, in which the values that it holds are still bytes."""
        known = [field for field in fields_of(value, self._budget) if (field.number, field.kind) in _KINDS]
        if not known:
            return ["{}"]
        last = known[-1]  # it is a oneof: the last counts
        inner = value[last.value : last.end]
        if last.number == _ARRAY:
            return self._list("arrayValue", [("", item, "") for item in self._items(inner)])
        if last.number == _MAP:
            return self._list("kvlistValue", [self._pair(item) for item in self._items(inner)])
        name, read = _KINDS[last.number, last.kind]
        return [json.dumps({name: read(self, inner)}, ensure_ascii=False)]

    def _items(self, values: memoryview) -> list[memoryview]:
        """What an `ArrayValue` or a `KeyValueList` holds."""
        return [
            values[field.value : field.end]
            for field in fields_of(values, self._budget)
            if field.number == 1 and field.kind == BYTES
        ]

    def _pair(self, pair: memoryview) -> tuple[str, memoryview, str]:
        fields = [field for field in fields_of(pair, self._budget) if field.kind == BYTES]
        found = {field.number: pair[field.value : field.end] for field in fields}
        key = json.dumps(self._utf8(found.get(1, memoryview(b""))), ensure_ascii=False)
        return f'{{"key": {key}, "value": ', found.get(2, memoryview(b"")), "}"

    @staticmethod
    def _list(name: str, items: list[tuple[str, memoryview, str]]) -> list[str | memoryview]:
        pieces: list[str | memoryview] = [f'{{"{name}": {{"values": [']
        for number, (before, item, after) in enumerate(items):
            pieces += [", " + before if number else before, item, after]
        return [*pieces, "]}}"]

    def _utf8(self, data: memoryview) -> str:
        return replace_what_is_no_utf8(bytes(data), self._notes)


def _signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number


_KINDS: Mapping[tuple[int, int], tuple[str, Callable[[Deep, memoryview], Any]]] = {
    (1, BYTES): ("stringValue", Deep._utf8),
    (2, VARINT): ("boolValue", lambda _, data: bool(number_at(data, 0))),
    (3, VARINT): ("intValue", lambda _, data: str(_signed(number_at(data, 0)))),
    (4, FIXED64): ("doubleValue", lambda _, data: finite(struct.unpack("<d", data)[0])),
    (_ARRAY, BYTES): ("arrayValue", Deep._utf8),
    (_MAP, BYTES): ("kvlistValue", Deep._utf8),
    (7, BYTES): ("bytesValue", lambda _, data: base64.b64encode(data).decode()),
}
"""The fields of `AnyValue`, by their numbers and wire types → their names in JSON, and what reads them."""
