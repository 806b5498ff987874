"""A queue elsewhere, with a disk queue for the time that it takes nothing. Both are in memory here."""

from collections.abc import Iterator

import pytest
from conftest import wait_until
from contracts.queue import MAX_BYTES, QueueContract, claim, offer
from fakes import MemoryQueue

from headrace.errors import QueueFull, QueueUnavailable
from headrace.queue.spill import SpillQueue


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue that closes waits as long for what may come from the disk."""
    monkeypatch.setattr("headrace.queue.spill._CLAIM_SECONDS", 0.01)


class TestSpillQueue(QueueContract):
    """While the queue elsewhere is well. Its limit is that of both queues."""

    @pytest.fixture(autouse=True)
    def _kept(self) -> None:
        self.elsewhere: dict[int, tuple[int, bytes]] = {}
        self.disk: dict[int, tuple[int, bytes]] = {}

    def open_queue(self) -> SpillQueue:
        return SpillQueue(MemoryQueue(MAX_BYTES, self.elsewhere), MemoryQueue(0, self.disk), MAX_BYTES, keeps=False)


@pytest.fixture
def elsewhere() -> MemoryQueue:
    return MemoryQueue()


@pytest.fixture
def disk() -> MemoryQueue:
    return MemoryQueue(20)


@pytest.fixture
def queue(elsewhere: MemoryQueue, disk: MemoryQueue) -> Iterator[SpillQueue]:
    made = SpillQueue(elsewhere, disk, MAX_BYTES)
    yield made
    made.close()


def test_what_is_not_taken_goes_to_disk_and_is_forwarded_in_order(
    queue: SpillQueue, elsewhere: MemoryQueue, disk: MemoryQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.queue.spill._AGAIN_SECONDS", 0.01)
    offer(queue, b"1")
    elsewhere.unavailable = "away"
    offer(queue, b"2", b"3")
    assert queue.size().refusal == ""
    assert queue.size().items == 3
    elsewhere.unavailable = ""
    offer(queue, b"4")
    wait_until(lambda: disk.size().items == 0)
    assert claim(queue) == [b"1", b"2", b"3", b"4"]


def test_a_full_disk_refuses(queue: SpillQueue, elsewhere: MemoryQueue) -> None:
    elsewhere.unavailable = "away"
    offer(queue, bytes(20))
    with pytest.raises(QueueFull):
        queue.offer(b"x")


def test_what_an_earlier_life_has_left_is_forwarded_and_nothing_is_added(elsewhere: MemoryQueue) -> None:
    disk = MemoryQueue(kept={1: (0, b"left")})
    queue = SpillQueue(elsewhere, disk, MAX_BYTES, keeps=False)
    try:
        assert claim(queue) == [b"left"]
        elsewhere.unavailable = "away"
        with pytest.raises(QueueUnavailable):
            queue.offer(b"new")
        assert queue.size().refusal == "away"
    finally:
        queue.close()
