"""What an attacker can send. Each test ends by sending a normal span and seeing it in MLflow's tables within two seconds."""

import time
from pathlib import Path
from typing import Any

import grpc
import otlp
import psutil
import pytest
from conftest import Running, rows, wait_until
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

MIB = 1024 * 1024
VISIBLE_SECONDS = 2.0


class Memory:
    """How far the memory of a running server's first process rises above where it is when this is made."""

    def __init__(self, running: Running) -> None:
        self._process = Path(f"/proc/{running.process.pid}")
        if not (self._process / "clear_refs").exists():
            pytest.skip("no /proc/<pid>/clear_refs here")
        (self._process / "clear_refs").write_text("5")  # the peak begins anew
        self._before = self._read("VmRSS")

    def growth(self) -> int:
        """The highest resident size since this was made, less what it was then, in bytes."""
        return self._read("VmHWM") - self._before

    def _read(self, name: str) -> int:
        return int((self._process / "status").read_text().split(f"{name}:")[1].split()[0]) * 1024


def descriptors(running: Running) -> int:
    """How many files and sockets the server's first process has open."""
    return int(psutil.Process(running.process.pid).num_fds())


def assert_serves(running: Running, database_url: str, **headers: str) -> None:
    """A normal span, sent over each transport, is visible in MLflow's tables within two seconds; all parts are well."""
    over_http, over_grpc = otlp.span("after the attack"), otlp.span("after the attack")
    headers = {"x_mlflow_experiment_id": "0"} | headers
    began = time.monotonic()
    assert running.post(otlp.request(over_http).SerializeToString(), **headers).status_code == 200
    metadata = [(name.replace("_", "-"), value) for name, value in headers.items()]
    with grpc.insecure_channel(running.grpc_url.removeprefix("http://")) as channel:
        export: Any = TraceServiceStub(channel).Export  # type: ignore[no-untyped-call]
        export(otlp.request(over_grpc), metadata=metadata, timeout=10)
    wanted = {otlp.trace_id_of(over_http), otlp.trace_id_of(over_grpc)}

    def visible() -> bool:
        query = "SELECT trace_id FROM spans WHERE trace_id = ANY (%s)"
        return {row["trace_id"] for row in rows(database_url, query, sorted(wanted))} == wanted

    wait_until(visible, VISIBLE_SECONDS - min(1.0, time.monotonic() - began), "a normal span in MLflow's tables")
    assert running.process.poll() is None
    assert running.ready()["status"] == "ready"
