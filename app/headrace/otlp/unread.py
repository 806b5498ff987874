"""Fields of a protobuf request that OTLP does not have: those that hold spans or log records are counted, and those of old
names are read.

OTLP wants unknown fields to be ignored. But records in them would be lost in silence. No I/O.

Sources: https://protobuf.dev/programming-guides/encoding/; trace.proto of OTLP 0.19, in which `ResourceSpans` has the field
`instrumentation_library_spans` = 1000, with messages whose fields are those of `ScopeSpans`.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from headrace.otlp.form import SPANS, Form
from headrace.otlp.notes import Notes
from headrace.otlp.wire import BYTES, Budget, fields_of

_OLD_NAME = 1000
_MAX_FIELDS = 100_000
"""Most unknown fields that are looked at, in one body: each takes 2 µs."""
_MAX_LEVELS = 6

_MESSAGES = {"resource_spans": "ResourceSpans", "scope_spans": "ScopeSpans"} | {
    "resource_logs": "ResourceLogs",
    "scope_logs": "ScopeLogs",
}
"""A field → its message, for what is told."""

_Field = tuple[int, bytes]
"""The number of a field of bytes, and the bytes."""


def read_old_names(body: bytes, notes: Notes, form: Form = SPANS) -> bytes:
    """A protobuf body → the same with `instrumentation_library_spans` as `scope_spans`; nearly always the body itself.

    The other signals had such fields as well, with the same numbers. `notes` says how many spans or log records other unknown
    fields hold, and where: those with both ids. Takes 3 µs a request, whatever it holds.
    """
    try:
        levels = _unknown(body)
        if any(levels) and _has_old_name(levels[1]):
            body = _renamed(body, notes)
            levels = _unknown(body)
    except DecodeError:  # what is broken in it, `salvage` says
        return body
    for name, data in zip(("request", form.resources, form.scopes), levels, strict=True):
        if data and form.ids is not None:
            _note_records(data, _MESSAGES.get(name, name), notes, form.ids)
    return body


def _unknown(body: bytes) -> tuple[bytes, bytes, bytes]:
    """The unknown fields of a request, of all its resources and of all its scopes, as bytes.

    The messages of each level are declared as singular, so protobuf merges them, and joins their unknown fields.
    """
    request = _Level1.FromString(body)
    resource = request.known
    scope = resource.below
    _clear_known(scope)
    in_scopes = scope.SerializeToString()
    _clear_known(resource)
    in_resources = resource.SerializeToString()
    request.ClearField("known")
    return request.SerializeToString(), in_resources, in_scopes


def _clear_known(level: Any) -> None:
    for field in ("known", "below", "rest"):
        level.ClearField(field)


def _has_old_name(data: bytes) -> bool:
    return any(number == _OLD_NAME for number, _ in _fields(data, Budget(_MAX_FIELDS)))


def _renamed(body: bytes, notes: Notes) -> bytes:
    request = _Renaming.FromString(body)
    for resource in request.resource_spans:
        for scope in resource.old:
            notes.repaired["old_name_read"] += len(scope.spans)
        resource.scope_spans.extend(resource.old)
        resource.ClearField("old")
    renamed: bytes = request.SerializeToString()
    return renamed


def _note_records(data: bytes, within: str, notes: Notes, ids: tuple[int, int]) -> None:
    budget = Budget(_MAX_FIELDS)
    for number, value in _fields(data, budget):
        notes.unknown(_count_records(value, budget, _MAX_LEVELS, ids), f"field {number} of {within}")


def _count_records(data: bytes, budget: Budget, levels: int, ids: tuple[int, int]) -> int:
    """How many messages in these bytes look like records: with an id of 16 bytes, then one of 8, in the fields `ids`."""
    if len(data) < 28 or not levels:  # both ids with their tags and lengths
        return 0
    fields = list(_fields(data, budget))
    if any(number == ids[0] and len(value) == 16 for number, value in fields) and any(
        number == ids[1] and len(value) == 8 for number, value in fields
    ):
        return 1
    return sum(_count_records(value, budget, levels - 1, ids) for _, value in fields)


def _fields(data: bytes, budget: Budget) -> Iterator[_Field]:
    """The fields of bytes in a message, until something is no field, or the budget is used up."""
    with suppress(DecodeError):
        for field in fields_of(data, budget):
            if field.kind == BYTES:
                yield field.number, data[field.value : field.end]


def _classes() -> tuple[Any, Any]:
    """The messages of this module: the three levels, and a request with the old field."""
    file = FileDescriptorProto(name="headrace/unread.proto", package="headrace.unread", syntax="proto3")
    one, many = FieldDescriptorProto.LABEL_OPTIONAL, FieldDescriptorProto.LABEL_REPEATED
    _message(file, "Level1", (("known", 1, one, "Level2"),))
    _message(file, "Level2", (("known", 1, one, ""), ("below", 2, one, "Level3"), ("rest", 3, one, "")))
    _message(file, "Level3", (("known", 1, one, ""), ("below", 2, one, ""), ("rest", 3, one, "")))
    _message(file, "Request", (("resource_spans", 1, many, "Resource"),))
    _message(file, "Resource", (("scope_spans", 2, many, "Scope"), ("old", _OLD_NAME, many, "Scope")))
    _message(file, "Scope", (("spans", 2, many, ""),))
    pool = DescriptorPool()
    pool.Add(file)
    first, second = (GetMessageClass(pool.FindMessageTypeByName(f"headrace.unread.{name}")) for name in ("Level1", "Request"))
    return first, second


def _message(file: FileDescriptorProto, name: str, fields: tuple[tuple[str, int, Any, str], ...]) -> None:
    """Declares a message. A field of no type is bytes."""
    message = file.message_type.add(name=name)
    for field_name, number, label, type_ in fields:
        field = message.field.add(name=field_name, number=number, label=label)
        field.type = FieldDescriptorProto.TYPE_MESSAGE if type_ else FieldDescriptorProto.TYPE_BYTES
        if type_:
            field.type_name = f".headrace.unread.{type_}"


_Level1, _Renaming = _classes()
