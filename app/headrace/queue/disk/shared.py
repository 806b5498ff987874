"""The queue of one of several workers: each tells the others how full its own is, so that any of them can answer for all.

A worker keeps its numbers in a file of 32 bytes beside its queue, mapped into memory. They rise before an item is
acknowledged and fall after it is settled, and they outlive a SIGKILL: the sum is never below what waits.
"""

import mmap
import os
import sqlite3
import struct
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

from headrace.config import Config
from headrace.errors import QueueUnavailable
from headrace.queue import Item, Size
from headrace.queue.disk.place import Place
from headrace.queue.disk.queue import DiskQueue

_NUMBERS = struct.Struct("=qqqq")  # items, bytes, oldest_unix_nano, whether it refuses requests
_FILE = "size"
_ANOTHER_REFUSES = "The queue of another worker is full, or its disk."


def queue_directory(data_dir: Path, worker: int) -> Path:
    """Where a worker's queue is. Worker 0 has the one that a single process has."""
    return data_dir / (f"queue-{worker}" if worker else "queue")


def queue_directories(data_dir: Path) -> list[Path]:
    """The queues that there are: that of worker 0, which may not be there yet, then those of the others."""
    numbers = [path.name.removeprefix("queue-") for path in data_dir.glob("queue-*")]
    return [queue_directory(data_dir, number) for number in sorted({0, *(int(text) for text in numbers if text.isdecimal())})]


def open_queue(config: Config, worker: int) -> DiskQueue:
    """The queue of one of the workers. Raises as `DiskQueue`."""
    max_bytes, water = config.queue_max_bytes, (config.min_free_bytes, config.queue_resume_percent)
    directories = [queue_directory(config.data_dir, number) for number in range(config.workers)]
    if config.workers == 1:
        return DiskQueue(directories[0], max_bytes, *water)
    return SharedQueue(directories[worker], max_bytes, directories, *water)


class SharedQueue(DiskQueue):
    """A `DiskQueue` in `directory`, whose `size()` is that of all the queues in `directories`.

    Raises:
        QueueLocked, QueueUnavailable: as `DiskQueue`.
    """

    def __init__(self, directory: Path, max_bytes: int, directories: Sequence[Path], *water: int) -> None:
        self._numbers: mmap.mmap | None = None
        self._oldest = 0
        self._others = [path for path in directories if path != directory]
        self._limit = max_bytes * len(directories)
        super().__init__(directory, max_bytes, *water)
        self._oldest = super().size().oldest_unix_nano
        self._tell()

    def _find_place(self) -> Place:
        try:
            self._lock_file.truncate(0)
            self._lock_file.write(str(os.getppid()))  # whom to stop: a worker alone would be started again
            self._lock_file.flush()
            with (self._directory / _FILE).open("a+b") as file:
                file.truncate(_NUMBERS.size)
                self._numbers = mmap.mmap(file.fileno(), _NUMBERS.size)
        except OSError as error:
            raise QueueUnavailable(f"The queue's directory {self._directory} cannot be written: {error.strerror}.") from None
        return super()._find_place()

    def offer(self, envelope: bytes) -> "Future[None]":
        """See `Queue.offer`. The others know of the item before its future is done."""
        try:
            return super().offer(envelope)
        finally:
            self._tell()

    def size(self) -> Size:
        """All workers' together; a worker that has not started yet counts with what its predecessor left."""
        own = super().size()
        self._tell()
        sizes = [own, *map(_read, self._others)]
        return Size(
            items=sum(size.items for size in sizes),
            bytes=sum(size.bytes for size in sizes),
            max_bytes=self._limit,
            oldest_unix_nano=min((size.oldest_unix_nano for size in sizes if size.oldest_unix_nano), default=0),
            refusal=next((size.refusal for size in sizes if size.refusal), ""),
        )

    def _commit(self, offers: "list[tuple[bytes, Future[None]]]", settled: list[Item]) -> None:
        super()._commit(offers, settled)
        if settled or not self._oldest:  # else it is what it was: each statement costs waits, see `DiskQueue`
            try:
                row = self._writer.execute("SELECT offered_unix_nano FROM item ORDER BY id LIMIT 1").fetchone()
                self._oldest = row[0] if row else 0
            except sqlite3.Error:
                pass  # a failing disk is reported by what needs it; an age may be old
        self._tell()

    def _tell(self) -> None:
        with self._wakeup:  # so that the last one to write tells the last state
            if self._numbers is not None:
                oldest = self._oldest if self._items else 0
                self._numbers[:] = _NUMBERS.pack(self._items, self._bytes, oldest, bool(self._refusal()))


def _read(directory: Path) -> Size:
    try:
        items, bytes_, oldest, refuses = _NUMBERS.unpack((directory / _FILE).read_bytes())
    except (OSError, struct.error):
        return Size(0, 0, 0, 0)  # this worker has never started yet
    return Size(items, bytes_, 0, oldest, _ANOTHER_REFUSES if refuses else "")
