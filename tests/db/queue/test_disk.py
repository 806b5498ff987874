"""The disk queue, beyond the contract of every queue (tests/contracts/queue.py): durable, one owner, one format."""

import multiprocessing
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from headrace.errors import QueueFull, QueueLocked, QueueUnavailable
from headrace.queue.disk.file import FORMAT, connect, lock
from headrace.queue.disk.queue import DiskQueue

MIB = 1024 * 1024


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[DiskQueue]:
    queue = DiskQueue(tmp_path, MIB)
    yield queue
    queue.close()


def claim_all(queue: DiskQueue) -> list[bytes]:
    return [item.envelope for item in queue.claim(MIB, 1)]


def test_a_full_queue_says_which_setting_is_its_limit(queue: DiskQueue) -> None:
    queue.offer(bytes(MIB)).result(5)
    with pytest.raises(QueueFull, match="HEADRACE_QUEUE_MAX_BYTES"):
        queue.offer(b"x")


def test_many_that_wait_are_stored_in_order_and_any_of_them_settled(tmp_path: Path) -> None:
    """More at once than one statement takes; settled out of order and with gaps, together with new ones."""
    with closing(DiskQueue(tmp_path, MIB)) as queue:
        with closing(sqlite3.connect(tmp_path / "queue.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # holds the first commit up, so that the others pile up behind it
            offered = [queue.offer(b"%d" % number) for number in range(300)]
        for future in offered:
            future.result(5)
        items = queue.claim(MIB, 1)
        assert [item.envelope for item in items] == [b"%d" % number for number in range(300)]
        gone = [*items[200:250], items[7], *items[:5], items[299]]
        queue.settle(gone)
        queue.offer(b"new").result(5)
    with closing(DiskQueue(tmp_path, MIB)) as again:
        left = [item.envelope for item in items if item not in gone]
        assert claim_all(again) == [*left, b"new"]
        assert again.size().items == 300 - 57 + 1


def test_a_second_owner_is_refused_by_name(queue: DiskQueue, tmp_path: Path) -> None:
    with pytest.raises(QueueLocked, match=f"process {os.getpid()}"):
        DiskQueue(tmp_path, MIB)


def test_the_owner_of_a_worker_s_queue_is_the_supervisor(tmp_path: Path) -> None:
    """It is whom to stop: a worker alone would be started again."""
    worker = multiprocessing.get_context("spawn").Process(target=lock, args=(tmp_path,))
    worker.start()
    worker.join(30)
    assert worker.exitcode == 0
    assert (tmp_path / "queue.lock").read_text() == str(os.getpid())


def test_a_later_format_is_not_touched(tmp_path: Path) -> None:
    DiskQueue(tmp_path, MIB).close()
    with closing(sqlite3.connect(tmp_path / "queue.db")) as connection:
        connection.execute(f"PRAGMA user_version = {FORMAT + 1}")
    with pytest.raises(QueueUnavailable, match="later Headrace"):
        DiskQueue(tmp_path, MIB)


def test_what_was_acknowledged_survives_sigkill(tmp_path: Path) -> None:
    code = (
        "import os, sys, pathlib; from headrace.queue.disk.queue import DiskQueue\n"
        "queue = DiskQueue(pathlib.Path(sys.argv[1]), 1 << 20)\n"
        "[queue.offer(b'%d' % n).result(5) for n in range(100)]\n"
        "queue.offer(b'maybe'); os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert killed.returncode == -9
    queue = DiskQueue(tmp_path, MIB)
    assert claim_all(queue)[:100] == [b"%d" % n for n in range(100)]
    queue.close()


def test_a_disk_that_refuses_is_reported_to_every_waiting_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`max_page_count` is SQLite's own way to a full disk; it holds for one connection, here the one that writes."""
    opened: list[sqlite3.Connection] = []

    def small(path: Path) -> sqlite3.Connection:
        opened.append(connect(path))
        opened[-1].execute("PRAGMA max_page_count = 10")
        return opened[-1]

    monkeypatch.setattr("headrace.queue.disk.file.connect", small)
    with closing(DiskQueue(tmp_path, MIB)) as queue:
        (writer,) = opened
        with pytest.raises(QueueUnavailable, match="full"):
            queue.offer(bytes(200_000)).result(5)
        assert queue.size().bytes == 0
        writer.execute("PRAGMA max_page_count = 100000")
        queue.offer(b"room again").result(5)
        assert claim_all(queue) == [b"room again"]
