"""A gRPC server over the HTTP/2 connections of `http2.py`: it listens, and finds the method that a request calls."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from headrace.config import Config
from headrace.envelope.incoming import said_once
from headrace.errors import HeadersTooLarge, MethodNotAllowed, NoSuchPath, QueueUnavailable, UnsupportedMediaType
from headrace.parts import PartTask
from headrace.receiver.answers import status_of
from headrace.receiver.framing import MAX_HEAD_BYTES, MAX_HEADERS
from headrace.receiver.grpc.call import OneMessage, Refused
from headrace.receiver.grpc.connections import Connections
from headrace.receiver.grpc.stream import Call, Headers, Stream
from headrace.receiver.headers import headers_of
from headrace.receiver.listen import bind
from headrace.receiver.tls import Certificates
from headrace.receiver.who import Who

_LOOK_SECONDS = 0.5
_MEDIA_TYPES = ("application/grpc", "application/grpc+proto")
"""Others say that the message is no protobuf (`+json`), or framed for browsers (`application/grpc-web`)."""

Methods = Mapping[bytes, Callable[[Stream, Mapping[str, str]], OneMessage]]
"""A method's path, `/package.Service/Method` → what makes the call that answers a request."""


class Stopping(Protocol):
    """What is told that the server stops."""

    stopping: bool


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server listens, and what it calls itself."""

    part: str
    """The name of the part that keeps it running."""
    host: str
    port: int
    setting: str
    """The setting of the port, for an error."""
    speaks: str
    """What is spoken here, for a client that calls something else."""
    shared: bool = False


class GrpcServer:
    """The gRPC server of one port. `start` and `stop` run on the event loop that serves."""

    def __init__(
        self, config: Config, place: Place, methods: Methods, health: Stopping, certificates: Certificates | None
    ) -> None:
        self._config = config
        self._place = place
        self._certificates = certificates
        self._connections = Connections(config, self._begin)
        self._part = PartTask(place.part, self._keep_listening, takes_requests=True)
        self._methods = methods
        self._health = health

    async def start(self) -> int:
        """Starts to listen. Returns the port.

        Raises:
            StartError: the port cannot be bound.
        """
        await self._listen()
        self._connections.sweep()
        self._part.start()
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self, grace: float) -> None:
        """Takes no new calls. Running calls have `grace` seconds to end."""
        await self._part.stop()
        self._health.stopping = True
        self._server.close()
        self._connections.finish()
        await self._connections.closed(grace)

    async def _listen(self) -> None:
        place, seconds = self._place, self._config.header_seconds
        listener = bind(place.host, place.port, place.setting, shared=place.shared)
        tls = None if self._certificates is None else self._certificates.http2
        if tls is not None:
            tls.on_handshake = self._connections.crowd.handshake
            tls.on_handshake_end = self._connections.door.handshake_ended
        self._server = await asyncio.get_running_loop().create_server(
            self._connections, sock=listener, ssl=tls, ssl_handshake_timeout=seconds if tls else None
        )

    async def _keep_listening(self) -> None:
        """Listens if nothing does. Returns when the server has stopped listening without being asked."""
        if not self._server.is_serving():
            await self._listen()
        while self._server.is_serving():  # noqa: ASYNC110 - asyncio has no event for it
            await asyncio.sleep(_LOOK_SECONDS)

    def _begin(self, stream: Stream, headers: Headers) -> Call:
        """The headers of a request → the call that answers it."""
        pseudo = {name: value for name, value in headers if name.startswith(b":")}
        metadata = _metadata(headers)
        who = Who(stream.address, metadata.get("user-agent", ""))
        if pseudo.get(b":method") != b"POST":
            status_of(MethodNotAllowed(f"A gRPC call is an HTTP/2 POST: this is {self._place.speaks}."), who)
            return Refused(stream, ((b":status", b"405"), (b"allow", b"POST")))
        if said_once(metadata.get("content-type", "")).partition(";")[0].strip().lower() not in _MEDIA_TYPES:
            status_of(
                UnsupportedMediaType("The Content-Type of a gRPC call is application/grpc, or application/grpc+proto."), who
            )
            return Refused(stream, ((b":status", b"415"),))
        path = pseudo.get(b":path", b"")
        if (method := self._methods.get(path)) is None:
            said = f"There is no method {path.decode('latin-1')[:200]!r} here; this is {self._place.speaks}."
            return Refused.with_status(stream, status_of(NoSuchPath(said), who))
        call = method(stream, metadata)
        if self._health.stopping:
            call.fail(QueueUnavailable("Headrace is stopping: send the batch again."))
        elif said := _too_large(headers):
            call.fail(HeadersTooLarge(said))
        else:
            call.begin()
        return call


def _metadata(headers: Headers) -> dict[str, str]:
    """The headers by name, without HTTP/2's own (`:path` …) and binary ones (`…-bin`)."""
    return headers_of((name, value) for name, value in headers if not (name.startswith(b":") or name.endswith(b"-bin")))


def _too_large(headers: Headers) -> str:
    """What is too large about the headers, in the words that HTTP has for it; empty if nothing is."""
    if sum(len(name) + len(value) for name, value in headers) > MAX_HEAD_BYTES:
        return f"The request's metadata is over {MAX_HEAD_BYTES} bytes: send less of it."
    if sum(not name.startswith(b":") for name, _ in headers) > MAX_HEADERS:
        return f"The request has over {MAX_HEADERS} headers: send fewer."
    return ""
