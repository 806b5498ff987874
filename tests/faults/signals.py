"""Programs with OpenTelemetry's SDK that send all three signals, and know afterwards what they were promised: spans, log
records of these spans, and metrics of a run. One exports over HTTP, the other over gRPC.

A unit of work is a trace of two spans with a log record each, the value of a gauge, and an interval of a counter. What came of
it is kept here: an export is repeated until the exporter says that it succeeded.
"""

import json
import logging
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import psycopg
from conftest import rows
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk import metrics as sdk
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from faults.endless import Endless
from faults.load import TIMEOUT_SECONDS, Tally
from faults.table import Row

SIGNALS = ("spans", "log records", "metrics")
_PATIENCE_SECONDS = 120.0
_DELTA = AggregationTemporality.DELTA
_NEW_RUN = """
    INSERT INTO runs (run_uuid, name, source_type, status, lifecycle_stage, experiment_id, artifact_uri)
    VALUES (%s, 'faults', 'UNKNOWN', 'RUNNING', 'active', 0, 'x') RETURNING run_uuid
"""


class Receiver(Protocol):
    """A Headrace, or a Collector in front of one."""

    @property
    def url(self) -> str:
        """Where it takes OTLP over HTTP."""

    @property
    def grpc_url(self) -> str:
        """Where it takes OTLP over gRPC."""


def new_run(url: str) -> str:
    """Makes a run in MLflow's tables, and returns its id."""
    with psycopg.connect(url) as connection:
        ((run,),) = connection.execute(_NEW_RUN, [uuid.uuid4().hex]).fetchall()
    return str(run)


@dataclass
class Promised:
    """What one program was promised."""

    run: str
    name: str
    spans: dict[str, str] = field(default_factory=dict)
    """Span id → its name."""
    records: dict[str, str] = field(default_factory=dict)
    """Text of a log record → its span's id."""
    values: dict[int, float] = field(default_factory=dict)
    """Step → the gauge's value."""
    count: int = 0
    """What the counter has counted."""
    refusals: Counter[str] = field(default_factory=Counter)
    """Exports that failed, by signal."""


def verify(url: str, promised: Promised) -> dict[str, Tally]:
    """Compares what a program was promised with MLflow's tables. The queue must be empty, and no record may wait."""
    spans = rows(url, "SELECT span_id, name, content FROM spans WHERE span_id = ANY(%s)", list(promised.spans))
    said = Counter(text for row in spans for text in _bodies(row["content"], row["span_id"]))
    names = Counter((row["span_id"], row["name"]) for row in spans)
    values = rows(url, "SELECT key, value, step FROM metrics WHERE run_uuid = %s", promised.run)
    gauge = Counter((row["step"], row["value"]) for row in values if row["key"] == f"faults.gauge.program:{promised.name}")
    counted = [row["value"] for row in values if row["key"] == f"faults.count.program:{promised.name}"]
    found = {
        "spans": _tally(promised.spans.items(), names),
        "log records": _tally(((span, text) for text, span in promised.records.items()), said),
        "metrics": _tally(promised.values.items(), gauge),
    }
    total, right = max(counted, default=0.0), promised.count
    found["metrics"] += Tally(len(counted), len(counted), int(total < right), int(total > right))
    return {signal: tally + Tally(refused=promised.refusals[signal]) for signal, tally in found.items()}


def joined(url: str) -> bool:
    """Whether no log record waits for its span."""
    return not rows(url, "SELECT 1 FROM headrace.waiting_log LIMIT 1")


def verify_all(url: str, promised: Iterable[Promised]) -> list[Row]:
    """The same for several programs: a row of the faults' table for each signal."""
    sums = {signal: Row(signal) for signal in SIGNALS}
    for each in promised:
        for signal, tally in verify(url, each).items():
            sums[signal].times += 1
            sums[signal].tally += tally
    return list(sums.values())


def _bodies(content: str, span_id: str) -> list[tuple[str, str]]:
    """The log records that a stored span has as events."""
    events = json.loads(content).get("events", [])
    return [(span_id, event["attributes"]["log.body"]) for event in events if "log.body" in event.get("attributes", {})]


def _tally(expected: Any, found: Mapping[Any, int]) -> Tally:
    tally = Tally()
    for each in expected:
        times = found.get(each, 0)
        tally += Tally(1, int(times > 0), int(times == 0), max(0, times - 1))
    return tally


class Programs(Endless):
    """Inside the block, two programs work and export without end. Each ends once all that it made was acknowledged."""

    def __init__(self, running: Receiver, url: str, seed: str, pause: float = 0.05) -> None:
        self.promised = [Promised(new_run(url), f"{kind}-{seed}") for kind in ("http", "grpc")]
        self._seed = seed
        self._pause = pause
        self._until = time.monotonic() + _PATIENCE_SECONDS
        super().__init__({promised.name: partial(self._run, running, promised) for promised in self.promised})
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # an exporter's words about each kill

    def _run(self, running: Receiver, promised: Promised) -> None:
        program, rng = _Program(promised.name, promised.run), random.Random(f"{self._seed}/{promised.name}")
        exporters = _exporters(running, promised)
        while not self.stop.is_set():
            made = program.work()
            for signal in rng.sample(SIGNALS, 3):  # whatever comes first, the end is the same
                if self._insist(exporters[signal], made.of[signal], promised.refusals, signal):
                    made.note(signal, promised)
            self.stop.wait(self._pause)
        for exporter in exporters.values():
            exporter.shutdown()

    def _insist(self, exporter: Any, batch: Any, refusals: Counter[str], signal: str) -> bool:
        """Exports until the exporter says that it succeeded. False: it did not, long after the end of the block."""
        while not _exported(lambda: exporter.export(batch)):
            refusals[signal] += 1
            if not self.stop.wait(0.1):
                self._until = time.monotonic() + _PATIENCE_SECONDS
            elif time.monotonic() > self._until:
                return False
        return True


def _exported(export: Callable[[], Any]) -> bool:
    try:
        return bool(export().name == "SUCCESS")
    except Exception:  # as the exporters raise when a connection breaks: it was not acknowledged
        return False


def _exporters(running: Receiver, promised: Promised) -> dict[str, Any]:
    headers = {"x-mlflow-experiment-id": "0"}
    seconds = int(TIMEOUT_SECONDS)
    if promised.name.startswith("grpc"):
        target: dict[str, Any] = {"endpoint": running.grpc_url, "insecure": True, "timeout": seconds}
        return {
            "spans": GrpcSpans(headers=headers, **target),
            "log records": GrpcLogs(headers=headers, **target),
            "metrics": GrpcMetrics(headers=headers, **target),
        }
    return {
        "spans": HttpSpans(f"{running.url}/v1/traces", headers=headers, timeout=seconds),
        "log records": HttpLogs(f"{running.url}/v1/logs", headers=headers, timeout=seconds),
        "metrics": HttpMetrics(f"{running.url}/v1/metrics", headers=headers, timeout=seconds),
    }


@dataclass(frozen=True)
class _Made:
    """One unit of work, by signal as exporters take it, and what to look for afterwards."""

    of: dict[str, Any]
    spans: dict[str, str]
    records: dict[str, str]
    step: int
    value: float
    counted: int

    def note(self, signal: str, promised: Promised) -> None:
        """Notes that this signal of it was acknowledged."""
        if signal == "spans":
            promised.spans |= self.spans
        elif signal == "log records":
            promised.records |= self.records
        else:
            promised.values[self.step] = self.value
            promised.count += self.counted


class _Program:
    """Makes telemetry with the SDK, and hands it out instead of exporting it."""

    def __init__(self, name: str, run: str) -> None:
        resource = Resource({"service.name": "faults", "mlflow.run_id": run})
        self._name, self._step = name, 0
        self._spans, self._records = InMemorySpanExporter(), InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
        self._reader = InMemoryMetricReader({sdk.Counter: _DELTA, sdk._Gauge: _DELTA})
        tracers, loggers = TracerProvider(resource=resource), LoggerProvider(resource=resource)
        tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        loggers.add_log_record_processor(SimpleLogRecordProcessor(self._records))
        meter = sdk.MeterProvider([self._reader], resource=resource).get_meter("faults")
        self._tracer, self._logger = tracers.get_tracer("faults"), loggers.get_logger("faults")
        self._gauge, self._counter = meter.create_gauge("faults.gauge"), meter.create_counter("faults.count")

    def work(self) -> _Made:
        """Does a unit of work."""
        self._step += 1
        step, value, counted = self._step, self._step / 7, self._step % 5 + 1
        said: dict[str, str] = {}
        with self._tracer.start_as_current_span(f"{self._name} {step}") as root:
            self._say(f"{self._name} {step} begins", root, said)
            with self._tracer.start_as_current_span(f"{self._name} {step} works") as child:
                self._say(f"{self._name} {step} works", child, said)
        self._gauge.set(value, {"program": self._name, "step": step})
        self._counter.add(counted, {"program": self._name})
        spans, records = self._spans.get_finished_spans(), self._records.get_finished_logs()
        batches = {"spans": spans, "log records": records, "metrics": self._reader.get_metrics_data()}
        self._spans.clear()
        self._records.clear()
        return _Made(batches, {f"{each.context.span_id:016x}": each.name for each in spans}, said, step, value, counted)

    def _say(self, text: str, span: Any, said: dict[str, str]) -> None:
        self._logger.emit(LogRecord(body=text, severity_number=SeverityNumber.INFO, severity_text="INFO"))
        said[text] = f"{span.get_span_context().span_id:016x}"
