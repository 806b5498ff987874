"""What an attacker can send. Each test ends by sending a normal span and seeing it in MLflow's tables within two seconds."""

import time
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from conftest import Running, rows, wait_until
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

import otlp

MIB = 1024 * 1024
VISIBLE_SECONDS = 2.0
_TRIES = 3


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
    """A normal span, sent over each transport, is visible in MLflow's tables within two seconds; all parts are well.

    It may be tried three times: other work on this machine must not be taken for a writer that is held up.
    """
    headers = {"x_mlflow_experiment_id": "0"} | headers
    for _ in range(_TRIES):
        if _is_visible(_send_over_both(running, headers), database_url):
            break
    else:
        pytest.fail(
            f"a normal span is not visible within {VISIBLE_SECONDS} s: {running.ready()}; {running.log.read_text()[-2000:]}"
        )
    assert running.process.poll() is None
    assert running.ready()["status"] == "ready"


def _send_over_both(running: Running, headers: dict[str, str]) -> set[str]:
    """Sends a span over HTTP and one over gRPC; returns the ids of their traces."""
    over_http, over_grpc = otlp.span("after the attack"), otlp.span("after the attack")
    # 503: a thread still works on what was refused, and holds its memory. A client sends again.
    wait_until(lambda: _takes(running, otlp.request(over_http).SerializeToString(), headers), 10, "requests are taken again")
    metadata = [(name.replace("_", "-"), value) for name, value in headers.items()]
    with grpc.insecure_channel(running.grpc_url.removeprefix("http://")) as channel:
        export: Any = TraceServiceStub(channel).Export  # type: ignore[no-untyped-call]
        export(otlp.request(over_grpc), metadata=metadata, timeout=20)
    return {otlp.trace_id_of(over_http), otlp.trace_id_of(over_grpc)}


def _takes(running: Running, body: bytes, headers: dict[str, str]) -> bool:
    answer = running.post(body, **headers)
    assert answer.status_code in (200, 503), answer.text
    return answer.status_code == 200


def _is_visible(wanted: set[str], database_url: str) -> bool:
    deadline = time.monotonic() + VISIBLE_SECONDS
    while time.monotonic() < deadline:
        found = rows(database_url, "SELECT trace_id FROM spans WHERE trace_id = ANY (%s)", sorted(wanted))
        if {row["trace_id"] for row in found} == wanted:
            return True
        time.sleep(0.02)
    return False
