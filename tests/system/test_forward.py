"""Metrics without a run, passed on to another OTLP endpoint by a real Headrace: over each transport, past an endpoint that
hangs, and without anything of the sender's key."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import metrics as build
import pytest
from conftest import Launcher, Running, rows, wait_until
from endpoint import otlp_endpoint
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from scrape import Scrape

import otlp
from headrace.config import sqlalchemy_url
from headrace.otlp.json_encoding import encode_json
from headrace.otlp.signals import METRICS

pytestmark = pytest.mark.timeout(600)
_NEW_RUN = """
    INSERT INTO runs (run_uuid, name, source_type, status, lifecycle_stage, experiment_id, artifact_uri)
    VALUES (%s, 'r', 'UNKNOWN', 'RUNNING', 'active', 0, 'x') RETURNING run_uuid
"""


def send(running: Running, way: str, message: Any, **headers: str) -> str:
    """Sends a request over a transport. Returns what was wrong with it; empty: all of it was accepted."""
    if way == "grpc":
        with grpc.insecure_channel(running.grpc_url.removeprefix("http://")) as channel:
            stub = MetricsServiceStub(channel)  # type: ignore[no-untyped-call]
            answer: ExportMetricsServiceResponse = stub.Export(message, metadata=list(headers.items()), timeout=30)
            return answer.partial_success.error_message
    body = json.dumps(encode_json(message, METRICS.form)).encode() if way == "json" else message.SerializeToString()
    kind = {"content-type": "application/json" if way == "json" else "application/x-protobuf"}
    response = httpx.post(f"{running.url}/v1/metrics", content=body, headers={**kind, **headers}, timeout=30)
    assert response.status_code == 200, response.text
    return "" if response.content in (b"", b"{}") else response.text


def new_key(file: Path) -> str:
    """Adds an API key to a file of keys, and returns it."""
    command = [sys.executable, "-m", "headrace", "keys", "add", "services"]
    environment = {**os.environ, "HEADRACE_API_KEYS": str(file)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


_MLFLOW_SDK = """
import mlflow
from opentelemetry import metrics

@mlflow.trace
def work():
    return 1

work()
mlflow.flush_trace_async_logging(terminate=True)
metrics.get_meter_provider().force_flush()
metrics.get_meter_provider().shutdown()
"""


def mlflow_s_sdk(running: Running, database_url: str, key: str) -> "subprocess.CompletedProcess[str]":
    """Runs a program of MLflow's SDK that exports its traces and its metrics, which belong to no run."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "MLFLOW_"))} | {
        "MLFLOW_TRACKING_URI": sqlalchemy_url(database_url),
        "MLFLOW_ENABLE_OTLP_EXPORTER": "true",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{key},x-mlflow-experiment-id=0",
    }
    for signal in ("TRACES", "METRICS"):
        environment[f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"] = f"{running.url}/v1/{signal.lower()}"
        environment[f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL"] = "http/protobuf"
    command = [sys.executable, "-c", _MLFLOW_SDK]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=True)


def test_another_headrace_takes_what_one_passes_on(headrace: Launcher, new_database: Callable[[], str], tmp_path: Path) -> None:
    far, near = new_database(), new_database()
    run = rows(far, _NEW_RUN, uuid.uuid4().hex)[0]["run_uuid"]
    there = headrace(database_url=far)
    place: dict[str, Any] = {"data_dir": tmp_path / "near", "metrics_forward_headers": f"x-mlflow-run-id={run}"}
    here = headrace(database_url=near, metrics_forward=there.url, **place)
    for way in ("protobuf", "json", "grpc"):
        assert send(here, way, build.request(build.gauge(way, 1.0))) == ""

    def stored() -> set[str]:
        return {row["key"] for row in rows(far, "SELECT key FROM metrics")}

    wait_until(lambda: stored() == {"protobuf", "json", "grpc"}, 60, "the metrics in the other one")
    wait_until(lambda: Scrape(here)("headrace_forwarded_points_total", outcome="sent") == 3, 60, "that they are counted")


def test_an_endpoint_that_hangs_holds_nothing_up(headrace: Launcher, database_url: str, tmp_path: Path) -> None:
    key = new_key(tmp_path / "keys.json")
    with otlp_endpoint() as endpoint:
        endpoint.hangs.set()
        settings: dict[str, Any] = {"metrics_forward": endpoint.url, "api_keys": tmp_path / "keys.json"}
        running = headrace(database_url=database_url, **settings)
        for way in ("protobuf", "json", "grpc"):
            assert send(running, way, build.request(build.gauge(way, 1.0)), authorization=f"Bearer {key}") == ""
        wait_until(lambda: endpoint.headers, 60, "an export that hangs")
        span = otlp.request(otlp.span())
        running.post(span.SerializeToString(), authorization=f"Bearer {key}", x_mlflow_experiment_id="0").raise_for_status()
        wait_until(running.drained, 60, "the span's way past them")
        assert len(rows(database_url, "SELECT 1 FROM spans")) == 1
        assert running.stop() == 0
        assert endpoint.hangs.is_set()
        endpoint.hangs.clear()
        with_all = headrace(database_url=database_url, **settings)
        wait_until(lambda: set(endpoint.names) >= {"protobuf", "json", "grpc"}, 120, "all metrics, after the next start")
        wait_until(lambda: Scrape(with_all)("headrace_forward_waiting_points") == 0, 60, "that nothing waits")
        done = mlflow_s_sdk(with_all, database_url, key)
        assert "Traceback" not in done.stderr
        assert "Failed to export" not in done.stderr
        wait_until(lambda: "mlflow.trace.span.duration" in endpoint.names, 60, "what MLflow's SDK measures")
        assert key not in str(endpoint.headers)
        assert all("authorization" not in headers for headers in endpoint.headers)
