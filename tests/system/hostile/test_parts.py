"""No part dies alone: threads end, descriptors run out, the queue's directory vanishes. What was acknowledged is stored, health
tells the truth, and a normal span is visible within two seconds of the fault's end."""

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import psycopg
import pytest
from conftest import Launcher, Running, rows, wait_until
from faults.load import send, stored
from faults.stage import workers
from hostile import assert_serves
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

import otlp

FAULTS = {
    "worker: the queue cannot be read": ("worker", "headrace.export.worker.Worker._claim", "RuntimeError('a fault')"),
    "worker: what is written cannot be settled": ("worker", "headrace.queue.disk.queue.DiskQueue.settle", "MemoryError()"),
    "worker: no thread can be started": (
        "worker",
        "concurrent.futures.ThreadPoolExecutor.submit",
        "RuntimeError('cannot start new thread') if self._thread_name_prefix == 'headrace-translate' else None",
    ),
    "queue: no memory": ("queue", "headrace.queue.disk.committer.Committer.commit", "MemoryError()"),
    "queue: after the commit": ("queue", "headrace.queue.disk.place.Place.lost", "OverflowError('a fault')"),
    "finisher: no descriptors": (
        "finisher",
        "headrace.export.finisher.Finisher._turn",
        "OSError(24, 'Too many open files')",
    ),
}
"""What is broken → the part that ends by it, the function that raises, and what it raises."""

_BREAK = """
import functools, importlib, os, sys

def breaking(function):
    @functools.wraps(function)
    def broken(self, *given, **named):
        if os.path.exists({switch!r}) and (error := {error}) is not None:
            raise error
        return function(self, *given, **named)
    return broken

if sys.argv[:1] == ["-m"]:  # `python -m headrace`, before it imports anything
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    module, name, method = {target!r}.rsplit(".", 2)
    owner = getattr(importlib.import_module(module), name)
    setattr(owner, method, breaking(getattr(owner, method)))
"""


@pytest.fixture
def switch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """A function that breaks one function of the next `headrace` while a file is there, and returns its path."""

    def break_(target: str, error: str) -> Path:
        path = tmp_path / "fault"
        (tmp_path / "sitecustomize.py").write_text(_BREAK.format(switch=str(path), error=error, target=target))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.getcwd(), os.environ.get("PYTHONPATH", "")]))
        return path

    return break_


def health(running: Running) -> tuple[int, list[str]]:
    """/healthz: its status, and the parts that are down."""
    answer = httpx.get(f"{running.url}/healthz", timeout=20)
    return answer.status_code, [part["part"] for part in answer.json().get("down", [])]


def events(running: Running, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in running.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"].startswith(event)]


def restarts(running: Running, part: str) -> float:
    text = httpx.get(f"{running.url}/metrics", timeout=20).text
    return float(next(line.split()[-1] for line in text.splitlines() if f'part_restarts_total{{part="{part}"}}' in line))


def post(running: Running) -> httpx.Response:
    return running.post(otlp.request(otlp.span()).SerializeToString(), x_mlflow_experiment_id="0")


def grpc_code(running: Running) -> grpc.StatusCode:
    with grpc.insecure_channel(running.grpc_url.removeprefix("http://")) as channel:
        export: Any = TraceServiceStub(channel).Export  # type: ignore[no-untyped-call]
        try:
            export(otlp.request(otlp.span()), metadata=[("x-mlflow-experiment-id", "0")], timeout=10)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


@contextmanager
def nothing_is_written(url: str) -> Iterator[None]:
    """Inside it, what is acknowledged stays in the queue."""
    with psycopg.connect(url) as blocker:
        blocker.execute("LOCK TABLE trace_info IN ACCESS EXCLUSIVE MODE")
        yield
        blocker.rollback()


@contextmanager
def clients(running: Running, number: int = 2) -> Iterator[tuple[set[str], set[int]]]:
    """Inside it, spans are sent all the time; gives the ids of those acknowledged, and the statuses of all answers."""
    acknowledged: set[str] = set()
    statuses: set[int] = set()
    stop = threading.Event()

    def client() -> None:
        while not stop.wait(0.03):
            span = otlp.span()
            with suppress(httpx.TransportError):
                answer = running.post(otlp.request(span).SerializeToString(), x_mlflow_experiment_id="0")
                statuses.add(answer.status_code)
                if answer.status_code == 200:
                    acknowledged.add(span.span_id.hex())

    threads = [threading.Thread(target=client) for _ in range(number)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: acknowledged, what="a first span")
        yield acknowledged, statuses
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize(("part", "target", "error"), FAULTS.values(), ids=FAULTS)
def test_a_part_that_ends_runs_again(
    headrace: Launcher, database_url: str, switch: Callable[[str, str], Path], part: str, target: str, error: str
) -> None:
    fault = switch(target, error)
    running = headrace(database_url=database_url, finish_seconds=1)
    assert health(running) == (200, [])
    with clients(running) as (acknowledged, statuses):
        fault.touch()
        wait_until(lambda: health(running) == (503, [part]), what=running.log.read_text())
        if part == "queue":
            answer = wait_until(lambda: (answer := post(running)).status_code == 503 and answer)
            assert int(answer.headers["retry-after"]) > 0
            assert grpc_code(running) == grpc.StatusCode.UNAVAILABLE
            assert running.ready()["status"] == "not ready"
        else:
            assert running.ready()["status"] == "ready"
        fault.unlink()
        wait_until(lambda: health(running) == (200, []), 5, "that the part runs again")
    wait_until(running.drained)
    assert_serves(running, database_url)
    assert acknowledged <= stored(database_url)
    assert statuses <= ({200, 503} if part == "queue" else {200})
    assert restarts(running, part) >= 1
    (said,) = events(running, "part ended")
    assert said["part"] == part
    assert "Traceback" in said["exception"]
    assert running.stop() == 0


def test_no_descriptors_for_a_while(headrace: Launcher, database_url: str) -> None:
    running = headrace(database_url=database_url, finish_seconds=1)
    assert_serves(running, database_url)
    pid = running.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    kept = []
    port = int(running.url.rpartition(":")[2])
    with psycopg.connect(database_url, autocommit=True) as connection:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (psutil.Process(pid).num_fds() + 8, before[1]))
        for _ in range(40):
            connected = socket.create_connection(("127.0.0.1", port), timeout=5)
            kept.append(connected)
        # The connections to the database are cut, and no new one can be opened.
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'headrace' AND datname = current_database()"
        )
        wait_until(lambda: psutil.Process(pid).num_fds() >= resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] - 1)
        threading.Event().wait(3)  # the finisher's turn, twice at least
    assert running.process.poll() is None
    for connected in kept:
        connected.close()
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    wait_until(lambda: health(running) == (200, []), 5)
    assert_serves(running, database_url)
    assert running.stop() == 0


@pytest.mark.parametrize("number", [1, 2])
def test_a_queue_s_directory_is_removed_under_load(headrace: Launcher, database_url: str, number: int) -> None:
    running = headrace(database_url=database_url, workers=number)
    wait_until(lambda: events(running, "ready"), what="all workers")
    data = headrace.directory / "data"
    with clients(running, 4) as (acknowledged, statuses):
        for _ in range(3):
            for queue in data.glob("queue*"):
                shutil.rmtree(queue, ignore_errors=True)
            before = len(acknowledged)
            wait_until(lambda: len(list(data.glob("queue*/queue.db"))) == number, what="the files")
            wait_until(lambda: len(acknowledged) > before + 50, what="that requests are taken again")  # noqa: B023
    assert_serves(running, database_url)
    wait_until(running.drained)
    assert acknowledged <= stored(database_url)
    assert statuses <= {200, 503}
    assert "Traceback" not in running.log.read_text()
    assert running.ready()["queue"]["bytes"] == 0
    assert running.stop() == 0


def test_what_waits_in_a_removed_file_outlives_a_kill(headrace: Launcher, database_url: str) -> None:
    running = headrace(database_url=database_url)
    queue = headrace.directory / "data" / "queue"
    with nothing_is_written(database_url):
        acknowledged = {send(running) for _ in range(20)}
        shutil.rmtree(queue)
        wait_until((queue / "queue.db").exists, 3, "a file made again")
        wait_until(lambda: running.ready()["status"] == "ready", 2)
        acknowledged |= {send(running) for _ in range(20)}
        assert len(events(running, "queue files are gone")) == len(events(running, "queue files are there again")) == 1
        assert running.ready()["queue"]["requests"] == 40
        running.kill()
    again = headrace(database_url=database_url)
    wait_until(again.drained)
    assert stored(database_url) == acknowledged
    assert_serves(again, database_url)


@pytest.mark.parametrize("what", ["queue", "."], ids=["the queue's directory", "the whole data directory"])
def test_a_directory_that_cannot_be_made_again(headrace: Launcher, database_url: str, what: str) -> None:
    """Something is in its way. Refused in words, over both transports; what waits goes on to be written."""
    running = headrace(database_url=database_url)
    directory = (headrace.directory / "data" / what).resolve()
    with nothing_is_written(database_url):
        acknowledged = {send(running) for _ in range(20)}
        directory.rename(gone := directory.with_name("gone"))
        directory.write_text("in the way")
        shutil.rmtree(gone)
        answer = wait_until(lambda: (answer := post(running)).status_code == 503 and answer, 3)
        assert int(answer.headers["retry-after"]) > 0
        assert str(directory) in answer.text
        assert "start Headrace again" in wait_until(lambda: "made again" in (said := post(running).text) and said)
        assert grpc_code(running) == grpc.StatusCode.UNAVAILABLE
        ready = running.ready()
        assert ready["status"] == "not ready"
        assert str(directory) in ready["reason"]
        assert health(running) == (200, [])  # every part lives
    wait_until(lambda: acknowledged <= stored(database_url), what="that what waited is written")
    for _ in range(20):
        assert post(running).status_code == 503
    assert len(events(running, "queue files are gone")) == 1
    directory.unlink()
    wait_until(lambda: running.ready()["status"] == "ready", 2)
    assert_serves(running, database_url)
    assert len(events(running, "queue files are there again")) == 1
    assert "Traceback" not in running.log.read_text()
    assert running.stop() == 0


def test_files_that_were_replaced_are_moved_aside(headrace: Launcher, database_url: str) -> None:
    running = headrace(database_url=database_url)
    queue = headrace.directory / "data" / "queue"
    with nothing_is_written(database_url):
        acknowledged = {send(running) for _ in range(20)}
        shutil.copyfile(queue / "queue.db", queue / "other")
        (queue / "other").replace(queue / "queue.db")
        wait_until(lambda: list(queue.glob("replaced-*/queue.db")), 3)
        wait_until(lambda: running.ready()["status"] == "ready", 3)
        acknowledged |= {send(running) for _ in range(5)}
        running.kill()
    again = headrace(database_url=database_url)
    wait_until(again.drained)
    assert stored(database_url) == acknowledged


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 64 MiB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", directory], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {done.stderr.strip()}")
    yield directory
    subprocess.run(["umount", "--lazy", directory], check=False)


def test_a_file_system_that_is_unmounted_and_mounted_again(
    headrace: Launcher, database_url: str, mounted: Path, tmp_path: Path
) -> None:
    (again := tmp_path / "again").mkdir()
    subprocess.run(["mount", "--bind", mounted, again], check=True)  # so that the file system lives on
    try:
        running = headrace(database_url=database_url, data_dir=mounted, min_free_bytes=0)
        acknowledged = {send(running) for _ in range(5)}
        subprocess.run(["umount", "--lazy", mounted], check=True)
        answer = wait_until(lambda: (answer := post(running)).status_code == 503 and answer, 3)
        assert "Headrace again" in answer.text
        wait_until(lambda: "file system" in post(running).text, 3)
        assert running.ready()["status"] == "not ready"
        assert not list(mounted.iterdir()), "nothing is put where the disk should be"
        subprocess.run(["mount", "--bind", again, mounted], check=True)
        wait_until(lambda: running.ready()["status"] == "ready", 3)
        assert_serves(running, database_url)
        wait_until(running.drained)
        assert acknowledged <= stored(database_url)
        assert len(events(running, "queue files are gone")) == 1
        assert "Traceback" not in running.log.read_text()
        assert running.stop() == 0
    finally:
        subprocess.run(["umount", "--lazy", again], check=False)


def test_a_file_system_that_becomes_read_only(headrace: Launcher, database_url: str, mounted: Path) -> None:
    running = headrace(database_url=database_url, data_dir=mounted, min_free_bytes=0)
    acknowledged = {send(running) for _ in range(5)}
    wait_until(running.drained)
    with psutil_suspended(running):
        remount = subprocess.run(["mount", "-o", "remount,ro", mounted], capture_output=True, text=True, check=False)
    if remount.returncode:
        pytest.skip(f"a file system that is in use cannot be made read-only here: {remount.stderr.strip()}")
    assert wait_until(lambda: (answer := post(running)).status_code == 503 and answer, 3).headers["retry-after"]
    subprocess.run(["mount", "-o", "remount,rw", mounted], check=True)
    assert_serves(running, database_url)
    assert acknowledged <= stored(database_url)


@contextmanager
def psutil_suspended(running: Running) -> Iterator[None]:
    process = psutil.Process(running.process.pid)
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def test_a_worker_process_that_is_away_is_named_by_the_others(headrace: Launcher, database_url: str) -> None:
    running = headrace(database_url=database_url, workers=2)
    wait_until(lambda: events(running, "ready"), what="both workers")
    assert health(running) == (200, [])
    seen: list[tuple[int, list[str]]] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            with suppress(httpx.TransportError):
                seen.append(health(running))

    thread = threading.Thread(target=look)
    thread.start()
    for death in (1, 2, 3):
        workers(running)[-1].kill()
        wait_until(lambda: len(events(running, "worker ended")) == death)  # noqa: B023
        wait_until(lambda: len(workers(running)) == 2)
    stop.set()
    thread.join()
    assert any(status == 503 and parts[0].startswith("worker-process-") for status, parts in seen)
    wait_until(lambda: health(running) == (200, []), 10)
    assert_serves(running, database_url)
    wait_until(lambda: restarts(running, "worker-process") == 3)


def test_an_http_server_that_fails_ends_the_process_in_order(
    headrace: Launcher, database_url: str, switch: Callable[[str, str], Path]
) -> None:
    fault = switch("uvicorn.server.Server.on_tick", "ValueError('a fault')")
    running = headrace(database_url=database_url)
    acknowledged = {send(running) for _ in range(5)}
    fault.touch()
    assert running.process.wait(20) == 1
    assert "The HTTP server ended without being asked (ValueError: a fault)" in running.log.read_text()
    assert len(events(running, "the HTTP server failed")) == 1
    assert stored(database_url) == acknowledged  # the queue was drained, as at a stop
    fault.unlink()
    assert_serves(headrace(database_url=database_url), database_url)


def test_nobody_reads_the_log(headrace: Launcher, database_url: str) -> None:
    """A closed stderr: each event fails with EPIPE."""
    running = headrace(database_url=database_url, wait=False)
    running.stop()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HEADRACE_")}
    http, grpc_port = (url.rpartition(":")[2] for url in (running.url, running.grpc_url))
    environment |= {
        "HEADRACE_DATABASE_URL": database_url,
        "HEADRACE_DATA_DIR": str(headrace.directory / "data"),
        "HEADRACE_HTTP_PORT": http,
        "HEADRACE_GRPC_PORT": grpc_port,
    }
    reading, writing = os.pipe()
    process = subprocess.Popen([sys.executable, "-m", "headrace", "serve"], env=environment, stdout=writing, stderr=writing)
    os.close(reading)
    os.close(writing)
    muted = Running(running.url, process, running.log, "", running.grpc_url)
    headrace.started.append(muted)
    wait_until(lambda: headrace._answers(muted), 60)
    assert running.post(b"nonsense").status_code == 400  # logged
    assert httpx.post(f"{running.url}/v1/traces", content=b"x", headers={"content-type": "a/b"}).status_code == 415
    assert_serves(muted, database_url)
    assert muted.stop() == 0


def test_an_embedded_postgres_that_dies_ends_the_process(headrace: Launcher) -> None:
    running = headrace("up")
    wait_until(running.shows_panel, 90)
    pid = int((headrace.directory / "data" / "postgres" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, signal.SIGKILL)
    assert running.process.wait(60) == 1
    assert "The embedded Postgres has ended" in running.log.read_text()
    again = headrace("up")
    wait_until(again.shows_panel, 90)
    assert again.stop() == 0


def test_a_stop_ends_while_somebody_holds_a_table(headrace: Launcher, database_url: str) -> None:
    """Both the worker and the finisher wait for it. Each is cut off, however often it asks again."""
    running = headrace(database_url=database_url, shutdown_seconds=0, finish_seconds=2)
    orphan = otlp.span(parent=b"\1" * 8)
    assert running.post(otlp.request(orphan).SerializeToString(), x_mlflow_experiment_id="0").status_code == 200
    wait_until(running.drained)
    waiting = "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with nothing_is_written(database_url):
        assert running.post(otlp.request(otlp.span()).SerializeToString(), x_mlflow_experiment_id="0").status_code == 200
        wait_until(lambda: rows(database_url, waiting)[0]["n"] == 2, 60, "worker and finisher wait for the lock")
        assert running.stop() == 0
    assert "stopped with a backlog" in running.log.read_text()
