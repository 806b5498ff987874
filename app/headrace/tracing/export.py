"""The part of tracing that needs OpenTelemetry's SDK. It is loaded only if our own traces are on.

We use a provider of our own; OpenTelemetry's global provider is left to MLflow, which runs in the same process. Up to
`MAX_WAITING` spans wait for a thread that sends them. Spans without room, or not taken by the endpoint, are dropped and
counted.
"""

import logging
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode, set_span_in_context

from headrace import __version__
from headrace.config import Config, header_pairs
from headrace.parts import Part
from headrace.telemetry.logging import log_rarely
from headrace.telemetry.metrics import OWN_SPANS
from headrace.tracing import SERVICE, Stage

MAX_WAITING = 2048
"""Most spans that may wait to be sent. More are dropped."""

_BATCH = 512
_SEND_SECONDS = 10
_STOP_SECONDS = 2.0
_MAX_REMEMBERED = 4096
"""Most requests that are remembered until their batch is written. While Postgres is away, the oldest are forgotten: their
batches will not link to them."""


class Traces:
    """Makes and sends our spans. The receiver and the worker call it from their own threads."""

    def __init__(self, config: Config) -> None:
        self.ratio = config.traces_sample_ratio
        self.remembers: dict[
            int, tuple[SpanContext, int]
        ] = {}  # hash of an envelope → its request's span, and the time in Unix nanoseconds
        headers = header_pairs(config.traces_headers.get_secret_value()) if config.traces_headers else {}
        # OTEL_RESOURCE_ATTRIBUTES is added, so that an operator can say which Headrace this is.
        resource = Resource.create(
            {"service.name": SERVICE, "service.version": __version__, "service.instance.id": str(uuid.uuid4())}
        )
        others = set(threading.enumerate())
        self._provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(_Processor(_Exporter(str(config.traces_endpoint), headers)))
        sender = next(
            (thread for thread in threading.enumerate() if thread not in others), None
        )  # the thread that the SDK has just started
        self._part = Part("own-traces", lives=None if sender is None else sender.is_alive)
        self._part.enter()
        self._tracer = self._provider.get_tracer(SERVICE, __version__)

    def stop(self) -> None:
        """Sends the spans that wait, for `_STOP_SECONDS` at most. The SDK alone would wait half a minute for a dead
        endpoint."""
        self._part.leave()
        sending = threading.Thread(target=self._provider.shutdown, name="headrace-traces-stop", daemon=True)
        sending.start()
        sending.join(_STOP_SECONDS)

    def begin(self, name: str) -> Span:
        """Starts the span of a request. It is the root of a trace of its own, whatever else is traced in this process."""
        return self._tracer.start_span(name, context=Context(), kind=SpanKind.SERVER)

    def remember(self, envelope: bytes, span: Span) -> None:
        """Keeps a request's span for the batch that will hold its envelope."""
        if len(self.remembers) >= _MAX_REMEMBERED:
            self.remembers.pop(next(iter(self.remembers)), None)
        self.remembers[hash(envelope)] = (span.get_span_context(), time.time_ns())

    def batch(self, envelopes: Sequence[bytes], stages: Sequence[Stage], attempts: int) -> None:
        """Makes the spans of a batch and its stages. Does nothing if none of its requests is remembered."""
        found = [kept for envelope in envelopes if (kept := self.remembers.pop(hash(envelope), None))]
        if not found:
            return
        # The claim may have waited for a request to come; that time is left out.
        first = max(stages[0][1], min(offered for _, offered in found))
        span = self._tracer.start_span(
            "write batch",
            context=Context(),
            kind=SpanKind.CONSUMER,
            links=[Link(context) for context, _ in found],
            attributes={
                "headrace.requests": len(envelopes),
                "headrace.bytes": sum(map(len, envelopes)),
                "headrace.attempts": attempts,
            },
            start_time=first,
        )
        within = set_span_in_context(span, Context())
        for name, began, ended in stages:
            self._tracer.start_span(name, context=within, start_time=max(first, began)).end(max(first, ended))
        span.end(stages[-1][2])


def note_answer(span: Span, protocol: str, code: str) -> None:
    """Notes an answer on a request's span. Everything but success is an error, also if the client is at fault."""
    span.set_attributes({"headrace.protocol": protocol, "headrace.outcome": code})
    if code not in ("200", "OK"):
        span.set_status(StatusCode.ERROR, code)


class _Exporter(OTLPSpanExporter):
    """The SDK's exporter, which also counts what becomes of the spans, and how many wait."""

    def __init__(self, endpoint: str, headers: Mapping[str, str]) -> None:
        super().__init__(endpoint, headers=headers, timeout=_SEND_SECONDS, compression=Compression.Gzip)
        self._lock = threading.Lock()
        self._waiting = 0
        # Nobody else in this process uses this exporter. Its errors go to our log, one a minute.
        logger = logging.getLogger(OTLPSpanExporter.__module__)
        logger.handlers, logger.propagate = [_Rarely(logging.ERROR)], False

    def enter(self) -> bool:
        """Counts one more span that waits. False: there is no room for it."""
        with self._lock:
            if self._waiting >= MAX_WAITING:
                return False
            self._waiting += 1
            return True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Sends spans with the SDK's retries, and counts whether they were sent or lost."""
        result = SpanExportResult.FAILURE
        try:
            result = super().export(spans)
        finally:
            with self._lock:
                self._waiting -= len(spans)
            OWN_SPANS.labels("sent" if result is SpanExportResult.SUCCESS else "failed").inc(len(spans))
        return result


class _Processor(BatchSpanProcessor):
    """Drops and counts spans before the SDK's queue is full. The SDK would log each drop, and not count it."""

    def __init__(self, exporter: _Exporter) -> None:
        super().__init__(exporter, max_queue_size=MAX_WAITING, max_export_batch_size=_BATCH)
        self._exporter = exporter

    def on_end(self, span: ReadableSpan) -> None:
        """Queues a span that has ended, if there is room."""
        if self._exporter.enter():
            super().on_end(span)
        else:
            OWN_SPANS.labels("dropped").inc()


class _Rarely(logging.Handler):
    """Logs the SDK's errors as ours, at most once a minute."""

    def emit(self, record: Any) -> None:
        log_rarely("own traces cannot be sent", "own_traces", error=record.getMessage()[:500])
