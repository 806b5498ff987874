"""The disk queue: durable, bounded, in order, one owner."""

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from headrace.errors import QueueFull, QueueLocked, QueueUnavailable
from headrace.queue.disk.file import FORMAT, connect
from headrace.queue.disk.queue import DiskQueue

MIB = 1024 * 1024


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[DiskQueue]:
    queue = DiskQueue(tmp_path, MIB)
    yield queue
    queue.close()


def claim_all(queue: DiskQueue) -> list[bytes]:
    return [item.envelope for item in queue.claim(MIB, 1)]


def test_what_was_offered_is_claimed_in_order_and_once(queue: DiskQueue) -> None:
    for envelope in (b"one", b"two", b"three"):
        queue.offer(envelope).result(5)
    assert claim_all(queue) == [b"one", b"two", b"three"]
    assert queue.claim(MIB, 0) == []


def test_a_claim_is_bounded_but_takes_at_least_one(queue: DiskQueue) -> None:
    for envelope in (b"x" * 600, b"y" * 600, b"z" * 10):
        queue.offer(envelope).result(5)
    assert [len(item.envelope) for item in queue.claim(500, 1)] == [600]
    assert [len(item.envelope) for item in queue.claim(610, 1)] == [600, 10]


def test_unsettled_items_come_again_after_a_restart_and_settled_ones_do_not(tmp_path: Path) -> None:
    queue = DiskQueue(tmp_path, MIB)
    for envelope in (b"done", b"open"):
        queue.offer(envelope).result(5)
    items = queue.claim(MIB, 1)
    queue.settle(items[:1])
    queue.close()
    again = DiskQueue(tmp_path, MIB)
    assert again.size().items == 1
    assert claim_all(again) == [b"open"]
    again.close()


def test_size_counts_bytes_and_age(queue: DiskQueue) -> None:
    assert queue.size().oldest_unix_nano == 0
    queue.offer(b"x" * 100).result(5)
    size = queue.size()
    assert (size.items, size.bytes, size.max_bytes) == (1, 100, MIB)
    assert size.oldest_unix_nano > 0
    queue.settle(queue.claim(MIB, 1))
    assert queue.drain(5)
    assert queue.size().bytes == 0


def test_a_full_queue_refuses_and_takes_again_when_there_is_room(queue: DiskQueue) -> None:
    queue.offer(bytes(MIB - 10)).result(5)
    with pytest.raises(QueueFull, match="HEADRACE_QUEUE_MAX_BYTES"):
        queue.offer(bytes(11))
    queue.offer(bytes(10)).result(5)
    queue.settle(queue.claim(2 * MIB, 1))
    assert queue.drain(5)
    queue.offer(bytes(MIB)).result(5)


def test_concurrent_offers_share_commits_and_all_arrive(queue: DiskQueue) -> None:
    def offer(number: int) -> None:
        for index in range(50):
            queue.offer(f"{number}/{index}".encode()).result(5)

    threads = [threading.Thread(target=offer, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(claim_all(queue))) == 400


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


def test_a_closed_queue_refuses(tmp_path: Path) -> None:
    queue = DiskQueue(tmp_path, MIB)
    queue.close()
    with pytest.raises(QueueUnavailable):
        queue.offer(b"late")


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
