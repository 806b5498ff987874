"""The queues that ship keep the contract, each on a real disk."""

from pathlib import Path

import pytest
from contracts.queue import MAX_BYTES, QueueContract

from headrace.config import Config
from headrace.queue import Queue
from headrace.queue.disk.directories import queue_directory
from headrace.queue.disk.queue import DiskQueue
from headrace.queue.disk.shared import SharedQueue
from headrace.queue.open import open_queue


class _OnDisk(QueueContract):
    @pytest.fixture(autouse=True)
    def _data_dir(self, tmp_path: Path) -> None:
        self.data_dir = tmp_path


class TestDiskQueue(_OnDisk):
    def open_queue(self) -> Queue:
        return DiskQueue(queue_directory(self.data_dir, 0), MAX_BYTES)


class TestSharedQueue(_OnDisk):
    """The second of three workers; the others never started."""

    def open_queue(self) -> Queue:
        return SharedQueue([queue_directory(self.data_dir, worker) for worker in range(3)], 1, MAX_BYTES)


@pytest.mark.parametrize(("workers", "kind"), [(1, DiskQueue), (2, SharedQueue)])
def test_the_settings_choose_the_queue(config: Config, workers: int, kind: type) -> None:
    queue = open_queue(config.model_copy(update={"workers": workers}), workers - 1)
    assert isinstance(queue, kind)
    queue.close()
    assert queue_directory(config.data_dir, workers - 1).is_dir()
