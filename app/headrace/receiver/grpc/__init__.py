"""OTLP/gRPC: `TraceService/Export` and its siblings, and gRPC's health service, on the server of `server.py`.

Sources: OTLP specification, "OTLP/gRPC"
(https://github.com/open-telemetry/opentelemetry-proto/blob/main/docs/specification.md#otlpgrpc); gRPC over HTTP/2
(https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md); why not grpcio's server: docs/adr/0018.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from functools import partial

from google.rpc import code_pb2

from headrace import tracing
from headrace.config import Config
from headrace.otlp.codec import Encoding
from headrace.otlp.signals import SIGNALS, TRACES, Signal
from headrace.queue import Queue
from headrace.receiver.grpc.call import OneMessage
from headrace.receiver.grpc.health import Check, Health, Watch
from headrace.receiver.grpc.server import GrpcServer, Place
from headrace.receiver.grpc.stream import Stream
from headrace.receiver.intake import Body, Intake
from headrace.receiver.tls import Certificates
from headrace.telemetry.metrics import ACK_SECONDS


class GrpcReceiver(GrpcServer):
    """The gRPC server of one process."""

    def __init__(self, config: Config, intake: Intake, queue: Queue, certificates: Certificates | None, shared: bool) -> None:
        health = Health(queue, ("", *(signal.service for signal in SIGNALS)))
        methods: dict[bytes, Callable[[Stream, Mapping[str, str]], OneMessage]] = {
            b"/grpc.health.v1.Health/Check": partial(Check, config=config, health=health),
            b"/grpc.health.v1.Health/Watch": partial(Watch, config=config, health=health),
        }
        for signal in SIGNALS:
            methods[f"/{signal.service}/Export".encode()] = partial(Export, config=config, intake=intake, signal=signal)
        speaks = f"OTLP/gRPC's port, where the method is /{TRACES.service}/Export"
        place = Place("grpc", config.host, config.grpc_port, "HEADRACE_GRPC_PORT or --grpc-port", speaks, shared)
        super().__init__(config, place, methods, health, certificates)


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
        body = Body(message, Encoding.PROTOBUF, compression)
        answer = await self._intake.export(self._signal, body, self.metadata, self._key, self._reading)
        self.reply(answer.SerializeToString())
        ACK_SECONDS.observe(time.perf_counter() - self._started)

    def ended(self, code: int) -> None:
        """See `OneMessage.ended`."""
        self._held.close()
        tracing.answered("grpc", self._signal.name, code_pb2.Code.Name(code))
