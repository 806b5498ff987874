"""Threads and tasks that end are run again, and named meanwhile."""

import asyncio
import errno
import sqlite3
import struct
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import wait_until
from counters import count
from fastapi import FastAPI

from headrace.config import Config
from headrace.errors import QueueUnavailable
from headrace.export.finisher import Finisher
from headrace.mlflow.experiments import Experiments
from headrace.mlflow.tables import Tables
from headrace.parts import Part, down
from headrace.queue.disk.committer import Committer
from headrace.queue.disk.place import Place
from headrace.queue.disk.queue import DiskQueue
from headrace.queue.disk.storage import Storage
from headrace.receiver.auth import Keys
from headrace.receiver.health import health_router, refusal
from headrace.store.database import Database

MIB = 1024 * 1024


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[DiskQueue]:
    with closing(DiskQueue(tmp_path / "queue", MIB)) as made:
        yield made


def restarts(part: str) -> float:
    return count("headrace_part_restarts_total", part=part)


class Client:
    """Asks an application in this process."""

    def __init__(self, app: FastAPI) -> None:
        self._transport = httpx.ASGITransport(app)

    def get(self, path: str) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport, base_url="http://headrace") as client:
                return await client.get(path)

        return asyncio.run(ask())


def test_health_names_what_is_down(queue: DiskQueue, database: Database) -> None:
    app = FastAPI()
    app.include_router(health_router(queue, database, Experiments(database, create=True, cache_seconds=60), Tables()))
    client = Client(app)
    part = Part("tls")
    part.enter()
    try:
        assert client.get("/healthz").json() == {"status": "alive"}
        part.ended(OSError("a fault"))
        answer = client.get("/healthz")
        assert answer.status_code == 503
        assert answer.json()["status"] == "not alive"
        (said,) = answer.json()["down"]
        assert (said["part"], said["error"]) == ("tls", "OSError: a fault")
        assert said["since"].endswith("+00:00")
        assert client.get("/readyz").status_code == 200
        assert "headrace_ready 1.0" in client.get("/metrics").text
        part.runs()
        wait_until(lambda: client.get("/healthz").status_code == 200, 5)
    finally:
        part.leave()
    taking = Part("grpc", takes_requests=True)
    taking.enter()
    try:
        taking.ended(None)
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert "grpc (it returned)" in answer.json()["reason"]
        assert "grpc" in refusal(queue)
        assert "headrace_ready 0.0" in client.get("/metrics").text
    finally:
        taking.leave()
    assert client.get("/readyz").status_code == 200
    assert refusal(queue) == ""


@pytest.mark.parametrize("error", [MemoryError(), OverflowError("too big"), struct.error("a fault"), KeyError(1)], ids=repr)
@pytest.mark.parametrize(("kind", "name"), [(Storage, "transact"), (Committer, "commit"), (Place, "lost")], ids=str)
def test_no_offer_hangs_when_the_queue_s_writer_ends(
    queue: DiskQueue, monkeypatch: pytest.MonkeyPatch, kind: type, name: str, error: Exception
) -> None:
    """`Place.lost` is asked after the commit, and before the acknowledgement."""
    queue.offer(b"before").result(5)
    whole = getattr(kind, name)
    fails = True

    def failing(*given: Any) -> Any:
        if fails:
            raise error
        return whole(*given)

    monkeypatch.setattr(kind, name, failing)
    futures = []
    for _ in range(5):
        try:
            futures.append(queue.offer(b"during"))
        except QueueUnavailable:
            break
    for future in futures:
        with pytest.raises(QueueUnavailable, match="send the batch again"):
            future.result(5)
    queue.settle(queue.claim(MIB, 1))
    fails = False

    def offered() -> bool:
        try:
            queue.offer(b"after").result(5)
        except QueueUnavailable:
            return False
        return True

    wait_until(offered, 5)
    while items := queue.claim(MIB, 0.2):
        queue.settle(items)
    assert queue.drain(5)
    assert (queue.size().items, queue.size().bytes, queue.size().refusal) == (0, 0, "")
    wait_until(lambda: not down(), 5)


def test_the_queue_is_closed_while_its_writer_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = DiskQueue(tmp_path, MIB)
    monkeypatch.setattr(Committer, "commit", lambda *_: 1 / 0)
    with pytest.raises(QueueUnavailable):
        queue.offer(b"x").result(5)
    queue.close()
    assert down() == []


def test_nothing_is_acknowledged_that_is_in_a_removed_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file alone, at any moment: what is acknowledged is there for whoever opens the directory next."""
    for name in ("queue.db", "queue.db-wal", "."):
        directory = tmp_path / f"of {name}"
        queue = DiskQueue(directory, MIB)
        queue.offer(b"first").result(5)
        gone = directory / name
        gone.rename(tmp_path / f"gone {name}")
        acknowledged = [b"first"]
        for number in range(200):
            try:
                queue.offer(envelope := b"%d" % number).result(5)
            except QueueUnavailable:
                continue
            acknowledged.append(envelope)
            with closing(sqlite3.connect(directory / "queue.db")) as looking:
                assert (envelope,) in looking.execute("SELECT envelope FROM item").fetchall()
            break
        else:
            wait_until(lambda: not queue.size().refusal, 3)  # noqa: B023
        queue.offer(b"last").result(5)
        queue.close()
        with closing(DiskQueue(directory, MIB)) as again:
            kept = [item.envelope for item in again.claim(MIB, 1)]
        assert {*acknowledged, b"last"} <= set(kept), name
        assert kept[0] == b"first"


def test_the_finisher_outlives_a_lack_of_descriptors(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Semaphore(0)

    def knows(_: Database) -> bool:
        asked.release()
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("headrace.export.housekeeper.known_shape", knows)
    finisher = Finisher(database, 0.1)
    finisher.start()
    for _ in range(3):
        assert asked.acquire(timeout=5)
    finisher.stop()


@pytest.mark.parametrize(
    "error", [OSError(errno.EMFILE, "Too many open files"), RecursionError("deep"), MemoryError()], ids=repr
)
def test_known_keys_stay_valid_whatever_the_file_does(
    tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    from headrace.receiver.auth import new_key

    path = tmp_path / "keys.json"
    key, text = new_key("one")
    Keys(path).add(key)
    keys = Keys.open(path)

    def fail(*_: object) -> None:
        raise error

    path.touch()
    path.write_text(path.read_text() + " ")
    monkeypatch.setattr(Keys, "read", fail)
    keys._checked = 0
    assert keys.authenticate({"authorization": f"Bearer {text}"}, "127.0.0.1").id == key.id
