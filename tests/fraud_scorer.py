"""Runs examples/python as a user does, and says what Headrace answered it."""

import os
import re
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
from conftest import Running, wait_until
from mlflow import MlflowClient
from mlflow.entities import Trace

EXAMPLE = Path(__file__).parents[1] / "examples" / "python"
PROTOCOLS = ["http/protobuf", "grpc"]
SPANS = {  # and their parents
    "POST /score": None,
    "load features": "POST /score",
    "GET features": "load features",
    "SELECT customer_features": "load features",
    "predict fraud-gbm": "POST /score",
    "chat gpt-4o-mini": "POST /score",
}


def environment(running: Running, protocol: str, headers: str, **settings: str) -> dict[str, str]:
    """The program's environment, with no OTEL_* variables but these and the given ones."""
    # `requests`, with which Python sends over HTTP, prefers these to OTEL_EXPORTER_OTLP_CERTIFICATE.
    without = ("OTEL_", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    others = {key: value for key, value in os.environ.items() if not key.startswith(without)}
    return others | {
        "OTEL_SERVICE_NAME": "fraud-scorer",
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": running.grpc_url if protocol == "grpc" else f"{running.url}/v1/traces",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": headers,
        **settings,
    }


def start(python: str | Path, environment: dict[str, str]) -> "subprocess.Popen[str]":
    """Starts the program with this interpreter."""
    command = [python, EXAMPLE / "main.py"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(
    running: Running, protocol: str, headers: str, python: str | Path = sys.executable, **settings: str
) -> "subprocess.CompletedProcess[str]":
    """Runs the program to its end, which is a good one even where its spans were not taken."""
    with start(python, environment(running, protocol, headers, **settings)) as program:
        try:
            output, errors = program.communicate(timeout=100)
        finally:
            program.kill()
    assert program.returncode == 0, errors
    return subprocess.CompletedProcess(program.args, 0, output, errors)


def trace_of(up: Running, done: "subprocess.CompletedProcess[str]") -> Trace:
    """The trace whose id the program printed, once Headrace has written it."""
    assert done.stderr == ""  # where the SDK reports a failed export
    wait_until(up.drained, 60, "the queue is not drained")
    trace: Trace = MlflowClient(up.ui_url).get_trace(done.stdout.strip())
    return trace


def answers(running: Running, protocol: str, signal: str = "traces", verify: ssl.SSLContext | bool = True) -> dict[str, int]:
    """HTTP status or gRPC code → how many requests were answered with it."""
    metrics = httpx.get(f"{running.url}/metrics", verify=verify).text
    labels = f'protocol="{protocol}",signal="{signal}"'
    counts = re.findall(rf'requests_total{{code="(\w+)",{labels}}} (\S+)', metrics)
    return {code: int(float(n)) for code, n in counts if float(n)}
