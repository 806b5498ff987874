"""The queue of one of several workers: each tells the others how full its own is, so that any of them can answer for all.

A worker keeps its numbers in a file of 24 bytes beside its queue, mapped into memory. They rise before an item is
acknowledged and fall after it is settled, and they outlive a SIGKILL: the sum is never below what waits.
"""

import mmap
import os
import sqlite3
import struct
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

from app.errors import QueueUnavailable
from app.queue import Item, Size
from app.queue.disk import DiskQueue

_NUMBERS = struct.Struct("=qqq")  # items, bytes, oldest_unix_nano
_FILE = "size"


def queue_directory(data_dir: Path, worker: int) -> Path:
    """Where a worker's queue is. Worker 0 has the one that a single process has."""
    return data_dir / (f"queue-{worker}" if worker else "queue")


def open_queue(data_dir: Path, worker: int, workers: int, max_bytes: int) -> DiskQueue:
    """The queue of one of so many workers. Raises as `DiskQueue`."""
    directories = [queue_directory(data_dir, number) for number in range(workers)]
    if workers == 1:
        return DiskQueue(directories[0], max_bytes)
    return SharedQueue(directories[worker], max_bytes, directories)


class SharedQueue(DiskQueue):
    """A `DiskQueue` in `directory`, whose `size()` is that of all the queues in `directories`.

    Raises:
        QueueLocked, QueueUnavailable: as `DiskQueue`.
    """

    def __init__(self, directory: Path, max_bytes: int, directories: Sequence[Path]) -> None:
        self._numbers: mmap.mmap | None = None
        super().__init__(directory, max_bytes)
        self._lock_file.truncate(0)
        self._lock_file.write(str(os.getppid()))  # whom to stop: a worker alone would be started again
        self._lock_file.flush()
        self._oldest = super().size().oldest_unix_nano
        self._others = [path for path in directories if path != directory]
        self._limit = max_bytes * len(directories)
        try:
            with (directory / _FILE).open("a+b") as file:
                file.truncate(_NUMBERS.size)
                self._numbers = mmap.mmap(file.fileno(), _NUMBERS.size)
        except OSError as error:
            self.close()
            raise QueueUnavailable(f"The queue's directory {directory} cannot be written: {error.strerror}.") from None
        self._tell()

    def offer(self, envelope: bytes) -> "Future[None]":
        """See `Queue.offer`. The others know of the item before its future is done."""
        future = super().offer(envelope)
        self._tell()
        return future

    def size(self) -> Size:
        """All workers' together; a worker that has not started yet counts with what its predecessor left."""
        sizes = [super().size(), *map(_read, self._others)]
        return Size(
            items=sum(size.items for size in sizes),
            bytes=sum(size.bytes for size in sizes),
            max_bytes=self._limit,
            oldest_unix_nano=min((size.oldest_unix_nano for size in sizes if size.oldest_unix_nano), default=0),
        )

    def _commit(self, offers: "list[tuple[bytes, Future[None]]]", settled: list[Item]) -> None:
        super()._commit(offers, settled)
        try:
            row = self._writer.execute("SELECT offered_unix_nano FROM item ORDER BY id LIMIT 1").fetchone()
            self._oldest = row[0] if row else 0
        except sqlite3.Error:
            pass  # a failing disk is reported by what needs it; an age may be old
        self._tell()

    def _tell(self) -> None:
        with self._wakeup:  # so that the last one to write tells the last state
            if self._numbers is not None:
                self._numbers[:] = _NUMBERS.pack(self._items, self._bytes, self._oldest if self._items else 0)


def _read(directory: Path) -> Size:
    try:
        items, bytes_, oldest = _NUMBERS.unpack((directory / _FILE).read_bytes())
    except (OSError, struct.error):
        return Size(0, 0, 0, 0)  # this worker has never started yet
    return Size(items, bytes_, 0, oldest)
