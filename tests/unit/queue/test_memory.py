"""The fake queue keeps the contract, so that a unit test of it speaks for the real ones."""

import pytest
from contracts.queue import MAX_BYTES, QueueContract
from fakes import MemoryQueue

from headrace.errors import QueueUnavailable
from headrace.queue import Queue


class TestMemoryQueue(QueueContract):
    @pytest.fixture(autouse=True)
    def _kept(self) -> None:
        self.kept: dict[int, tuple[int, bytes]] = {}

    def open_queue(self) -> Queue:
        return MemoryQueue(MAX_BYTES, self.kept)


def test_it_can_be_unavailable() -> None:
    queue = MemoryQueue()
    queue.unavailable = "The disk is gone."
    with pytest.raises(QueueUnavailable, match="gone"):
        queue.offer(b"x")
    assert queue.size().refusal == "The disk is gone."
