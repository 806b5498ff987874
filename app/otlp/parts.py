"""How many parts a protobuf request has, told before it is parsed: a part of two bytes on the wire takes up to 170 in memory,
and 500 in the worker's, so that a gzip file of 64 KB would fill it. Pure; no I/O.

Protobuf does the counting. A singular message that comes more than once is merged, its repeated fields one after the other: a
request of which all levels but the last are said to be singular is parsed into one list of all that is on the last.

Source: https://protobuf.dev/programming-guides/encoding/#last-one-wins
"""

from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from app.errors import BodyTooLarge

MAX_PARTS = 1_000_000
MAX_ATTRIBUTES = 4_000_000
"""The smallest spans and attributes that exporters send fill a body of 64 MiB before they are as many."""

_LEVELS = ({"resource_spans": 1}, {"scope_spans": 2}, {"spans": 2}, {"attributes": 9, "events": 11, "links": 13})
"""The repeated fields of ExportTraceServiceRequest, ResourceSpans, ScopeSpans and Span, and their numbers."""


def check_parts(body: bytes) -> None:
    """Refuses a body of too many resources, scopes, spans, events and links, or of too many attributes of spans.

    Raises:
        BodyTooLarge: it is one. DecodeError: it is no protobuf.
    """
    if len(body) <= 2 * MAX_PARTS:  # there is no shorter part
        return
    parts = 0
    for kind, levels in zip(_KINDS, range(len(_LEVELS)), strict=True):
        holder = kind.FromString(body)
        for level in _LEVELS[:levels]:
            holder = getattr(holder, *level)
        counts = {name: len(getattr(holder, name)) for name in _LEVELS[levels]}
        attributes = counts.pop("attributes", 0)
        parts += sum(counts.values())
        if parts > MAX_PARTS or attributes > MAX_ATTRIBUTES:
            raise BodyTooLarge(
                f"The body has over {MAX_PARTS} spans, events and links, or {MAX_ATTRIBUTES} attributes: send smaller batches."
            )


def _kind(last: int) -> Any:
    """A request whose levels are singular, and whose last one is lists of bytes."""
    package = f"headrace.parts{last}"
    file = FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for level, names in enumerate(_LEVELS[: last + 1]):
        message = file.message_type.add(name=f"Level{level}")
        for name, number in names.items():
            field = message.field.add(name=name, number=number)
            if level == last:
                field.label, field.type = FieldDescriptorProto.LABEL_REPEATED, FieldDescriptorProto.TYPE_BYTES
            else:
                field.label, field.type = FieldDescriptorProto.LABEL_OPTIONAL, FieldDescriptorProto.TYPE_MESSAGE
                field.type_name = f".{package}.Level{level + 1}"
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(f"{package}.Level0"))


_KINDS = [_kind(last) for last in range(len(_LEVELS))]
