"""OTLP/gRPC: `TraceService/Export` and its siblings, and gRPC's health service.

gRPC itself inflates (gzip, deflate) and holds each message to its limit, raw and inflated: RESOURCE_EXHAUSTED, without
`RetryInfo`, as the specification demands.

Source: OTLP specification, "OTLP/gRPC"
(https://github.com/open-telemetry/opentelemetry-proto/blob/main/docs/specification.md#otlpgrpc).
"""

import asyncio
import time
from typing import Any, NoReturn

import grpc
from grpc_health.v1 import _async as health
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse

from app import tracing
from app.config import Config
from app.errors import HeadraceError, QueueError, StartError
from app.otlp.codec import Encoding
from app.otlp.signals import Signal
from app.queue import Queue
from app.receiver.answers import retry_info, status_of
from app.receiver.intake import Intake
from app.receiver.tls import Certificates
from app.telemetry import ACK_SECONDS

SERVICES = {
    Signal.TRACES: "opentelemetry.proto.collector.trace.v1.TraceService",
    Signal.METRICS: "opentelemetry.proto.collector.metrics.v1.MetricsService",
    Signal.LOGS: "opentelemetry.proto.collector.logs.v1.LogsService",
}

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_HEALTH_SECONDS = 1.0


class GrpcReceiver:
    """The gRPC server of one process. `start` and `stop` run on the event loop that serves."""

    def __init__(self, config: Config, intake: Intake, queue: Queue, certificates: Certificates | None, shared: bool) -> None:
        self._address = f"[{config.host}]" if ":" in config.host else config.host
        self._port = config.grpc_port
        self._intake = intake
        self._queue = queue
        self._certificates = certificates
        self._options = [
            ("grpc.max_receive_message_length", config.max_body_bytes),
            ("grpc.so_reuseport", int(shared)),  # else a second server would share the port, unnoticed
            ("grpc.keepalive_time_ms", 60_000),  # finds clients that vanished without a word
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),  # clients' keepalive is welcome
            ("grpc.keepalive_permit_without_calls", 1),
        ]
        self._health = health.HealthServicer()
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Starts serving, and returns the port.

        Raises:
            StartError: the port cannot be bound.
        """
        self._server = grpc.aio.server(options=self._options)
        for signal, service in SERVICES.items():
            handler = grpc.unary_unary_rpc_method_handler(_Exporter(signal, self._intake).export)
            generic = grpc.method_handlers_generic_handler(service, {"Export": handler})
            self._server.add_generic_rpc_handlers((generic,))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        address = f"{self._address}:{self._port}"
        try:
            if self._certificates is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, self._certificates.grpc_credentials())
        except RuntimeError:
            raise StartError(f"{address} cannot be bound for gRPC. See HEADRACE_HOST and HEADRACE_GRPC_PORT.") from None
        await self._server.start()
        self._watching = asyncio.create_task(self._watch())
        return int(port)

    async def stop(self, grace: float) -> None:
        """Takes no new calls; those that run have `grace` seconds to end."""
        if self._watching is not None:
            self._watching.cancel()
            await self._health.enter_graceful_shutdown()
            await self._server.stop(grace)

    async def _watch(self) -> None:
        """Health tells what /readyz tells: whether requests can be taken."""
        while True:
            try:
                ready = not self._queue.size().refusal
            except QueueError:
                ready = False
            now = HealthCheckResponse.SERVING if ready else HealthCheckResponse.NOT_SERVING
            for service in ("", *SERVICES.values()):
                await self._health.set(service, now)
            await asyncio.sleep(_HEALTH_SECONDS)


class _Exporter:
    """`Export` of one signal's service: message bytes in, message bytes out."""

    def __init__(self, signal: Signal, intake: Intake) -> None:
        self._signal = signal
        self._intake = intake

    async def export(self, body: bytes, context: "grpc.aio.ServicerContext[Any, Any]") -> bytes:
        with tracing.request(self._signal.value):
            return await self._export(body, context)

    async def _export(self, body: bytes, context: "grpc.aio.ServicerContext[Any, Any]") -> bytes:
        started = time.perf_counter()
        headers = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        try:
            key = self._intake.admit(headers, _address(context.peer()))
            with self._intake.reading() as reading:
                reading.add(len(body))
                answer = await self._intake.export(self._signal, body, headers, key, Encoding.PROTOBUF)
        except Exception as error:
            await self._abort(context, error)
        if self._signal is Signal.TRACES:
            ACK_SECONDS.observe(time.perf_counter() - started)
        tracing.answered("grpc", self._signal.value, "OK")
        return answer.SerializeToString()

    async def _abort(self, context: "grpc.aio.ServicerContext[Any, Any]", error: Exception) -> NoReturn:
        status = status_of(error)
        details: list[tuple[str, bytes]] = [("grpc-status-details-bin", status.SerializeToString())]
        if isinstance(error, HeadraceError) and error.retry_after is not None:
            # The Python exporter looks here rather than into the details.
            details.append(("google.rpc.retryinfo-bin", retry_info(error.retry_after).SerializeToString()))
        code = _CODES[status.code]
        tracing.answered("grpc", self._signal.value, code.name)
        await context.abort(code, status.message, tuple(details))
        raise AssertionError("abort() does not return")


def _address(peer: str) -> str:
    """`ipv4:127.0.0.1:5000` → `127.0.0.1`."""
    return peer.partition(":")[2].rpartition(":")[0]
