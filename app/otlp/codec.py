"""Body bytes × Content-Type × Content-Encoding → `ExportTraceServiceRequest`, and answers back. Pure; no I/O.

Source: OTLP specification, "OTLP/HTTP" and "JSON Protobuf Encoding"
(https://github.com/open-telemetry/opentelemetry-proto/blob/main/docs/specification.md#otlphttp).
"""

import base64
import enum
import json
import zlib
from collections.abc import Iterator
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from app.errors import BodyTooLarge, MalformedBody, UnsupportedMediaType

_ID_KEYS = ("traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id")
_MAX_DEPTH = 100  # protobuf's own limit for nested messages on the wire, applied to JSON as well
_BAD_JSON = (json_format.ParseError, ValueError, TypeError, AttributeError, RecursionError)


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
    if media_type == "application/protobuf":  # RFC 9695's name for the same bytes
        return Encoding.PROTOBUF
    try:
        return Encoding(media_type)
    except ValueError:
        raise UnsupportedMediaType(
            f"Content-Type {media_type[:80] or '(none)'!r} is not OTLP: send application/x-protobuf or application/json."
        ) from None


def inflate(body: bytes, content_encoding: str, limit: int) -> bytes:
    """Undoes Content-Encoding. `limit` bounds the result, in bytes, so that a bomb costs no more than that.

    Raises:
        UnsupportedMediaType: an encoding other than identity and gzip.
        MalformedBody: the body is not gzip, or ends too early.
        BodyTooLarge: the inflated body is over `limit`.
    """
    name = content_encoding.strip().lower()
    if name in ("", "identity"):
        return body
    if name != "gzip":
        raise UnsupportedMediaType(f"Content-Encoding {name[:80]!r} is not supported: send gzip or identity.")
    try:
        return _gunzip(body, limit)
    except zlib.error as error:
        raise MalformedBody(f"The body is not valid gzip: {error}.") from None


def _gunzip(body: bytes, limit: int) -> bytes:
    """Inflates every member of a gzip file (RFC 1952, section 2.2 allows several)."""
    inflated = bytearray()
    rest = body
    while rest:
        member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        inflated += member.decompress(rest, limit + 1 - len(inflated))
        if len(inflated) > limit:
            raise BodyTooLarge(
                f"The inflated body is over {limit} bytes: send smaller batches, or raise HEADRACE_MAX_BODY_BYTES."
            )
        if not member.eof:
            raise MalformedBody("The gzip body ends too early.")
        rest = member.unused_data
    return bytes(inflated)


def decode(body: bytes, encoding: Encoding) -> tuple[ExportTraceServiceRequest, int]:
    """Body → request, and the number of spans that had to be left out because their JSON is none of a span's.

    Unknown fields are ignored, as the specification demands. An empty protobuf body is a valid, empty request.

    Raises:
        MalformedBody: the body is no `ExportTraceServiceRequest`.
    """
    if encoding is Encoding.JSON:
        return _decode_json(body)
    try:
        return ExportTraceServiceRequest.FromString(body), 0
    except DecodeError as error:
        raise MalformedBody(f"The body is not a protobuf ExportTraceServiceRequest: {error}.") from None


def encode(message: Message, encoding: Encoding) -> bytes:
    """An answer → bytes in the request's own encoding; enums as integers in JSON, as the specification demands."""
    if encoding is Encoding.PROTOBUF:
        return message.SerializeToString()
    return json_format.MessageToJson(message, indent=None, use_integers_for_enums=True).encode()


def _decode_json(body: bytes) -> tuple[ExportTraceServiceRequest, int]:
    try:
        data = json.loads(body)
        if not isinstance(data, dict):
            raise MalformedBody("The body is JSON, but no object: send an ExportTraceServiceRequest.")
        for span in _each_span(data):
            _hex_to_base64(span)
            for link in span.get("links") or ():
                _hex_to_base64(link)
    except _BAD_JSON as error:
        raise MalformedBody(f"The body is not an OTLP/JSON ExportTraceServiceRequest: {_first_line(error)}") from None
    try:
        return _parse(data, ExportTraceServiceRequest()), 0
    except _BAD_JSON:
        return _salvage(data)


def _salvage(data: dict[str, Any]) -> tuple[ExportTraceServiceRequest, int]:
    """Leaves out the spans that cannot be parsed, so that one bad span costs one span."""
    left_out = 0
    reason = ""
    for _, scope in _each_scope(data):
        kept = []
        for span in scope.get("spans") or ():
            try:
                _parse(span, Span())
                kept.append(span)
            except _BAD_JSON as error:
                left_out += 1
                reason = _first_line(error)
        scope["spans"] = kept
    try:
        return _parse(data, ExportTraceServiceRequest()), left_out
    except _BAD_JSON as error:
        reason = reason or _first_line(error)
        raise MalformedBody(f"The body is not an OTLP/JSON ExportTraceServiceRequest: {reason}") from None


def _parse(data: dict[str, Any], message: Any) -> Any:
    return json_format.ParseDict(data, message, ignore_unknown_fields=True, max_recursion_depth=_MAX_DEPTH)


def _each_scope(data: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for resource in data.get("resourceSpans") or data.get("resource_spans") or ():
        for scope in resource.get("scopeSpans") or resource.get("scope_spans") or ():
            yield resource, scope


def _each_span(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for _, scope in _each_scope(data):
        yield from scope.get("spans") or ()


def _hex_to_base64(holder: dict[str, Any]) -> None:
    """Ids are hex in OTLP/JSON, in spans *and* in links, where protobuf's JSON mapping has base64.

    What is no hex becomes empty, so that validation rejects that one span and says why.
    """
    for key in _ID_KEYS:
        if key in holder:
            try:
                holder[key] = base64.b64encode(bytes.fromhex(holder[key])).decode("ascii")
            except (ValueError, TypeError):
                holder[key] = ""


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
