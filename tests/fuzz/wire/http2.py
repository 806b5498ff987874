"""HTTP/2 by hand: frames, HPACK literals, and a gRPC request out of them. Nothing here checks anything: that is the point.

Sources: RFC 9113 (frames), RFC 7541 (HPACK), "gRPC over HTTP2" (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
"""

import struct
from enum import IntEnum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
EXPORT = b"/opentelemetry.proto.collector.trace.v1.TraceService/Export"

Header = tuple[bytes, bytes]


class Kind(IntEnum):
    """A frame's type."""

    DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)


END_STREAM, END_HEADERS, PADDED, PRIORITIZED, ACK = 0x1, 0x4, 0x8, 0x20, 0x1


def frame(kind: int, flags: int, stream: int, payload: bytes = b"", length: int | None = None) -> bytes:
    """A frame; `length`: what its header says where that is not the payload's."""
    said = len(payload) if length is None else length
    return struct.pack(">I", said & 0xFFFFFF)[1:] + bytes([kind & 0xFF, flags & 0xFF]) + struct.pack(">I", stream) + payload


def setting(name: int, value: int) -> bytes:
    """One entry of a SETTINGS frame."""
    return struct.pack(">HI", name, value & 0xFFFFFFFF)


def integer(value: int, bits: int, first: int = 0) -> bytes:
    """An HPACK integer with a prefix of so many bits; `first`: the bits above them."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    out, value = bytearray([first | most]), value - most
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def text(value: bytes) -> bytes:
    """An HPACK string, not Huffman-coded."""
    return integer(len(value), 7) + value


def literal(name: bytes, value: bytes, first: int = 0) -> bytes:
    """A header field with a literal name. `first`: 0 without indexing, 0x10 never indexed, 0x40 with indexing."""
    return bytes([first]) + text(name) + text(value)


def block(headers: list[Header]) -> bytes:
    """A header block of literals."""
    return b"".join(literal(name, value) for name, value in headers)


def request_headers(path: bytes = EXPORT) -> list[Header]:
    """Those of a gRPC request."""
    pseudo = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"localhost")]
    return [*pseudo, (b"te", b"trailers"), (b"content-type", b"application/grpc"), (b"x-mlflow-experiment-id", b"0")]


def message(body: bytes, flag: int = 0, length: int | None = None) -> bytes:
    """A gRPC message with its five bytes of prefix."""
    return struct.pack(">BI", flag & 0xFF, (len(body) if length is None else length) & 0xFFFFFFFF) + body


def call(stream: int, headers: list[Header], body: bytes) -> bytes:
    """A whole call: HEADERS, then the body in DATA frames."""
    pieces = [body[at : at + 16384] for at in range(0, len(body), 16384)] or [b""]
    data = [frame(Kind.DATA, END_STREAM * (piece is pieces[-1]), stream, piece) for piece in pieces]
    return frame(Kind.HEADERS, END_HEADERS, stream, block(headers)) + b"".join(data)


def opening(*entries: bytes) -> bytes:
    """What each connection begins with."""
    return PREFACE + frame(Kind.SETTINGS, 0, 0, b"".join(entries))
