"""How many parts a protobuf request has, told before it is parsed: a part of two bytes on the wire takes up to 170 in memory,
and 500 in the worker's, so that a gzip file of 64 KB would fill it. Pure; no I/O.

Protobuf does the counting. A singular message that comes more than once is merged, its repeated fields one after the other: a
request of which all levels but the last are said to be singular is parsed into one list of all that is on the last.

Source: https://protobuf.dev/programming-guides/encoding/#last-one-wins
"""

import threading
from collections.abc import Mapping
from contextlib import nullcontext

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from headrace.errors import BodyTooLarge
from headrace.otlp.weight import small_parts

MAX_PARTS = 1_000_000
MAX_ATTRIBUTES = 4_000_000
"""The smallest spans and attributes that exporters send fill a body of 64 MiB before they are as many."""

_MAX_SMALL = 16_000_000
"""Of `small_parts`: values in lists and in lists of lists, too, at any depth. A body of 64 MiB that exporters send has half as
many; the smallest parts that protobuf knows would be 33 million, and take 1.6 GB."""

_LARGE_BYTES = 2 * MAX_PARTS
"""No shorter body has too many parts, as none of these is shorter than two bytes."""
_LARGE = threading.Lock()
"""A list of 33 million parts takes 950 MB: one at a time. Threads would not be quicker, as Python's lock is held meanwhile."""


class Parts:
    """Counts what is on the last of some levels. A level is the names and numbers of the fields that lead to the next one."""

    def __init__(self, *levels: Mapping[str, int]) -> None:
        self._levels = levels
        file = FileDescriptorProto(name="headrace/parts.proto", package="headrace.parts", syntax="proto3")
        for depth, level in enumerate(levels, start=1):
            message = file.message_type.add(name=f"Level{depth}")
            for name, number in level.items():
                field = message.field.add(name=name, number=number)
                if depth == len(levels):
                    field.label, field.type = FieldDescriptorProto.LABEL_REPEATED, FieldDescriptorProto.TYPE_BYTES
                else:
                    field.label, field.type = FieldDescriptorProto.LABEL_OPTIONAL, FieldDescriptorProto.TYPE_MESSAGE
                    field.type_name = f".headrace.parts.Level{depth + 1}"
        pool = DescriptorPool()
        pool.Add(file)
        self._kind = GetMessageClass(pool.FindMessageTypeByName("headrace.parts.Level1"))

    def count(self, body: bytes) -> dict[str, int]:
        """The number of each field of the last level. Raises protobuf's DecodeError where the body is none."""
        with _LARGE if len(body) > _LARGE_BYTES else nullcontext():
            return self._count(body)

    def _count(self, body: bytes) -> dict[str, int]:
        holders = [self._kind.FromString(body)]
        for level in self._levels[:-1]:
            holders = [getattr(holder, name) for holder in holders for name in level]
        return {name: sum(len(getattr(holder, name)) for holder in holders) for name in self._levels[-1]}


_LEVELS = ({"resource_spans": 1}, {"scope_spans": 2}, {"spans": 2}, {"attributes": 9, "events": 11, "links": 13})
"""The repeated fields of ExportTraceServiceRequest, ResourceSpans, ScopeSpans and Span."""
_TRACES = [Parts(*_LEVELS[:depth]) for depth in range(1, len(_LEVELS) + 1)]
_SPANS = _TRACES[2]


def check_small(body: bytes) -> int:
    """Refuses a body of too many parts of a few bytes, whatever they are. Returns `small_parts`.

    Raises:
        BodyTooLarge: it is one.
    """
    small = small_parts(body)
    if small > _MAX_SMALL:
        raise BodyTooLarge(f"The body has over {_MAX_SMALL} parts of a few bytes: send smaller batches.")
    return small


def check_parts(body: bytes) -> int:
    """Refuses a body of too many resources, scopes, spans, events and links, or of too many attributes of spans. Returns the
    number of its spans.

    Raises:
        BodyTooLarge: it is one. DecodeError: it is no protobuf.
    """
    if len(body) <= _LARGE_BYTES:
        return _SPANS.count(body)["spans"]
    parts = spans = 0
    for level in _TRACES:
        counts = level.count(body)
        attributes = counts.pop("attributes", 0)
        spans += counts.get("spans", 0)
        parts += sum(counts.values())
        if parts > MAX_PARTS or attributes > MAX_ATTRIBUTES:
            raise BodyTooLarge(
                f"The body has over {MAX_PARTS} spans, events and links, or {MAX_ATTRIBUTES} attributes: send smaller batches."
            )
    return spans
