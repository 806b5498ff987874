"""Estimates, before a body is parsed, how many bytes of memory it will take. Pure.

The length of a body says little: a part of two bytes on the wire takes up to 190 in memory. An estimate is a sum over a few
counts. It is higher than the truth: by a factor of 1.2 to 3 for what exporters send. The bytes for a part of each kind were
measured as the growth of the resident memory (`VmHWM`) of a process that parses 2,000,000 such parts (JSON: 200,000), with
protobuf 7.36 and Python 3.11:

    protobuf    Span 174, Link 81, ResourceSpans 65, ScopeSpans 63, EntityRef 59, Event 57, KeyValue 51, AnyValue in a list 41,
                KeyValue with a value 89. All include their place in a list. Unknown fields take 0
    JSON        `{}` 70, `{"":0}` 195, `[]` 70, a float 36, a string of two letters 65. A repeated key takes 0
"""

from collections.abc import Callable

Charge = Callable[[int], None]
"""Is called with the number of bytes of memory that are about to be taken; with a negative number, given back. Raises
InFlightFull if the limit is exceeded."""

_SLICE_BYTES = 64 * 1024
_SMALL = bytes(set(range(16)) - {0x0A})
"""The bytes that may be the length of a small part. Without 10, which is also the tag of each key and text: a part of that
length takes 4 times its 12 bytes."""
_SMALL_BYTES = 64
"""Memory for each byte that may be the length of a small part: an attribute, an event, a link, a value."""
_SPAN_BYTES = 140
"""Memory that a span takes beyond that, with Python's own object for it."""
_COPIES = 4
"""Copies of each byte that may exist at once besides the body: parsed; serialised again if the request was changed; in the
envelope; in the envelope's bytes."""

_OBJECT_BYTES = 200
_LIST_BYTES = 80
_ITEM_BYTES = 36
_QUOTE_BYTES = 30


def nothing(_: int) -> None:
    """A `Charge` that counts nothing, for callers whose input is small or their own."""


def small_parts(body: bytes) -> int:
    """A protobuf message → the most parts of it that can be shorter than 16 bytes. Takes 0.7 µs a KiB, and no memory."""
    count = 0
    for start in range(0, len(body), _SLICE_BYTES):
        part = body[start : start + _SLICE_BYTES]
        count += len(part) - len(part.translate(None, _SMALL))
    return count


def of_protobuf(body: bytes, small: int | None = None) -> int:
    """Bytes that a protobuf body and its envelope take once it is parsed. What spans take beyond other parts is `of_spans`.

    `small`: the body's `small_parts`, if they are known.
    """
    return _COPIES * len(body) + _SMALL_BYTES * (small_parts(body) if small is None else small)


def of_spans(count: int) -> int:
    """Bytes that so many spans take beyond other parts."""
    return _SPAN_BYTES * count


def of_salvage(body: bytes, small: int) -> int:
    """Bytes that `salvage` takes besides: the spans as bytes, each span once more, and the rest serialised."""
    return _COPIES * len(body) + _SMALL_BYTES * (small + len(body) // 16)


def of_json(body: bytes) -> int:
    """Bytes that Python's objects for a JSON body take, with the body as Python's text."""
    counted = _OBJECT_BYTES * body.count(b"{") + _LIST_BYTES * body.count(b"[") + _ITEM_BYTES * body.count(b",")
    return counted + _QUOTE_BYTES * body.count(b'"') + sum(_widths(body)) * len(body)


def of_json_messages(body: bytes, spans: int) -> int:
    """Bytes that the protobuf messages made from a JSON body take, and their envelope."""
    return _COPIES * len(body) + _SMALL_BYTES * body.count(b"{") + of_spans(spans)


def _widths(body: bytes) -> tuple[int, int]:
    """Bytes that Python takes for each character: of the whole text, and of the texts in it. One character beyond U+FFFF makes
    all characters of its text four bytes wide."""
    whole = 1 if body.isascii() else 4 if any(byte in body for byte in _FOUR_WIDE) else 2
    return whole, 4 if b"\\u" in body else whole


_FOUR_WIDE = (b"\xf0", b"\xf1", b"\xf2", b"\xf3", b"\xf4")
"""The first bytes of characters that have four bytes in UTF-8."""
