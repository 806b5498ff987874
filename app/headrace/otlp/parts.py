"""Counts the parts of a protobuf request before it is parsed. No I/O.

A part is a message inside the request: a span, an attribute, an event. A part of two bytes on the wire takes up to 170 bytes in
memory, and 500 in the worker. Without a limit, a gzip body of 64 KB could fill the memory.

Protobuf itself does the counting. If a singular message occurs more than once, protobuf merges the occurrences and joins their
repeated fields. So we declare all levels of a request but the last as singular. Parsing then gives one list of all parts on the
last level.

Source: https://protobuf.dev/programming-guides/encoding/#last-one-wins
"""

import threading
from collections.abc import Mapping
from contextlib import nullcontext
from functools import cache

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from headrace.errors import BodyTooLarge
from headrace.otlp.form import SPANS, Form
from headrace.otlp.weight import small_parts

MAX_PARTS = 1_000_000
MAX_ATTRIBUTES = 4_000_000
"""A body of 64 MiB holds fewer spans and attributes than this, even the smallest that exporters send."""

_MAX_SMALL = 16_000_000
"""Most small parts (`weight.small_parts`) of a body, at any depth, with values in lists and in lists of lists. Exporters send
half as many in a body of 64 MiB. Of the smallest parts that protobuf knows it could hold 33 million, which would take 1.6
GB."""

_LARGE_BYTES = 2 * MAX_PARTS
"""A shorter body cannot have too many parts, because each part has at least two bytes."""
_ALSO = {"span": ", events and links", "data point": " and exemplars"}
"""What is counted as a record is."""
_LARGE = threading.Lock()
"""Lets only one large body be counted at a time: a list of 33 million parts takes 950 MB. Threads would not be quicker, because
Python's global lock is held meanwhile."""


class Parts:
    """Counts the parts on the last of some levels. A level maps names to numbers of the fields that lead to the next level; the
    last level has the fields to be counted."""

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
        """A body → how often each field of the last level occurs. Raises protobuf's DecodeError if the body is no protobuf."""
        with _LARGE if len(body) > _LARGE_BYTES else nullcontext():
            return self._count(body)

    def _count(self, body: bytes) -> dict[str, int]:
        holders = [self._kind.FromString(body)]
        for level in self._levels[:-1]:
            holders = [getattr(holder, name) for holder in holders for name in level]
        return {name: sum(len(getattr(holder, name)) for holder in holders) for name in self._levels[-1]}


class _Counters:
    """Counts the parts of one signal's requests, level by level."""

    def __init__(self, form: Form) -> None:
        levels = ({form.resources: 1}, {form.scopes: 2}, {form.items: 2}, *form.below)
        self.levels = [Parts(*levels[:depth]) for depth in range(1, len(levels) + 1)]
        self.records = self.levels[-2]
        """Counts the records: the last level but one."""


@cache
def _counters(form: Form) -> _Counters:
    return _Counters(form)


def check_small(body: bytes) -> int:
    """Returns the `small_parts` of a body.

    Raises:
        BodyTooLarge: there are too many of them.
    """
    small = small_parts(body)
    if small > _MAX_SMALL:
        raise BodyTooLarge(f"The body has over {_MAX_SMALL} parts of a few bytes: send smaller batches.")
    return small


def check_parts(body: bytes, form: Form = SPANS) -> int:
    """Returns the number of records in a body: of spans, log records or data points.

    Raises:
        BodyTooLarge: it has too many resources, scopes, records and parts of records, or too many attributes of records.
        DecodeError: it is no protobuf.
    """
    counters = _counters(form)
    if len(body) <= _LARGE_BYTES:
        return sum(counters.records.count(body).values())
    parts = records = 0
    for level in counters.levels:
        counts = level.count(body)
        attributes = sum(counts.pop(name) for name in list(counts) if name.startswith("attributes"))
        parts += sum(counts.values())
        records = sum(counts.values()) if level is counters.records else records
        if parts > MAX_PARTS or attributes > MAX_ATTRIBUTES:
            raise BodyTooLarge(
                f"The body has over {MAX_PARTS} {form.noun}s{_ALSO.get(form.noun, '')}, or {MAX_ATTRIBUTES} attributes: send "
                "smaller batches."
            )
    return records
