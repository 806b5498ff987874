"""What OTLP/HTTP and OTLP/gRPC do with a request alike: whose it is, whether he may, what it says, into the pipeline."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from google.protobuf.message import Message
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from app import tracing
from app.config import Config
from app.errors import BodyTooLarge, InFlightFull
from app.otlp.codec import Encoding, decode
from app.otlp.compression import inflate
from app.otlp.signals import Signal, refuse_logs, refuse_metrics
from app.otlp.spans import count_spans
from app.pipeline import Incoming, Pipeline
from app.processor.validate import Verdict
from app.receiver.auth import Key, Keys
from app.receiver.limits import Limits
from app.telemetry import IN_FLIGHT_BYTES, RECORDS_REFUSED, REQUEST_BYTES

_IN_THREAD_BYTES = 64 * 1024
"""Bodies from here on are parsed off the event loop: about 0.5 ms of work, Quickwit's limit for async code. Those that are
compressed are whatever their size: nobody knows what becomes of them."""


class Intake:
    """Shared by the receivers of one process; all of it on the event loop."""

    def __init__(self, config: Config, pipeline: Pipeline, keys: Keys | None) -> None:
        self._max_body = config.max_body_bytes
        self._max_in_flight = config.max_in_flight_bytes
        self._in_flight = 0
        self._pipeline = pipeline
        self._keys = keys
        self._limits = Limits(config)

    def admit(self, headers: Mapping[str, str], address: str) -> Key | None:
        """Whose request it is; None where no keys are asked for. Before anything of the body is read.

        Raises:
            Unauthenticated, RateLimited.
        """
        return None if self._keys is None else self._keys.authenticate(headers, address)

    @contextmanager
    def reading(self) -> Iterator["Reading"]:
        """Counts a body's bytes for as long as it is in memory."""
        reading = Reading(self)
        try:
            yield reading
        finally:
            self._in_flight -= reading.size
            IN_FLIGHT_BYTES.set(self._in_flight)

    async def export(
        self,
        signal: Signal,
        body: bytes,
        headers: Mapping[str, str],
        key: Key | None,
        encoding: Encoding,
        compression: str = "",
    ) -> Message:
        """A whole body → the answer to its sender: spans are durable by then.

        Raises:
            RequestError, RateLimited, QueueError.
        """
        REQUEST_BYTES.observe(len(body))
        self._limits.charge("bytes", len(body), *((key.id, key.bytes_per_second) if key else ()))
        if len(body) < _IN_THREAD_BYTES and compression.strip().lower() in ("", "identity"):
            parsed = self._parse(signal, body, headers, key, encoding, compression)
        else:
            parsed = await asyncio.to_thread(self._parse, signal, body, headers, key, encoding, compression)
        if isinstance(parsed, Message):
            tracing.received(len(body))
            return parsed
        spans = count_spans(parsed.request)
        tracing.received(len(body), parsed.request, spans)
        self._limits.charge("spans", spans, *((key.id, key.spans_per_second) if key else ()))
        return _answer(await self._pipeline.consume(parsed))

    def _parse(
        self, signal: Signal, body: bytes, headers: Mapping[str, str], key: Key | None, encoding: Encoding, compression: str
    ) -> Incoming | Message:
        """What the pipeline takes, or the answer, if that is known already."""
        plain = inflate(body, compression, self._max_body)
        if signal is not Signal.TRACES:
            answer, count = (refuse_metrics if signal is Signal.METRICS else refuse_logs)(plain, encoding)
            RECORDS_REFUSED.labels(signal.value).inc(count)
            return answer
        request, malformed = decode(plain, encoding)
        allowed = frozenset(key.experiments) if key is not None and key.experiments else None
        protobuf = plain if encoding is Encoding.PROTOBUF else None
        return Incoming(request, headers, protobuf, malformed, allowed, "" if key is None else key.name)

    def _add(self, reading: "Reading", size: int) -> None:
        reading.size += size
        self._in_flight += size
        IN_FLIGHT_BYTES.set(self._in_flight)
        self.check_size(reading.size)
        if self._in_flight > self._max_in_flight:
            raise InFlightFull(
                f"Requests of over {self._max_in_flight} bytes are being read already (HEADRACE_MAX_IN_FLIGHT_BYTES): "
                "send the batch again later."
            )

    def check_size(self, size: int) -> None:
        """Raises BodyTooLarge for a body of so many bytes."""
        if size > self._max_body:
            raise BodyTooLarge(
                f"The body is over {self._max_body} bytes: send smaller batches, or raise HEADRACE_MAX_BODY_BYTES."
            )


class Reading:
    """One body that is being read."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self.size = 0

    def add(self, size: int) -> None:
        """`size` more bytes of it are here.

        Raises:
            BodyTooLarge, InFlightFull.
        """
        self._intake._add(self, size)


def _answer(verdict: Verdict) -> ExportTraceServiceResponse:
    """`partial_success` is set only where spans were rejected, or not all of them is stored: unset means that all is well."""
    answer = ExportTraceServiceResponse()
    if verdict.rejected or verdict.warned:
        answer.partial_success.rejected_spans = verdict.rejected.total()
        answer.partial_success.error_message = verdict.explain()
    return answer
