"""The contract of `headrace.host.Host`: one suite over both implementations, `OneProcess` and `Supervisor`.

A host takes its process's signals, so each test runs it in a process of its own: `tests/hosting.py`.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from conftest import free_port, rows, wait_until

import otlp

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Hosting:
    """A process that runs a host. It prints a line of JSON for each thing that happens."""

    process: "subprocess.Popen[str]"
    said: list[dict[str, Any]]

    def wait(self, event: str) -> dict[str, Any]:
        """The first line with this event."""
        found: dict[str, Any] = wait_until(lambda: next((line for line in self.said if event in line), None), 60, event)
        return found

    def count(self, event: str) -> int:
        return sum(event in line for line in self.said)


@pytest.fixture(params=[1, 2], ids=["OneProcess", "Supervisor"])
def workers(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def hosts(tmp_path: Path, database_url: str, workers: int) -> Iterator["Starter"]:
    starter = Starter(tmp_path, database_url, workers)
    yield starter
    for process in starter.processes:
        process.kill()
        process.wait()
    for reader in starter.readers:
        reader.join()


class Starter:
    """Starts hosts on one database, each with its own data directory."""

    def __init__(self, directory: Path, database_url: str, workers: int) -> None:
        self._directory = directory
        self._database_url = database_url
        self._workers = workers
        self.processes: list[subprocess.Popen[str]] = []
        self.readers: list[threading.Thread] = []

    def __call__(self, port: int = 0, data: str = "data", check_fails: bool = False) -> Hosting:
        settings = {
            "HEADRACE_DATA_DIR": str(self._directory / data),
            "HEADRACE_WORKERS": str(self._workers),
            "HEADRACE_HTTP_PORT": str(port),
            "HEADRACE_GRPC_PORT": "0",
            "HEADRACE_DEFAULT_EXPERIMENT": "Default",
            "PYTHONPATH": os.pathsep.join([str(ROOT / "app"), str(ROOT / "tests")]),
            "CHECK_FAILS": "1" if check_fails else "",
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
        process = subprocess.Popen(
            [sys.executable, "-m", "hosting", self._database_url], env=kept | settings, stdout=subprocess.PIPE, text=True
        )
        self.processes.append(process)
        said: list[dict[str, Any]] = []
        reader = threading.Thread(target=_read, args=(process, said))
        reader.start()
        self.readers.append(reader)
        return Hosting(process, said)


def _read(process: "subprocess.Popen[str]", said: list[dict[str, Any]]) -> None:
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            said.append(json.loads(line))  # noqa: PERF401 - each is seen as it comes


def post(port: int) -> httpx.Response:
    body = otlp.request(otlp.span()).SerializeToString()
    return httpx.post(f"http://127.0.0.1:{port}/v1/traces", content=body, headers={"content-type": "application/x-protobuf"})


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:  # it has ended between the two questions
        return False


def test_it_takes_its_ports_when_it_is_made(hosts: Starter, workers: int) -> None:
    first = hosts()
    made = first.wait("made")
    assert made["made"] == ("OneProcess" if workers == 1 else "Supervisor")
    assert made["port"] > 0
    assert made["grpc_port"] not in (0, made["port"])
    second = hosts(port=made["port"], data="other")
    assert "HEADRACE_HTTP_PORT" in second.wait("StartError")["StartError"]
    assert second.count("made") == 0


def test_it_is_ready_once_it_takes_requests_and_stops_at_a_signal(hosts: Starter, database_url: str) -> None:
    host = hosts()
    host.wait("ready")
    children = psutil.Process(host.process.pid).children(recursive=True)
    assert [post(host.wait("made")["port"]).status_code for _ in range(5)] == [200] * 5
    wait_until(lambda: host.count("checked") >= 2)
    host.process.send_signal(signal.SIGTERM)
    assert host.process.wait(60) == 0
    assert host.count("ready") == host.count("returned") == 1
    assert len(rows(database_url, "SELECT 1 FROM spans")) == 5  # a stop drains the queue
    wait_until(lambda: not any(map(_runs, children)))


def test_what_check_raises_stops_all_parts_in_order(hosts: Starter, database_url: str) -> None:
    host = hosts(check_fails=True)
    host.wait("ready")
    children = psutil.Process(host.process.pid).children(recursive=True)
    assert post(host.wait("made")["port"]).status_code == 200
    (Path(host.wait("made")["data"]) / "fail").touch()
    assert host.wait("StartError") == {"StartError": "the check has failed"}
    assert host.process.wait(60) == 1
    assert host.count("returned") == 0
    assert len(rows(database_url, "SELECT 1 FROM spans")) == 1
    wait_until(lambda: not any(map(_runs, children)))


def test_a_data_directory_in_use_is_refused(hosts: Starter) -> None:
    hosts().wait("ready")
    second = hosts(port=free_port())
    second.wait("StartError")
    assert second.process.wait(60) == 1
    assert second.count("ready") == 0
