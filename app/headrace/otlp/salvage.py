"""Saves what can be parsed of a broken protobuf request: leaves out the spans that cannot be. No I/O.

Protobuf's parser takes a request whole or not at all: one text that is no UTF-8 would cost a thousand spans. So the spans are
first parsed as plain bytes, and then one by one. All other fields are unknown in that first step; protobuf keeps unknown
fields.
"""

from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from headrace.otlp.parts import check_parts

_LEVELS = (("resource_spans", 1), ("scope_spans", 2), ("spans", 2))


def salvage(body: bytes) -> tuple[ExportTraceServiceRequest, int]:
    """A body → the request without its broken spans, and their number.

    Raises:
        DecodeError: something else than spans is broken, too. BodyTooLarge: the rest has too many parts.
    """
    request = _Request.FromString(body)
    left_out = 0
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            kept = [span for span in scope.spans if _is_span(span)]
            left_out += len(scope.spans) - len(kept)
            scope.ClearField("spans")
            scope.spans.extend(kept)
    rest = request.SerializeToString()
    check_parts(rest)  # it could not count the parts of the broken body
    return ExportTraceServiceRequest.FromString(rest), left_out


def _is_span(data: bytes) -> bool:
    """Whether these bytes are a span. It is parsed inside a request, because the levels above it count for the greatest
    depth."""
    request = _Request()
    request.resource_spans.add().scope_spans.add().spans.append(data)
    alone = request.SerializeToString()
    try:
        check_parts(alone)
        ExportTraceServiceRequest.FromString(alone)
    except DecodeError:
        return False
    return True


def _request_of_bytes() -> Any:
    """The message class of an ExportTraceServiceRequest whose spans are plain bytes."""
    package = "headrace.salvage"
    file = FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for level, (name, number) in enumerate(_LEVELS):
        field = file.message_type.add(name=f"Level{level}").field.add(name=name, number=number)
        field.label = FieldDescriptorProto.LABEL_REPEATED
        if level == len(_LEVELS) - 1:
            field.type = FieldDescriptorProto.TYPE_BYTES
        else:
            field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{package}.Level{level + 1}"
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(f"{package}.Level0"))


_Request = _request_of_bytes()
