"""How much memory a body takes once it is parsed, told before it is. Pure; no I/O.

A part of two bytes on the wire takes up to 190 in memory, so that the length says little. The estimates lie above what a body
takes, by a factor of 1.2 to 3 for what exporters send. They are sums over a few counts. Each factor was measured as the growth
of the resident memory (`VmHWM`) of a process that parses 2,000,000 (JSON: 200,000) parts of one kind (protobuf 7.36, Python
3.11):

    protobuf    Span 174, Link 81, ResourceSpans 65, ScopeSpans 63, EntityRef 59, Event 57, KeyValue 51, AnyValue in a list 41,
                KeyValue with a value 89, all with their place in a list; unknown fields 0
    JSON        `{}` 70, `{"":0}` 195, `[]` 70, a float 36, a string of two letters 65; keys that come again cost nothing
"""

from collections.abc import Callable

Charge = Callable[[int], None]
"""Is told of so many more bytes (if negative, fewer) in memory, before they are there. It raises InFlightFull if that is too
much."""

_SLICE_BYTES = 64 * 1024
_SMALL = bytes(set(range(16)) - {0x0A})
"""The lengths of small parts. Not 10, which is also the tag of each key and text: a part of that length takes 4 times its 12
bytes."""
_SMALL_BYTES = 64
"""For each byte that may be the length of a small part: an attribute, an event, a link, a value."""
_SPAN_BYTES = 140
"""What a span takes more than that, and what Python's own object for it takes."""
_COPIES = 4
"""Times that each byte may be there at once beside the body itself: parsed, serialised anew if the request was reworded, in the
envelope, and in the envelope's bytes."""

_OBJECT_BYTES = 200
_LIST_BYTES = 80
_ITEM_BYTES = 36
_QUOTE_BYTES = 30


def nothing(_: int) -> None:
    """A `Charge` that counts nothing: for callers whose input is small, or their own."""


def small_parts(body: bytes) -> int:
    """At most so many parts of a protobuf message are shorter than 16 bytes. 0.7 µs a KiB; takes no memory."""
    count = 0
    for start in range(0, len(body), _SLICE_BYTES):
        part = body[start : start + _SLICE_BYTES]
        count += len(part) - len(part.translate(None, _SMALL))
    return count


def of_protobuf(body: bytes, small: int | None = None) -> int:
    """Bytes that a protobuf body takes once it is parsed, and its envelope; the spans themselves are `of_spans`.

    `small`: its `small_parts`, if they are known.
    """
    return _COPIES * len(body) + _SMALL_BYTES * (small_parts(body) if small is None else small)


def of_spans(count: int) -> int:
    """Bytes that so many spans take more than other parts."""
    return _SPAN_BYTES * count


def of_salvage(body: bytes, small: int) -> int:
    """Bytes that `salvage` takes beside: the spans as bytes, each of them once more, and the rest serialised."""
    return _COPIES * len(body) + _SMALL_BYTES * (small + len(body) // 16)


def of_json(body: bytes) -> int:
    """Bytes that the objects take that Python makes of a JSON text, and the text itself as Python's."""
    counted = _OBJECT_BYTES * body.count(b"{") + _LIST_BYTES * body.count(b"[") + _ITEM_BYTES * body.count(b",")
    return counted + _QUOTE_BYTES * body.count(b'"') + sum(_widths(body)) * len(body)


def of_json_messages(body: bytes, spans: int) -> int:
    """Bytes that the messages take that are made of a JSON text, and their envelope."""
    return _COPIES * len(body) + _SMALL_BYTES * body.count(b"{") + of_spans(spans)


def _widths(body: bytes) -> tuple[int, int]:
    """Bytes a character: of the whole text, and of the texts in it. One character beyond U+FFFF makes all of them four wide."""
    whole = 1 if body.isascii() else 4 if any(byte in body for byte in _FOUR_WIDE) else 2
    return whole, 4 if b"\\u" in body else whole


_FOUR_WIDE = (b"\xf0", b"\xf1", b"\xf2", b"\xf3", b"\xf4")
"""The first bytes of UTF-8's four."""
