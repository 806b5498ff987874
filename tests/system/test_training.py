"""examples/training, run as a user runs it: a trace, a run with the metrics of each epoch, and both found by each other.
MLflow's SDK with its metrics on."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import metrics as build
import pytest
from conftest import Running, wait_until
from mlflow import MlflowClient

from headrace.otlp.json_encoding import encode_json
from headrace.otlp.signals import METRICS

EXAMPLE = Path(__file__).parents[2] / "examples" / "training" / "train.py"
STEPS = {"ingest", "features", "training", "evaluation", "registration", "deployment"}


def environment(up: Running, **settings: str) -> dict[str, str]:
    others = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "MLFLOW_"))}
    return others | {"OTEL_EXPORTER_OTLP_ENDPOINT": up.url, "MLFLOW_TRACKING_URI": up.ui_url, **settings}


def run_program(*program: str | Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run([sys.executable, *program], env=settings, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def mlflow(up: Running) -> MlflowClient:
    return MlflowClient(up.ui_url)


def test_the_training_is_a_trace_and_a_run(up: Running, mlflow: MlflowClient) -> None:
    experiment = mlflow.create_experiment("training")
    done = run_program(EXAMPLE, **environment(up, EXPERIMENT_ID=experiment, EPOCHS="5", OTEL_SERVICE_NAME="training"))
    said = json.loads(done.stdout)
    assert "rror" not in done.stderr
    run_id = said["run_id"]
    wait_until(lambda: len(mlflow.get_metric_history(run_id, "loss")) == 5, 60, "the metrics of the epochs")
    wait_until(lambda: mlflow.search_traces(locations=[experiment]), 60, "the trace")

    for name in ("loss", "accuracy", "learning_rate", "process.cpu.time"):
        history = mlflow.get_metric_history(run_id, name)
        assert [each.step for each in sorted(history, key=lambda each: each.step)] == [1, 2, 3, 4, 5], name
    run = mlflow.get_run(run_id)
    assert run.data.metrics["accuracy"] == max(mlflow.get_metric_history(run_id, "accuracy"), key=lambda each: each.step).value
    assert "accuracy.split:test" in run.data.metrics

    (found,) = mlflow.search_runs([experiment], "metrics.accuracy > 0.5 and metrics.`accuracy.split:test` > 0.5")
    assert found.info.run_id == run_id
    (of_run,) = mlflow.search_traces(locations=[experiment], run_id=run_id)
    (by_attribute,) = mlflow.search_traces(locations=[experiment], filter_string="span.attributes.`model.name` LIKE '%churn%'")
    assert of_run.info.trace_id == by_attribute.info.trace_id == said["trace_id"]
    assert {span.name for span in of_run.data.spans} >= STEPS


def post(up: Running, message: Any, as_json: bool = False, **headers: str) -> httpx.Response:
    body = json.dumps(encode_json(message, METRICS.form)).encode() if as_json else message.SerializeToString()
    kind = "application/json" if as_json else "application/x-protobuf"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(f"{up.url}/v1/metrics", content=body, headers={"content-type": kind, **named}, timeout=30)


def test_a_run_is_named_by_its_resource_and_by_its_name(up: Running, mlflow: MlflowClient) -> None:
    experiment = mlflow.create_experiment("named runs")
    run_id = mlflow.create_run(experiment).info.run_id
    assert post(up, build.request(build.gauge("a", 1.0), mlflow_run_id=run_id)).content == b""
    by_name = build.request(build.gauge("a", 2.0), mlflow_run_name="nightly")
    assert post(up, by_name, as_json=True, x_mlflow_experiment_id=experiment).json() == {}
    wait_until(lambda: mlflow.get_run(run_id).data.metrics == {"a": 1.0}, 60, "the metric")
    (nightly,) = wait_until(lambda: mlflow.search_runs([experiment], "attributes.run_name = 'nightly'"), 60, "the run")
    assert nightly.data.metrics == {"a": 2.0}


def test_what_has_no_run_is_told(up: Running, mlflow: MlflowClient) -> None:
    answer = post(up, build.request(build.gauge("a", 1.0)), as_json=True)
    assert answer.status_code == 200
    assert answer.json()["partialSuccess"]["rejectedDataPoints"] == "1"
    assert "set the header x-mlflow-run-id" in answer.json()["partialSuccess"]["errorMessage"]
    unknown = post(up, build.request(build.gauge("a", 1.0)), as_json=True, x_mlflow_run_id="f" * 32)
    assert (unknown.status_code, "MLflow has no run" in unknown.json()["message"]) == (400, True)
    run_id = mlflow.create_run("0").info.run_id
    mlflow.delete_run(run_id)
    gone = post(up, build.request(build.gauge("a", 1.0)), as_json=True, x_mlflow_run_id=run_id)
    assert (gone.status_code, "is deleted in MLflow" in gone.json()["message"]) == (400, True)


_MLFLOW_SDK = """
import mlflow
from mlflow.tracing.provider import provider

@mlflow.trace
def work():
    return 1

work()
mlflow.flush_trace_async_logging(terminate=True)
from opentelemetry import metrics, trace
metrics.get_meter_provider().force_flush()
metrics.get_meter_provider().shutdown()
"""


def test_mlflow_s_sdk_exports_its_metrics_and_does_not_complain(up: Running) -> None:
    """It sends `mlflow.trace.span.duration`, which needs no run, and is answered in words."""
    settings = environment(up, OTEL_METRICS_EXPORTER="otlp", MLFLOW_ENABLE_OTLP_EXPORTER="true", OTEL_SERVICE_NAME="sdk")
    settings |= {
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{up.url}/v1/metrics",
        "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "http/protobuf",
    }
    settings |= {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{up.url}/v1/traces",
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
    }
    settings |= {"OTEL_EXPORTER_OTLP_HEADERS": "x-mlflow-experiment-id=0"}
    before = rejected(up)
    done = run_program("-c", _MLFLOW_SDK, **settings)
    wait_until(lambda: rejected(up) > before, 60, "the metric")
    assert "Traceback" not in done.stderr
    assert "Failed to export" not in done.stderr


def rejected(up: Running) -> float:
    """Data points that MLflow computes itself, so far."""
    name = 'headrace_records_rejected_total{reason="computed_by_mlflow",signal="metrics"} '
    page = httpx.get(f"{up.url}/metrics", timeout=30).text
    return sum(float(line.removeprefix(name)) for line in page.splitlines() if line.startswith(name))
