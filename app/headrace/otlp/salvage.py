"""A protobuf request that cannot be parsed because of some of its spans → the request without them. Pure; no I/O.

Protobuf's parser takes all or nothing, and one text that is no UTF-8 would cost a thousand spans. The spans are parsed as mere
bytes first, whatever stands beside them as fields that are not known, which protobuf keeps.
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
    """Body → what can be parsed of it, and the number of spans left out.

    Raises:
        DecodeError: more than spans is broken. BodyTooLarge: what can be parsed has too many parts.
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
    check_parts(rest)  # of the body it could not tell what is on the level of what is broken
    return ExportTraceServiceRequest.FromString(rest), left_out


def _is_span(data: bytes) -> bool:
    """Parsed in a request of its own, as the levels above it count for how deep it may be."""
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
    """ExportTraceServiceRequest, down to its spans, and these as bytes."""
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
