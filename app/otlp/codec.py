"""Body bytes × Content-Type → `ExportTraceServiceRequest`, and answers back. Pure; no I/O.

Source: OTLP specification, "OTLP/HTTP"
(https://github.com/open-telemetry/opentelemetry-proto/blob/main/docs/specification.md#otlphttp).
"""

import enum

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.errors import MalformedBody, UnsupportedMediaType
from app.otlp.json_encoding import decode_json
from app.otlp.parts import check_parts
from app.otlp.salvage import salvage

_ALSO = {
    "application/protobuf": "application/x-protobuf",  # RFC 9695's name for the same bytes
    "text/plain": "application/json",  # what a browser's sendBeacon calls it (opentelemetry-js#2321)
}


class Encoding(enum.Enum):
    """The two encodings of OTLP/HTTP; the value is the media type that stands in Content-Type."""

    PROTOBUF = "application/x-protobuf"
    JSON = "application/json"


def encoding_of(content_type: str) -> Encoding:
    """A Content-Type header → the encoding of the body. Media types are case-insensitive and may have parameters.

    Raises:
        UnsupportedMediaType: it is neither of the two.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    try:
        return Encoding(_ALSO.get(media_type, media_type))
    except ValueError:
        raise UnsupportedMediaType(
            f"Content-Type {media_type[:80] or '(none)'!r} is not OTLP: send application/x-protobuf or application/json."
        ) from None


def decode(body: bytes, encoding: Encoding) -> tuple[ExportTraceServiceRequest, int]:
    """Body → request, and the number of spans that had to be left out because they cannot be parsed.

    Unknown fields are ignored, as the specification demands. An empty protobuf body is a valid, empty request.

    Raises:
        MalformedBody: the body is no `ExportTraceServiceRequest`.
        BodyTooLarge: it has too many parts.
    """
    if encoding is Encoding.JSON:
        request, left_out = decode_json(body)
        check_parts(request.SerializeToString())
        return request, left_out
    try:
        check_parts(body)
        return ExportTraceServiceRequest.FromString(body), 0
    except DecodeError:
        pass  # see what can be made of it
    try:
        return salvage(body)
    except DecodeError as error:
        raise MalformedBody(f"The body is not a protobuf ExportTraceServiceRequest: {error}.") from None


def encode(message: Message, encoding: Encoding) -> bytes:
    """An answer → bytes in the request's own encoding; enums as integers in JSON, as the specification demands."""
    if encoding is Encoding.PROTOBUF:
        return message.SerializeToString()
    return json_format.MessageToJson(message, indent=None, use_integers_for_enums=True).encode()
