"""OTLP/gRPC: `TraceService/Export` and its siblings, and gRPC's health service, over the HTTP/2 connections of `http2.py`.

Sources: OTLP specification, "OTLP/gRPC"
(https://github.com/open-telemetry/opentelemetry-proto/blob/main/docs/specification.md#otlpgrpc); gRPC over HTTP/2
(https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md); why not grpcio's server: docs/adr/0018.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from functools import partial

from google.rpc import code_pb2

from headrace import tracing
from headrace.config import Config
from headrace.errors import HeadersTooLarge, MethodNotAllowed, NoSuchPath, QueueUnavailable, UnsupportedMediaType
from headrace.otlp.codec import Encoding
from headrace.otlp.signals import SIGNALS, TRACES, Signal
from headrace.parts import PartTask
from headrace.queue import Queue
from headrace.receiver.answers import status_of
from headrace.receiver.framing import MAX_HEAD_BYTES
from headrace.receiver.grpc.call import OneMessage, Refused
from headrace.receiver.grpc.connections import Connections
from headrace.receiver.grpc.health import Check, Health, Watch
from headrace.receiver.grpc.stream import Call, Headers, Stream
from headrace.receiver.intake import Intake
from headrace.receiver.listen import bind
from headrace.receiver.tls import Certificates
from headrace.receiver.who import Who
from headrace.telemetry.metrics import ACK_SECONDS

_LOOK_SECONDS = 0.5


class GrpcReceiver:
    """The gRPC server of one process. `start` and `stop` run on the event loop that serves."""

    def __init__(self, config: Config, intake: Intake, queue: Queue, certificates: Certificates | None, shared: bool) -> None:
        self._config = config
        self._shared = shared
        self._certificates = certificates
        self._connections = Connections(config, self._begin)
        self._part = PartTask("grpc", self._keep_listening, takes_requests=True)
        self._health = Health(queue, ("", *(signal.service for signal in SIGNALS)))
        self._methods: dict[bytes, Callable[[Stream, Mapping[str, str]], OneMessage]] = {
            b"/grpc.health.v1.Health/Check": partial(Check, config=config, health=self._health),
            b"/grpc.health.v1.Health/Watch": partial(Watch, config=config, health=self._health),
        }
        for signal in SIGNALS:
            self._methods[f"/{signal.service}/Export".encode()] = partial(Export, config=config, intake=intake, signal=signal)

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
        config = self._config
        listener = bind(config.host, config.grpc_port, "HEADRACE_GRPC_PORT or --grpc-port", shared=self._shared)
        tls = None if self._certificates is None else self._certificates.http2
        if tls is not None:
            tls.on_handshake = self._connections.crowd.handshake
            tls.on_handshake_end = self._connections.door.handshake_ended
        self._server = await asyncio.get_running_loop().create_server(
            self._connections, sock=listener, ssl=tls, ssl_handshake_timeout=config.header_seconds if tls else None
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
            status_of(MethodNotAllowed("A gRPC call is an HTTP/2 POST: this is OTLP/gRPC's port."), who)
            return Refused(stream, ((b":status", b"405"), (b"allow", b"POST")))
        if not metadata.get("content-type", "").startswith("application/grpc"):
            status_of(UnsupportedMediaType("The Content-Type of a gRPC call is application/grpc."), who)
            return Refused(stream, ((b":status", b"415"),))
        path = pseudo.get(b":path", b"")
        if (method := self._methods.get(path)) is None:
            said = f"There is no method {path.decode('latin-1')[:200]!r} here; OTLP's is /{TRACES.service}/Export."
            return Refused.with_status(stream, status_of(NoSuchPath(said), who))
        call = method(stream, metadata)
        if self._health.stopping:
            call.fail(QueueUnavailable("Headrace is stopping: send the batch again."))
        elif sum(len(name) + len(value) for name, value in headers) > MAX_HEAD_BYTES:
            call.fail(HeadersTooLarge(f"The request's metadata is over {MAX_HEAD_BYTES} bytes: send less of it."))
        else:
            call.begin()
        return call


class Export(OneMessage):
    """A call of `Export`, of one signal's service."""

    def __init__(self, stream: Stream, metadata: Mapping[str, str], config: Config, intake: Intake, signal: Signal) -> None:
        super().__init__(stream, metadata, config)
        self._started = time.perf_counter()
        self._intake = intake
        self._signal = signal
        self._held = ExitStack()
        self._reading = self._held.enter_context(intake.reading(self.who))

    def begin(self) -> None:
        """Checks the API key before any of the message is read."""
        try:
            self._key = self._intake.admit(self.metadata, self.who.address)
            self.who.key = self._key.name if self._key is not None else ""
        except Exception as error:
            self.fail(error)

    def traced(self) -> AbstractContextManager[None]:
        """See `OneMessage.traced`."""
        return tracing.request(self._signal.name)

    def take(self, size: int) -> None:
        """See `OneMessage.take`."""
        self._reading.charge(size, as_sent=True)

    async def serve(self, message: bytes, compression: str) -> None:
        """See `OneMessage.serve`."""
        answer = await self._intake.export(
            self._signal, message, self.metadata, self._key, Encoding.PROTOBUF, compression, self._reading
        )
        self.reply(answer.SerializeToString())
        if self._signal.stored:
            ACK_SECONDS.observe(time.perf_counter() - self._started)

    def ended(self, code: int) -> None:
        """See `OneMessage.ended`."""
        self._held.close()
        tracing.answered("grpc", self._signal.name, code_pb2.Code.Name(code))


def _metadata(headers: Headers) -> dict[str, str]:
    """The headers by name, without HTTP/2's own (`:path` …) and binary ones (`…-bin`). The values of one that comes twice are
    joined."""
    metadata: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name = raw_name.decode("latin-1")
        if name.startswith(":") or name.endswith("-bin"):
            continue
        value = raw_value.decode("latin-1")
        metadata[name] = f"{metadata[name]}, {value}" if name in metadata else value
    return metadata
