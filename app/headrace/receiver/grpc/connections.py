"""All HTTP/2 connections of one server: they share its limits, and end with it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from headrace.config import Config
from headrace.receiver.crowd import Crowd
from headrace.receiver.door import Door
from headrace.receiver.first_bytes import GRPC
from headrace.receiver.grpc.http2 import Connection
from headrace.receiver.grpc.stream import Call, Headers, Stream

_SWEEP_SECONDS = 1.0
_WRONG_PORT = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{}\n"


def _wrong_port(said: str) -> bytes:
    """All bytes of the answer to a client that does not speak gRPC: of HTTP/1.1, which most others can show."""
    return _WRONG_PORT.format(len(said.encode()) + 1, said).encode()


class Connections:
    """All connections of one server. It is the protocol factory for asyncio: a call makes one more."""

    def __init__(self, config: Config, begin: Callable[[Stream, Headers], Call]) -> None:
        self.begin = begin
        self.header_seconds = config.header_seconds
        self.body_seconds = config.body_seconds
        self.crowd = Crowd.of(config)
        self.door = Door(GRPC, config, _wrong_port)
        self.open: set[Connection] = set()
        self.stopping = False
        self._last_closed: asyncio.Event | None = None

    def __call__(self) -> "Connection":
        return Connection(self)

    def sweep(self) -> None:
        """Sweeps the crowd, now and then once a second until the server stops."""
        self.crowd.sweep()
        if not self.stopping:
            asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self.sweep)

    def finish(self) -> None:
        """Stops: closes each connection as soon as its calls are over."""
        self.stopping = True
        for connection in list(self.open):
            connection.close_if_done()

    async def closed(self, grace: float) -> None:
        """Waits until all connections are closed. Aborts those that are still open after `grace` seconds."""
        self._last_closed = asyncio.Event()
        if self.open:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._last_closed.wait(), grace)
        for connection in list(self.open):
            connection.abort()

    def discard(self, connection: "Connection") -> None:
        """Forgets a closed connection."""
        self.open.discard(connection)
        if not self.open and self._last_closed is not None:
            self._last_closed.set()
