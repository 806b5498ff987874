"""One connection of the load generator, in hand-written HTTP/1.1 or HTTP/2: a library would cost more than the server does."""

import re
import socket
import struct
from typing import Protocol

from hpack import Decoder

_PATHS = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
_ACK = _END_STREAM = 1
_END_HEADERS = 4
_INITIAL_WINDOW_SIZE = 4
_FRAME_BYTES, _OUR_WINDOW = 16384, 2**30


class Connection(Protocol):
    """Has one request at a time on its way."""

    def fileno(self) -> int:
        """For a selector."""

    def send(self, body: bytes, signal: str = "traces") -> bool | None:
        """Sends a request of this signal. Returns the answer if the server has given it already."""

    def answer(self) -> bool | None:
        """Reads what has come. Was all of the request accepted? None: there is more to come."""

    def lives(self) -> bool:
        """Reads what has come while no request was on its way: does the server still listen?"""

    def close(self) -> None:
        """Ends it."""


def connect(port: int) -> socket.socket:
    """A connection to a server of this machine."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=280)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)  # a body fits, so that sending never waits
    return connection


class Http:
    """HTTP/1.1, kept alive."""

    def __init__(self, connection: socket.socket, encoding: str) -> None:
        self._socket = connection
        encoded = f"content-encoding: {encoding}\r\n" if encoding else ""
        head = f"host: 127.0.0.1:{connection.getpeername()[1]}\r\nx-mlflow-experiment-id: 0\r\n"
        head = f"{head}{encoded}content-type: application/x-protobuf\r\ncontent-length: "
        self._heads = {signal: f"POST /v1/{signal} HTTP/1.1\r\n{head}".encode() for signal in _PATHS}
        self._received = b""
        self.fileno, self.close = connection.fileno, connection.close

    def send(self, body: bytes, signal: str = "traces") -> None:
        """See `Connection`. Nothing is read meanwhile."""
        self._socket.sendall(b"%b%d\r\n\r\n%b" % (self._heads[signal], len(body), body))

    def answer(self) -> bool | None:
        """See `Connection`. In OTLP a body says what was rejected."""
        if not (chunk := self._socket.recv(65536)):
            raise ConnectionError("the server hung up")
        self._received += chunk
        head, complete, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not complete or len(body) < (int(length[1]) if length else 0):
            return None
        self._received = b""
        return head.startswith(b"HTTP/1.1 200") and not body

    def lives(self) -> bool:
        """See `Connection`. A server says nothing unasked but that it closes."""
        return False


class Grpc:
    """gRPC over HTTP/2 without TLS; source: RFC 9113, and PROTOCOL-HTTP2.md of grpc."""

    def __init__(self, connection: socket.socket, encoding: str) -> None:
        self._socket = connection
        self._flag = b"\1" if encoding else b"\0"
        headers = {":method": "POST", ":scheme": "http", ":authority": "127.0.0.1"}
        headers |= {"te": "trailers", "content-type": "application/grpc", "x-mlflow-experiment-id": "0"}
        headers |= {"grpc-encoding": encoding} if encoding else {}
        self._headers = {
            signal: b"".join(_literal(name) + _literal(value, b"") for name, value in ({":path": path} | headers).items())
            for signal, path in _PATHS.items()
        }
        self._decoder = Decoder()  # its table changes with each block, so each is decoded
        self._received, self._message, self._block = bytearray(), b"", b""
        self._stream = -1
        self._initial = self._room = self._stream_room = 65535
        self._ready, self._status = False, b""
        self.fileno, self.close = connection.fileno, connection.close
        settings = struct.pack(">HI", _INITIAL_WINDOW_SIZE, _OUR_WINDOW)
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0, settings))
        connection.sendall(_frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _OUR_WINDOW)))
        while not self._ready:
            self._read()

    def send(self, body: bytes, signal: str = "traces") -> bool | None:
        """See `Connection`. Waits where the server's windows are full."""
        self._stream += 2
        self._stream_room, self._message, self._status = self._initial, b"", b""
        out = [_frame(_HEADERS, _END_HEADERS, self._stream, self._headers[signal])]
        message = b"%b%b%b" % (self._flag, len(body).to_bytes(4, "big"), body)
        at = 0
        while at < len(message) and not self._status:
            size = min(len(message) - at, _FRAME_BYTES, self._room, self._stream_room)
            if size <= 0:
                self._socket.sendall(b"".join(out))
                out.clear()
                self._read()
                continue
            self._room, self._stream_room = self._room - size, self._stream_room - size
            flags = _END_STREAM if at + size == len(message) else 0
            out.append(_frame(_DATA, flags, self._stream, message[at : at + size]))
            at += size
        self._socket.sendall(b"".join(out))
        return self._verdict()

    def answer(self) -> bool | None:
        """See `Connection`. OTLP's answer is an empty message unless something was rejected."""
        self._read()
        return self._verdict()

    def _verdict(self) -> bool | None:
        return (self._status == b"0" and self._message == bytes(5)) if self._status else None

    def lives(self) -> bool:
        """See `Connection`. A server may ping, and change windows, at any time."""
        try:
            self._read()
        except ConnectionError:
            return False
        return True

    def _read(self) -> None:
        if not (chunk := self._socket.recv(65536)):
            raise ConnectionError("the server hung up")
        self._received += chunk
        while len(self._received) >= 9:
            end = 9 + int.from_bytes(self._received[:3], "big")
            if len(self._received) < end:
                return
            kind, flags, stream = struct.unpack_from(">BBI", self._received, 3)
            payload = bytes(self._received[9:end])
            del self._received[:end]
            if kind in (_DATA, _HEADERS, _CONTINUATION, _RST_STREAM):
                self._of_a_stream(kind, flags, payload)
            else:
                self._of_the_connection(kind, flags, stream, payload)

    def _of_a_stream(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == _DATA:
            self._message += payload
        elif kind != _RST_STREAM:
            self._block += payload
            if flags & _END_HEADERS:
                headers = dict(self._decoder.decode(self._block, raw=True))
                self._block = b""
                self._status = headers.get(b"grpc-status", self._status)
        if (flags & _END_STREAM or kind == _RST_STREAM) and kind != _CONTINUATION and not self._status:
            self._status = b"none"

    def _of_the_connection(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _SETTINGS and not flags & _ACK:
            for name, value in struct.iter_unpack(">HI", payload):
                if name == _INITIAL_WINDOW_SIZE:
                    self._stream_room += value - self._initial
                    self._initial = value
            self._ready = True
            self._socket.sendall(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self._socket.sendall(_frame(_PING, _ACK, 0, payload))
        elif kind == _WINDOW_UPDATE and stream in (0, self._stream):
            room = int.from_bytes(payload, "big")
            self._room, self._stream_room = self._room + room * (not stream), self._stream_room + room * bool(stream)
        elif kind == _GOAWAY:
            raise ConnectionError("the server closes the connection")


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return b"%b%b%b" % (len(payload).to_bytes(3, "big"), struct.pack(">BBI", kind, flags, stream), payload)


def _literal(text: str, prefix: bytes = b"\0") -> bytes:
    """HPACK without its table and without Huffman's code, so that a block is the same each time; shorter than 127 bytes."""
    return prefix + bytes([len(text)]) + text.encode()
