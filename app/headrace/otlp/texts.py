"""OTLP's messages with their texts as plain bytes, so that a message with a text that is no UTF-8 can be parsed and mended.

Protobuf's parser takes a message whole or not at all, and proto3 wants UTF-8 in every text. On the wire a text and plain bytes
are the same, so a second description of the same messages, with bytes for each text, reads what the first one refuses. No I/O.

Source: https://protobuf.dev/programming-guides/encoding/#length-types
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.resource.v1 import resource_pb2

from headrace.otlp.form import Form
from headrace.otlp.notes import Notes, replace_what_is_no_utf8

_TEXTS: set[str] = set()
"""Full names of the fields that are texts in OTLP, and bytes here."""
_POINTS = "data_points"


def mend_texts(message: Any, notes: Notes) -> None:
    """Replaces, in place, what is no UTF-8 in the texts of a message of this module, at any depth."""
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for item in value if field.is_repeated else (value,):
                mend_texts(item, notes)
        elif field.full_name in _TEXTS:
            if field.is_repeated:
                value[:] = [_mended(item, notes) for item in value]
            else:
                setattr(message, field.name, _mended(value, notes))


def _mended(data: bytes, notes: Notes) -> bytes:
    try:
        data.decode()
    except UnicodeDecodeError:
        return replace_what_is_no_utf8(data, notes).encode()
    return data


@dataclass(frozen=True, slots=True)
class Texts:
    """The messages of one signal with bytes for each text. What each level holds of the next one stays bytes, too, so that a
    broken one breaks no other."""

    request: Any
    resource: Any
    scope: Any
    item: Any
    """A span, a log record or a metric."""
    points: dict[str, Any]
    """The kinds of metrics, `gauge` → the message of its data points. Empty for the other signals."""


@cache
def texts_of(form: Form) -> Texts:
    """The messages of a signal, made when they are first needed: bodies with wrong texts are rare."""
    request: Any = form.request.DESCRIPTOR
    resource = request.fields_by_name[form.resources].message_type
    scope = resource.fields_by_name[form.scopes].message_type
    item: Any = form.item.DESCRIPTOR
    names = {field.name: field.message_type.fields_by_name.get(_POINTS) for field in item.fields if field.message_type}
    points = {name: field.message_type.full_name for name, field in names.items() if field is not None}
    cut = {(item.fields_by_name[name].message_type.name, _POINTS) for name in points}
    cut |= {(request.name, form.resources), (resource.name, form.scopes), (scope.name, form.items)}
    levels = [level.full_name for level in (request, resource, scope, item)]
    request, resource, scope, item, *kinds = _classes(form, [*levels, *points.values()], cut)
    return Texts(request, resource, scope, item, dict(zip(points, kinds, strict=True)))


def _classes(form: Form, names: Iterable[str], cut: Collection[tuple[str, str]]) -> list[Any]:
    """The classes of these messages. `cut`: message and field of what is not parsed, either, but stays bytes."""
    pool = DescriptorPool()
    for module in (common_pb2, resource_pb2, *form.files):
        file = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        for message in file.message_type:
            _to_bytes(message, file.package, cut)
        pool.Add(file)
    return [GetMessageClass(pool.FindMessageTypeByName(name)) for name in names]


def _to_bytes(message: DescriptorProto, within: str, cut: Collection[tuple[str, str]]) -> None:
    name = f"{within}.{message.name}"
    for field in message.field:
        if field.type == FieldDescriptorProto.TYPE_STRING:
            field.type = FieldDescriptorProto.TYPE_BYTES
            _TEXTS.add(f"{name}.{field.name}")
        elif (message.name, field.name) in cut:
            field.type = FieldDescriptorProto.TYPE_BYTES
            field.ClearField("type_name")
    for nested in message.nested_type:
        _to_bytes(nested, name, cut)
