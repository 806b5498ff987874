"""Trains a small classifier as an MLflow run, with OpenTelemetry alone: a trace of the whole job, and metrics of each epoch.

    train churn ┬ ingest ─ features ─ training ┬ epoch 1
                │                              ├ epoch 2 …
                └ evaluation ─ registration ─ deployment

The header x-mlflow-run-id makes the metrics those of the run, and links the trace to it. Prints both ids. Nothing but Python's
standard library computes here; see README.md for how to run it.
"""

import json
import math
import os
import random
import resource
import time
import urllib.request
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

EPOCHS = int(os.environ.get("EPOCHS", "10"))
MLFLOW = os.environ.get("MLFLOW_TRACKING_URI", "http://localhost:5000")
OTLP = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318")

Row = tuple[list[float], int]
"""Features, and whether the customer left."""


def main() -> None:
    run_id = create_run(os.environ.get("EXPERIMENT_ID", "0"))
    headers = {"x-mlflow-experiment-id": os.environ.get("EXPERIMENT_ID", "0"), "x-mlflow-run-id": run_id}
    traces = TracerProvider()
    traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{OTLP}/v1/traces", headers=headers)))
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{OTLP}/v1/metrics", headers=headers))
    metrics = MeterProvider([reader])
    trace_id = Training(traces.get_tracer("churn"), metrics.get_meter("churn"), metrics).run()
    metrics.shutdown()  # both send what is still buffered
    traces.shutdown()
    call_mlflow("runs/update", run_id=run_id, status="FINISHED", end_time=time.time_ns() // 1_000_000)
    print(json.dumps({"run_id": run_id, "trace_id": trace_id}))


class Training:
    """The job. Each step is a span."""

    def __init__(self, tracer: trace.Tracer, meter: Any, provider: MeterProvider) -> None:
        self._tracer = tracer
        self._provider = provider
        self._loss = meter.create_gauge("loss")
        self._accuracy = meter.create_gauge("accuracy")
        self._rate = meter.create_gauge("learning_rate")
        self._cpu = meter.create_gauge("process.cpu.time", unit="s")
        self._memory = meter.create_gauge("system/memory_usage_megabytes")  # MLflow shows `system/` in a tab of its own
        self._weights = [0.0, 0.0, 0.0]

    def run(self) -> str:
        """Returns the id of the trace in MLflow's spelling."""
        with self._tracer.start_as_current_span("train churn") as root:
            root.set_attribute("mlflow.spanInputs", json.dumps({"epochs": EPOCHS}))
            customers = self._ingest(400)
            rows = self._features(customers)
            self._train(rows[:300])
            accuracy = self._evaluate(rows[300:])
            version = self._register(accuracy)
            self._deploy(version)
            root.set_attributes({"model.name": "churn", "model.version": version, "accuracy": accuracy})
            root.set_attribute("mlflow.spanOutputs", json.dumps({"accuracy": accuracy, "version": version}))
            return f"tr-{root.get_span_context().trace_id:032x}"

    def _ingest(self, count: int) -> list[tuple[int, int]]:
        """Customers: months since they came, and complaints."""
        with self._tracer.start_as_current_span("ingest", attributes={"rows": count}):
            chance = random.Random(7)
            return [(chance.randrange(60), chance.randrange(6)) for _ in range(count)]

    def _features(self, customers: list[tuple[int, int]]) -> list[Row]:
        with self._tracer.start_as_current_span("features", attributes={"features": "months complaints"}):
            chance = random.Random(11)
            return [
                ([1.0, months / 60, complaints / 6], int(complaints / 6 - months / 60 + chance.gauss(0, 0.15) > 0))
                for months, complaints in customers
            ]

    def _train(self, rows: list[Row]) -> None:
        with self._tracer.start_as_current_span("training", attributes={"rows": len(rows)}):
            for epoch in range(1, EPOCHS + 1):
                with self._tracer.start_as_current_span(f"epoch {epoch}") as span:
                    self._epoch(rows, epoch, span)
                self._provider.force_flush()  # a gauge keeps only its last value between two exports

    def _epoch(self, rows: list[Row], epoch: int, span: trace.Span) -> None:
        rate, step = 2.0 * 0.9**epoch, {"epoch": epoch}
        loss = sum(self._learn(features, label, rate) for features, label in rows) / len(rows)
        accuracy = self._accuracy_of(rows)
        for gauge, value in (
            (self._loss, loss),
            (self._accuracy, accuracy),
            (self._rate, rate),
            (self._cpu, time.process_time()),
            (self._memory, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        ):
            gauge.set(value, step)
        span.set_attributes({"epoch": epoch, "loss": loss})

    def _learn(self, features: list[float], label: int, rate: float) -> float:
        """One step of gradient descent; returns the loss before it."""
        guess = self._guess(features)
        self._weights = [w - rate * 0.1 * (guess - label) * x for w, x in zip(self._weights, features, strict=True)]
        return -math.log(max(1e-12, guess if label else 1 - guess))

    def _guess(self, features: list[float]) -> float:
        return 1 / (1 + math.exp(-sum(w * x for w, x in zip(self._weights, features, strict=True))))

    def _accuracy_of(self, rows: list[Row]) -> float:
        return sum((self._guess(features) > 0.5) == bool(label) for features, label in rows) / len(rows)

    def _evaluate(self, rows: list[Row]) -> float:
        with self._tracer.start_as_current_span("evaluation", attributes={"rows": len(rows)}) as span:
            accuracy = self._accuracy_of(rows)
            self._accuracy.set(accuracy, {"split": "test", "epoch": EPOCHS})
            span.set_attribute("accuracy", accuracy)
            return accuracy

    def _register(self, accuracy: float) -> int:
        with self._tracer.start_as_current_span("registration", attributes={"model.name": "churn"}) as span:
            span.set_attributes({"model.version": 1, "accuracy": accuracy})
            return 1

    def _deploy(self, version: int) -> None:
        with self._tracer.start_as_current_span("deployment", attributes={"model.version": version}) as span:
            span.add_event("traffic switched", {"percent": 100})


def create_run(experiment_id: str) -> str:
    """Makes a run in MLflow. `mlflow.start_run()` does the same."""
    made = call_mlflow("runs/create", experiment_id=experiment_id, run_name="churn", start_time=time.time_ns() // 1_000_000)
    return str(made["run"]["info"]["run_id"])


def call_mlflow(path: str, **values: Any) -> dict[str, Any]:
    """Calls MLflow's REST API."""
    body = json.dumps(values).encode()
    request = urllib.request.Request(f"{MLFLOW}/api/2.0/mlflow/{path}", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


if __name__ == "__main__":
    main()
