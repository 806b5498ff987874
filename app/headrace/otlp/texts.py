"""OTLP's messages with their texts as plain bytes, so that a message with a text that is no UTF-8 can be parsed and mended.

Protobuf's parser takes a message whole or not at all, and proto3 wants UTF-8 in every text. On the wire a text and plain bytes
are the same, so a second description of the same messages, with bytes for each text, reads what the first one refuses. No I/O.

Source: https://protobuf.dev/programming-guides/encoding/#length-types
"""

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from headrace.otlp.notes import Notes, replace_what_is_no_utf8

_FILES = (common_pb2, resource_pb2, trace_pb2, trace_service_pb2)
_TEXTS: set[str] = set()
"""Full names of the fields that are texts in OTLP, and bytes here."""


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


def _classes(*names: str, spans_as_bytes: bool) -> list[Any]:
    """The classes of these messages. `spans_as_bytes`: the spans of a scope are not parsed, either."""
    pool = DescriptorPool()
    for module in _FILES:
        file = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        for message in file.message_type:
            _to_bytes(message, file.package, spans_as_bytes)
        pool.Add(file)
    return [GetMessageClass(pool.FindMessageTypeByName(name)) for name in names]


def _to_bytes(message: DescriptorProto, within: str, spans_as_bytes: bool) -> None:
    name = f"{within}.{message.name}"
    for field in message.field:
        if field.type == FieldDescriptorProto.TYPE_STRING:
            field.type = FieldDescriptorProto.TYPE_BYTES
            _TEXTS.add(f"{name}.{field.name}")
        elif spans_as_bytes and (message.name, field.name) == ("ScopeSpans", "spans"):
            field.type = FieldDescriptorProto.TYPE_BYTES
            field.ClearField("type_name")
    for nested in message.nested_type:
        _to_bytes(nested, name, spans_as_bytes)


_REQUEST, _SPAN = (
    trace_service_pb2.ExportTraceServiceRequest.DESCRIPTOR.full_name,
    trace_pb2.Span.DESCRIPTOR.full_name,
)
(RequestOfBytes,) = _classes(_REQUEST, spans_as_bytes=True)
"""An `ExportTraceServiceRequest` whose texts and spans are bytes."""
(SpanOfBytes,) = _classes(_SPAN, spans_as_bytes=False)
"""A `Span` whose texts are bytes."""
