"""MLflow's own client against a Headrace that asks for API keys: its OTLP export over HTTP and gRPC, and what it sends to its
tracking server's /v1/traces, where a proxy gives that path to Headrace. Its traces by themselves: tests/parity."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import Launcher, Running, database_directory, wait_until
from fraud_scorer import PROTOCOLS, answers
from mlflow import MlflowClient

from world.parity.test_mlflow_clients import AGENT, assert_is_the_agent_s, read

# OpenTelemetry's instrumentation, whose spans MLflow's client forwards. Prints its trace's id.
FORWARDED = """
import mlflow.otel
from opentelemetry import trace

mlflow.otel.autolog()
with trace.get_tracer("shop").start_as_current_span("GET /orders", attributes={"order": 7}) as span:
    print(f"tr-{span.get_span_context().trace_id:032x}")
trace.get_tracer_provider().shutdown()
"""


@dataclass
class Guarded:
    """A `headrace up` that asks for API keys, and one of them."""

    up: Running
    key: str


@pytest.fixture(scope="module")
def guarded() -> Iterator[Guarded]:
    with database_directory() as directory:
        file = directory / "keys.json"
        command = [sys.executable, "-m", "headrace", "keys", "add", "agents"]
        environment = {**os.environ, "HEADRACE_API_KEYS": str(file)}
        key = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
        launcher = Launcher(directory)
        up = launcher("up", api_keys=file)
        wait_until(up.shows_panel, 90, "the MLflow UI")
        yield Guarded(up, key)
        launcher.stop_all()


def run(directory: Path, program: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Runs a program of MLflow's client with these OTEL_* and MLFLOW_* settings, and no others."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "MLFLOW_"))}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", **settings}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, cwd=directory, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done


def otlp(up: Running, protocol: str, key: str, experiment: str) -> dict[str, str]:
    """Settings of the client's OTLP export."""
    return {
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": up.grpc_url if protocol == "grpc" else f"{up.url}/v1/traces",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": f"authorization=Bearer%20{key},x-mlflow-experiment-id={experiment}",
    }


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_client_s_otlp_export_with_a_key(guarded: Guarded, tmp_path: Path, protocol: str) -> None:
    up = guarded.up
    experiment = MlflowClient(up.ui_url).create_experiment(f"client over {protocol}")
    done = run(tmp_path, AGENT, **otlp(up, protocol, guarded.key, experiment))
    assert "Failed" not in done.stderr
    trace = read(up, done.stdout.strip())
    assert_is_the_agent_s(trace)
    assert trace.info.experiment_id == experiment


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_client_s_otlp_export_with_a_wrong_key_is_refused_once(guarded: Guarded, tmp_path: Path, protocol: str) -> None:
    code = {"http/protobuf": "401", "grpc": "UNAUTHENTICATED"}[protocol]
    before = answers(guarded.up, protocol).get(code, 0)
    done = run(tmp_path, AGENT, OTEL_BSP_MAX_EXPORT_BATCH_SIZE="100", **otlp(guarded.up, protocol, "headrace_0_0", "0"))
    assert code in done.stderr
    assert answers(guarded.up, protocol)[code] == before + 1


class Proxy(ThreadingHTTPServer):
    """What an operator puts before both: /v1/traces is Headrace's, the rest is MLflow's."""

    daemon_threads = False

    def __init__(self, up: Running) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.up = up
        self.authorizations: list[str] = []
        """Of the requests to /v1/traces."""


class _Handler(BaseHTTPRequestHandler):
    server: Proxy

    def do_GET(self) -> None:
        self._pass_on()

    def do_POST(self) -> None:
        self._pass_on()

    def do_PATCH(self) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        traces = self.path == "/v1/traces"
        if traces:
            self.server.authorizations.append(self.headers.get("authorization", ""))
        url = (self.server.up.url if traces else self.server.up.ui_url) + self.path
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        answer = httpx.request(self.command, url, content=body, headers=headers, timeout=60)
        self.send_response(answer.status_code)
        self.send_header("content-type", answer.headers.get("content-type", "text/plain"))
        self.send_header("content-length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def proxy(up: Running) -> Iterator[Proxy]:
    with Proxy(up) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


LOGINS: dict[str, Callable[[str], dict[str, str]]] = {
    "Basic": lambda key: {"MLFLOW_TRACKING_USERNAME": "agent", "MLFLOW_TRACKING_PASSWORD": key},
    "Bearer": lambda key: {"MLFLOW_TRACKING_TOKEN": key},
}


@pytest.mark.parametrize("scheme", LOGINS)
def test_what_the_client_sends_to_its_tracking_server_with_a_key(guarded: Guarded, tmp_path: Path, scheme: str) -> None:
    experiment = MlflowClient(guarded.up.ui_url).create_experiment(f"client to its tracking server, {scheme}")
    login = LOGINS[scheme](guarded.key)
    with proxy(guarded.up) as server:
        done = run(tmp_path, AGENT, MLFLOW_TRACKING_URI=server.url, MLFLOW_EXPERIMENT_ID=experiment, **login)
    assert {authorization.split()[0] for authorization in server.authorizations} == {scheme}
    trace = read(guarded.up, done.stdout.strip())
    assert_is_the_agent_s(trace)
    assert trace.info.experiment_id == experiment


@pytest.mark.parametrize("scheme", LOGINS)
def test_opentelemetry_s_spans_that_the_client_forwards_with_a_key(guarded: Guarded, tmp_path: Path, scheme: str) -> None:
    experiment = MlflowClient(guarded.up.ui_url).create_experiment(f"forwarded, {scheme}")
    login = LOGINS[scheme](guarded.key)
    with proxy(guarded.up) as server:
        done = run(tmp_path, FORWARDED, MLFLOW_TRACKING_URI=server.url, MLFLOW_EXPERIMENT_ID=experiment, **login)
    assert {authorization.split()[0] for authorization in server.authorizations} == {scheme}
    trace = read(guarded.up, done.stdout.strip())
    assert trace.info.experiment_id == experiment
    (span,) = trace.data.spans
    assert (span.name, span.get_attribute("order")) == ("GET /orders", 7)
