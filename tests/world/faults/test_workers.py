"""Several workers behind one port: they share the load, die one by one without a loss, and end together."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
from conftest import Launcher, Running, rows, wait_until
from faults.load import send, send_grpc, stored
from faults.stage import workers
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import otlp
from headrace.errors import QueueLocked
from headrace.queue import Size
from headrace.queue.disk.adopt import adopt, adopt_leftovers
from headrace.queue.disk.queue import DiskQueue
from headrace.queue.disk.shared import SharedQueue

pytestmark = pytest.mark.slow(
    "errors parts otlp envelope queue store processor pipeline mlflow export receiver host local cli tests/faults"
)

MIB = 1024 * 1024


def send_many(running: Running, number: int, one: Callable[[Running], str] = send) -> set[str]:
    with ThreadPoolExecutor(8) as clients:
        return set(clients.map(lambda _: one(running), range(number)))


@contextmanager
def nothing_is_written(url: str) -> Iterator[None]:
    """Inside it, what is acknowledged stays in the queues."""
    with psycopg.connect(url) as blocker:
        blocker.execute("LOCK TABLE trace_info IN ACCESS EXCLUSIVE MODE")
        yield
        blocker.rollback()


def tree(running: Running) -> list[psutil.Process]:
    supervisor = psutil.Process(running.process.pid)
    return [supervisor, *supervisor.children(recursive=True)]


def gone(processes: list[psutil.Process], seconds: float) -> bool:
    """Whether all have ended in time. (One whose parent was killed may wait, as a zombie, for the parent of all to look.)"""

    def left(process: psutil.Process) -> bool:
        try:
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    wait_until(lambda: not any(left(process) for process in processes), seconds, "the end of all processes")
    return True


def queued(directory: Path) -> int:
    """The items in a queue's file."""
    with closing(sqlite3.connect(directory / "queue.db")) as connection:
        return int(connection.execute("SELECT count(*) FROM item").fetchone()[0])


def metric(running: Running, name: str) -> float:
    """One sample; each call is a connection of its own."""
    lines = httpx.get(f"{running.url}/metrics").text.splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(f"{name} ")))


def events(running: Running, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in running.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def test_all_workers_get_requests_and_each_answers_for_all(headrace: Launcher, database_url: str) -> None:
    running = headrace(database_url=database_url, workers=2)
    wait_until(lambda: events(running, "ready"), what="both workers")
    queues = [headrace.directory / "data" / name for name in ("queue", "queue-1")]
    with nothing_is_written(database_url):
        acknowledged = send_many(running, 20)
        over_http = [queued(queue) for queue in queues]
        acknowledged |= send_many(running, 20, send_grpc)
        over_both = [queued(queue) for queue in queues]
        assert 0 < over_http[0] < over_both[0]
        assert 0 < over_http[1] < over_both[1]
        assert (sum(over_http), sum(over_both)) == (20, 40)
        for _ in range(10):  # whichever it is that answers
            queue = running.ready()["queue"]
            assert queue["requests"] == 40
            assert queue["max_bytes"] == 4096 * MIB
            assert metric(running, "headrace_queue_items") == metric(running, "headrace_spans_accepted_total") == 40
            assert metric(running, "headrace_queue_max_bytes") == 4096 * MIB
            assert metric(running, "headrace_database_up") == 1
    wait_until(running.drained)
    assert stored(database_url) == acknowledged
    assert metric(running, "headrace_spans_written_total") == metric(running, "headrace_ack_seconds_count") == 40
    assert running.ready()["queue"] == {"requests": 0, "bytes": 0, "max_bytes": 4096 * MIB, "oldest_seconds": 0}


def test_workers_write_parts_of_the_same_traces_and_make_one_experiment(headrace: Launcher, database_url: str) -> None:
    running = headrace(database_url=database_url, workers=2)
    wait_until(lambda: events(running, "ready"), what="both workers")
    traces = [(os.urandom(16), os.urandom(8)) for _ in range(6)]
    roots = [otlp.span(f"root {n}", trace, root) for n, (trace, root) in enumerate(traces)]
    spans = [otlp.span("part", trace, parent=root) for _ in range(9) for trace, root in traces] + roots

    def post(span: Span) -> int:
        return running.post(otlp.request(span).SerializeToString(), x_mlflow_experiment_name="new").status_code

    with ThreadPoolExecutor(12) as clients:
        assert set(clients.map(post, spans)) == {200}
    wait_until(running.drained)
    found = rows(
        database_url,
        "SELECT e.name, i.trace_name, (SELECT count(*) FROM spans s WHERE s.trace_id = i.request_id) AS spans "
        "FROM trace_info i JOIN experiments e USING (experiment_id)",
    )
    assert sorted(tuple(row.values()) for row in found) == [("new", f"root {n}", 10) for n in range(6)]


def test_a_worker_that_dies_under_load_is_started_again_and_nothing_is_lost(headrace: Launcher, database_url: str) -> None:
    running = headrace(database_url=database_url, workers=2)
    wait_until(lambda: events(running, "ready"), what="both workers")
    acknowledged: set[str] = set()
    stop = threading.Event()

    def client() -> None:
        while not stop.is_set():
            try:
                acknowledged.add(send(running))
            except httpx.HTTPError:
                pass  # it was in the hands of the worker that died: not acknowledged

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    for death in (1, 2):
        before = len(acknowledged)
        wait_until(lambda: len(acknowledged) > before + 20, what="requests")  # noqa: B023 - called at once
        victim = workers(running)[-1]
        victim.kill()
        wait_until(lambda: len(events(running, "worker ended: starting it again")) == death)  # noqa: B023
        wait_until(
            lambda: len(workers(running)) == 2 and victim.pid not in {worker.pid for worker in workers(running)}  # noqa: B023
        )
    before = len(acknowledged)
    wait_until(lambda: len(acknowledged) > before + 20, what="requests")
    stop.set()
    for thread in threads:
        thread.join()
    wait_until(running.drained, 60)
    assert acknowledged <= stored(database_url)
    assert metric(running, "headrace_spans_accepted_total") >= len(acknowledged)  # it counts on where its predecessor ended
    first, second = events(running, "worker ended: starting it again")
    assert (first["status"], first["pause_seconds"]) == (-signal.SIGKILL, 0)
    assert second["pause_seconds"] > 0
    assert running.stop() == 0


def test_workers_end_when_their_supervisor_is_killed_and_the_next_start_takes_over(
    headrace: Launcher, database_url: str
) -> None:
    running = headrace(database_url=database_url, workers=2)
    wait_until(lambda: events(running, "ready"), what="both workers")
    children = tree(running)[1:]
    with nothing_is_written(database_url):
        acknowledged = send_many(running, 20)
        running.kill()
        assert gone(children, 5)
        again = headrace(database_url=database_url, workers=2, http_port=running.url.rpartition(":")[2])
        wait_until(lambda: events(again, "ready"), what="both workers")
        assert again.ready()["queue"]["requests"] == 20
    wait_until(again.drained)
    assert stored(database_url) == acknowledged
    data = headrace.directory / "data"
    assert len(list(data.glob("metrics-*"))) == 1  # the first one's are gone
    assert again.stop() == 0
    assert not list(data.glob("metrics-*"))


def test_queues_of_former_workers_are_adopted(headrace: Launcher, database_url: str) -> None:
    """Three, then two, then one."""
    data = headrace.directory / "data"
    acknowledged: set[str] = set()
    with nothing_is_written(database_url):
        for number in (3, 2):
            running = headrace(database_url=database_url, workers=number)
            wait_until(lambda: events(running, "ready"), what="all workers")  # noqa: B023 - called at once
            acknowledged |= send_many(running, 30)
            children = tree(running)[1:]
            running.kill()
            assert gone(children, 5)
            last = queued(data / f"queue-{number - 1}")
            assert last
        assert sorted(path.name for path in data.glob("queue*")) == ["queue", "queue-1"]
        again = headrace(database_url=database_url)
        assert again.ready()["queue"]["requests"] == 60
        assert [found["requests"] for found in events(again, "queue of a former worker adopted")] == [last]
        assert sorted(path.name for path in data.glob("queue*")) == ["queue"]
    wait_until(again.drained)
    assert stored(database_url) == acknowledged
    assert again.stop() == 0


def fill(directory: Path, envelopes: list[bytes]) -> None:
    with closing(DiskQueue(directory, MIB)) as queue:
        for future in [queue.offer(envelope) for envelope in envelopes]:
            future.result(5)


def envelopes_of(directory: Path) -> list[bytes]:
    with closing(DiskQueue(directory, MIB)) as queue:
        return [item.envelope for item in queue.claim(MIB, 0)]


def test_a_crash_amid_an_adoption_loses_nothing(tmp_path: Path) -> None:
    fill(tmp_path / "queue", [b"own"])
    left = [b"%d" % number for number in range(10)]
    fill(tmp_path / "queue-1", left)
    dying = """
import os, signal, sys
from pathlib import Path
from headrace.queue.disk.adopt import adopt
from headrace.queue.disk.queue import DiskQueue

class Dying(DiskQueue):
    def offer(self, envelope):
        if envelope == b"6":
            os.kill(os.getpid(), signal.SIGKILL)
        future = super().offer(envelope)
        future.result()
        return future

adopt(Path(sys.argv[1], "queue-1"), Dying(Path(sys.argv[1], "queue"), 10**9))
"""
    assert subprocess.run([sys.executable, "-c", dying, str(tmp_path)], check=False).returncode == -signal.SIGKILL
    assert envelopes_of(tmp_path / "queue") == [b"own", *left[:6]]
    adopt_leftovers(tmp_path, 1)
    assert envelopes_of(tmp_path / "queue") == [b"own", *left[:6], *left]  # twice is harmless, for writing is idempotent
    assert not (tmp_path / "queue-1").exists()


def test_a_queue_whose_owner_lives_is_not_adopted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(tmp_path / "queue-2", [b"free"])
    with closing(DiskQueue(tmp_path / "queue-1", MIB)) as owned:
        owned.offer(b"owned").result(5)
        with closing(DiskQueue(tmp_path / "into", MIB)) as into, pytest.raises(QueueLocked):
            adopt(tmp_path / "queue-1", into)
        adopt_leftovers(tmp_path, 1)
    assert envelopes_of(tmp_path / "queue-1") == [b"owned"]
    assert envelopes_of(tmp_path / "queue") == [b"free"]
    assert "left alone" in caplog.text


def test_a_queue_of_a_worker_that_is_is_not_adopted(tmp_path: Path) -> None:
    fill(tmp_path / "queue-1", [b"its own"])
    fill(tmp_path / "queue-10", [b"left"])
    adopt_leftovers(tmp_path, 2)
    assert envelopes_of(tmp_path / "queue-1") == [b"its own"]
    assert envelopes_of(tmp_path / "queue") == [b"left"]


def test_each_shared_queue_knows_the_size_of_all(tmp_path: Path) -> None:
    directories = [tmp_path / name for name in ("queue", "queue-1", "queue-2")]
    first, second = (SharedQueue(directories, number, MIB) for number in (0, 1))
    assert first.size() == second.size() == Size(0, 0, 3 * MIB, 0)  # the third has never been there
    first.offer(b"one").result(5)
    wait_until(lambda: second.size().oldest_unix_nano)
    second.offer(b"three").result(5)
    wait_until(lambda: first.size().items == 2)
    assert first.size() == second.size() == Size(2, 8, 3 * MIB, first.size().oldest_unix_nano)
    first.close()
    assert second.size().items == 2  # it waits on disk
    again = SharedQueue(directories, 0, MIB)
    assert again.size() == second.size()
    again.settle(again.claim(MIB, 1))
    again.drain(5)
    wait_until(lambda: second.size().items == 1)
    assert second.size().oldest_unix_nano > 0
    second.settle(second.claim(MIB, 1))
    wait_until(lambda: again.size() == Size(0, 0, 3 * MIB, 0))
    again.close()
    second.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_drains_all_queues_and_leaves_no_process(headrace: Launcher, database_url: str, number: int) -> None:
    """SIGINT goes to all, as Ctrl-C on a terminal does."""
    running = headrace(database_url=database_url, workers=2)
    processes = tree(running)
    acknowledged = send_many(running, 60)
    for process in processes if number == signal.SIGINT else processes[:1]:
        with suppress(psutil.NoSuchProcess):  # the first of them to hear of it may have ended this one
            process.send_signal(number)
    assert running.process.wait(60) == 0
    assert gone(processes, 5)
    assert stored(database_url) == acknowledged
    assert "Traceback" not in running.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_amid_the_start_is_clean(headrace: Launcher, database_url: str, number: int) -> None:
    running = headrace(database_url=database_url, workers=3, wait=False)
    wait_until(lambda: len(workers(running)) == 3, what="the workers' processes")
    processes = tree(running)
    for process in processes if number == signal.SIGINT else processes[:1]:
        with suppress(psutil.NoSuchProcess):  # the first of them to hear of it may have ended this one
            process.send_signal(number)
    assert running.process.wait(30) == 0
    assert gone(processes, 5)
    assert "Traceback" not in running.log.read_text()


def test_a_stop_does_not_wait_for_ever(headrace: Launcher, database_url: str) -> None:
    running = headrace(database_url=database_url, workers=2, shutdown_seconds=0)
    wait_until(lambda: events(running, "ready"), what="both workers")
    processes = tree(running)
    workers(running)[0].suspend()  # it will not hear the SIGTERM
    assert running.stop() == 0
    assert gone(processes, 5)


@pytest.mark.parametrize("port", ["http_port", "grpc_port"])
def test_a_taken_port_names_its_owner(headrace: Launcher, database_url: str, port: str) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # and would even share it
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        running = headrace(database_url=database_url, workers=2, wait=False, **{port: taken.getsockname()[1]})
        assert running.process.wait(30) == 1
    said = running.log.read_text()
    assert f"process {os.getpid()}" in said
    assert f"HEADRACE_{port.upper()}" in said


def test_two_of_them_do_not_share_a_port_or_a_directory(headrace: Launcher, database_url: str, tmp_path: Path) -> None:
    first = headrace(database_url=database_url, workers=2)
    wait_until(lambda: events(first, "ready"), what="both workers")
    port = first.url.rpartition(":")[2]
    same_port = headrace(database_url=database_url, workers=2, http_port=port, data_dir=tmp_path, wait=False)
    assert same_port.process.wait(30) == 1
    assert f"Port {port} on 127.0.0.1 is taken by process {first.process.pid} " in same_port.log.read_text()
    same_directory = headrace(database_url=database_url, workers=2, wait=False)
    assert same_directory.process.wait(30) == 1
    assert f"Another Headrace (process {first.process.pid}) uses" in same_directory.log.read_text()
    acknowledged = send(first)
    wait_until(first.drained)
    assert stored(database_url) == {acknowledged}
    assert metric(first, "headrace_spans_accepted_total") == 1


def test_a_worker_that_cannot_start_ends_the_start(headrace: Launcher, database_url: str) -> None:
    (headrace.directory / "data").mkdir()
    (headrace.directory / "data" / "queue-1").write_text("in the way")
    running = headrace(database_url=database_url, workers=2, wait=False)
    assert running.process.wait(30) == 1
    said = running.log.read_text()
    assert "queue-1 cannot be written" in said
    assert "Traceback" not in said


def test_up_runs_several_workers(headrace: Launcher) -> None:
    running = headrace("up", workers=2)
    wait_until(running.shows_panel, 90)
    assert len(workers(running)) == 2
    second = headrace("up", workers=2, wait=False)
    assert second.process.wait(30) == 1
    assert "HEADRACE_DATA_DIR" in second.log.read_text()
    processes = tree(running)
    send_many(running, 20)
    wait_until(running.drained)
    found = httpx.post(f"{running.ui_url}/api/3.0/mlflow/traces/search", json={
        "locations": [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}], "max_results": 100,
    })  # fmt: skip
    assert len(found.json()["traces"]) == 20
    assert running.stop() == 0
    assert gone(processes, 5)
