"""Body bytes and Content-Type → a request of one signal; answers → bytes. No I/O.

Source: OTLP specification, "OTLP/HTTP"
(https://github.com/open-telemetry/opentelemetry-proto/blob/main/docs/specification.md#otlphttp).
"""

import enum
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

from headrace.errors import MalformedBody, UnsupportedMediaType
from headrace.otlp import weight
from headrace.otlp.form import SPANS, Form
from headrace.otlp.json_encoding import decode_json
from headrace.otlp.notes import Notes
from headrace.otlp.parts import check_parts, check_small
from headrace.otlp.salvage import salvage
from headrace.otlp.unread import read_old_names
from headrace.otlp.weight import Charge

_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
"""The first bytes of a compressed body. No request in either encoding begins with them."""
_ALSO = {
    "application/protobuf": "application/x-protobuf",  # RFC 9695's name for the same bytes
    "text/plain": "application/json",  # a browser's sendBeacon sends JSON with this name (opentelemetry-js#2321)
}


class Encoding(enum.Enum):
    """The two encodings of OTLP/HTTP. The value is the media type in Content-Type."""

    PROTOBUF = "application/x-protobuf"
    JSON = "application/json"


def encoding_of(content_type: str) -> Encoding:
    """A Content-Type header → the encoding of the body. Upper and lower case are alike; parameters are ignored. A
    header that comes twice with the same value, as a setting of headers and the exporter itself send it, is one.

    Raises:
        UnsupportedMediaType: it names neither of the two encodings.
    """
    named = {part.partition(";")[0].strip().lower() for part in content_type.split(",")}  # a header may come twice
    media_type = named.pop() if len(named) == 1 else content_type
    try:
        return Encoding(_ALSO.get(media_type, media_type))
    except ValueError:
        raise UnsupportedMediaType(
            f"Content-Type {media_type[:80] or '(none)'!r} is not OTLP: send application/x-protobuf or application/json."
        ) from None


def decode(
    body: bytes, encoding: Encoding, charge: Charge = weight.nothing, notes: Notes | None = None, form: Form = SPANS
) -> tuple[Any, int]:
    """An inflated body → the request, and the number of records that were left out because they cannot be parsed.

    Unknown fields are ignored, as the specification demands; `notes` says how many spans or log records are lost with them, and
    what was repaired. An empty protobuf body is a valid, empty request. `charge` is called with the bytes of memory that the
    request and its envelope will take, before they take it. The caller counts the body itself.

    Raises:
        MalformedBody: the body is no request of this form.
        BodyTooLarge: it has too many parts.
        InFlightFull: `charge` raised it.
    """
    notes = Notes() if notes is None else notes
    decoder = _decode_json if encoding is Encoding.JSON else _decode_protobuf
    try:
        return decoder(body, charge, notes, form)
    except MalformedBody as error:
        raise MalformedBody(f"{error}{_advice(body, encoding)}") from None


def _advice(body: bytes, encoding: Encoding) -> str:
    """What its sender probably forgot to say of a body; empty if its beginning tells nothing."""
    for beginning, name in _COMPRESSED.items():
        if body.startswith(beginning):
            return f" It is compressed with {name}: say so in Content-Encoding, or in gRPC's grpc-encoding."
    if encoding is Encoding.PROTOBUF and body.lstrip()[:1] == b"{":
        return " It looks like JSON: send it with the Content-Type application/json."
    return ""


def _decode_protobuf(body: bytes, charge: Charge, notes: Notes, form: Form) -> tuple[Any, int]:
    small = check_small(body)
    charge(weight.of_protobuf(body, small))
    body = read_old_names(body, notes, form)
    try:
        charge(weight.of_spans(check_parts(body, form)))
        request = form.request.FromString(body)
        if body.startswith(tuple(_COMPRESSED)):  # it may be the bytes of unknown fields, and nothing else
            raise MalformedBody(f"The body is not a protobuf {form.request.DESCRIPTOR.name}.")
        return request, 0
    except DecodeError:
        pass  # mend its texts, save the records that can be parsed
    try:
        charge(weight.of_salvage(body, small))
        return salvage(body, notes, form)
    except DecodeError as error:
        raise MalformedBody(f"The body is not a protobuf {form.request.DESCRIPTOR.name}: {error}.") from None


def _decode_json(body: bytes, charge: Charge, notes: Notes, form: Form) -> tuple[Any, int]:
    """Decodes JSON. Python's objects are gone once the protobuf messages are made of them. Then only the messages are charged,
    by a better estimate."""
    estimated = 0

    def note(size: int) -> None:
        nonlocal estimated
        charge(size)
        estimated += size

    request, left_out = decode_json(body, note, notes, form)
    serialized = request.SerializeToString()
    records = check_parts(serialized, form)
    charge(weight.of_protobuf(serialized) + weight.of_spans(records) - estimated)
    return request, left_out


def encode(message: Message, encoding: Encoding) -> bytes:
    """An answer → bytes in this encoding. In JSON, enums are integers, as the specification demands."""
    if encoding is Encoding.PROTOBUF:
        return message.SerializeToString()
    return json_format.MessageToJson(message, indent=None, use_integers_for_enums=True).encode()
