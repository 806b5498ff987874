"""Jaeger's storage API, `jaeger.storage.v2`, read-only: any Jaeger v2 in front shows the traces that MLflow's UI shows.

Source: jaeger-idl v0.9.0, and of v0.14.0 the capabilities (https://github.com/jaegertracing/jaeger-idl); its files are in
proto/jaeger/storage/v2.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial

from google.protobuf.message import Message

from headrace.config import Config
from headrace.console.access import Access, named
from headrace.console.jaeger.methods import Asking, Methods
from headrace.console.room import Room
from headrace.errors import BodyTimeout, MalformedBody
from headrace.otlp.compression import inflate
from headrace.reader import TraceReader
from headrace.receiver.grpc.call import OneMessage
from headrace.receiver.grpc.health import Check, Watch
from headrace.receiver.grpc.health_pb2 import HealthCheckResponse
from headrace.receiver.grpc.server import GrpcServer, Place
from headrace.receiver.grpc.stream import Stream
from headrace.receiver.tls import Certificates

_MAX_REQUEST_BYTES = 64 * 1024
_MAX_UNSENT_BYTES = 4 * 1024 * 1024
_LOOK_SECONDS = 0.01
_MAX_WAITING = 64
"""Calls that wait for a connection to Postgres. One more is told to come again."""
_SERVICES = ("", *(f"jaeger.storage.v2.{name}" for name in ("TraceReader", "DependencyReader", "Capabilities")))

Method = Callable[[bytes, Asking], Iterator[Message]]


class _Health:
    """What gRPC's health service says here: all services can be used until the server stops."""

    stopping = False

    def status(self, service: str) -> HealthCheckResponse.ServingStatus:
        """The state of one service."""
        if service not in _SERVICES:
            return HealthCheckResponse.SERVICE_UNKNOWN
        return HealthCheckResponse.NOT_SERVING if self.stopping else HealthCheckResponse.SERVING


class JaegerServer(GrpcServer):
    """The server of HEADRACE_JAEGER_PORT. As many calls ask Postgres at once as HEADRACE_READ_CONNECTIONS says."""

    def __init__(
        self,
        config: Config,
        reader: TraceReader,
        access: Access,
        certificates: Certificates | None = None,
        room: Room | None = None,
    ) -> None:
        """`room`: where its calls wait for Postgres; the web pages wait there, too. Without one it makes its own."""
        self._room = room or Room(config)
        health = _Health()
        methods: dict[bytes, Callable[[Stream, Mapping[str, str]], OneMessage]] = {
            b"/grpc.health.v1.Health/Check": partial(Check, config=config, health=health),
            b"/grpc.health.v1.Health/Watch": partial(Watch, config=config, health=health),
        }
        for path, method in Methods(reader, config.read_max_bytes).by_path.items():
            methods[path.encode()] = partial(Asked, config=config, method=method, access=access, room=self._room)
        speaks = "the port of Jaeger's storage API, jaeger.storage.v2"
        place = Place("jaeger", config.console_host, config.jaeger_port, "HEADRACE_JAEGER_PORT", speaks)
        super().__init__(config, place, methods, health, certificates)

    async def stop(self, grace: float) -> None:
        """See `GrpcServer.stop`."""
        await super().stop(grace)
        self._room.close()


class Asked(OneMessage):
    """A call of one of Jaeger's methods."""

    serves_on_alone = False

    def __init__(
        self, stream: Stream, metadata: Mapping[str, str], config: Config, method: Method, access: Access, room: Room
    ) -> None:
        super().__init__(stream, metadata, config)
        self._method = method
        self._access = access
        self._room = room
        self._patience = config.body_seconds

    def begin(self) -> None:
        """Checks the API key before any of the message is read."""
        try:
            self._limit = self._access.admit(self.metadata, self.who.address)
        except Exception as error:
            self.fail(error)

    def take(self, size: int) -> None:
        """See `OneMessage.take`."""
        if len(self._body) + size > _MAX_REQUEST_BYTES:
            raise MalformedBody(f"The question is over {_MAX_REQUEST_BYTES} bytes: ask for less at once.")

    async def serve(self, message: bytes, compression: str) -> None:
        """See `OneMessage.serve`. The next message is read once the client has taken the ones before."""
        body = inflate(message, compression, _MAX_REQUEST_BYTES)
        loop = asyncio.get_running_loop()
        self._room.enter()
        try:
            with closing(_Steps(self._method(body, Asking(self._limit, named(self.metadata))))) as steps:
                while (answer := await loop.run_in_executor(self._room.threads, steps.next)) is not None:
                    self.reply(answer)
                    await self._taken()
        finally:
            self._room.leave()

    async def _taken(self) -> None:
        """Waits until the client has taken most of the answer so far."""
        deadline = time.monotonic() + self._patience
        while self._stream.unsent_bytes > _MAX_UNSENT_BYTES:
            if time.monotonic() > deadline:
                raise BodyTimeout(f"The answer was not read within {self._patience:g} s (HEADRACE_BODY_SECONDS).")
            await asyncio.sleep(_LOOK_SECONDS)


class _Steps:
    """The messages of an answer, one at a time, from any thread."""

    def __init__(self, messages: Iterator[Message]) -> None:
        self._messages = messages
        self._closed = False

    def next(self) -> bytes | None:
        """The next message. None: there is no other, or nobody waits for it."""
        message = None if self._closed else next(self._messages, None)
        return None if message is None else message.SerializeToString()

    def close(self) -> None:
        """Nobody waits for more."""
        self._closed = True
