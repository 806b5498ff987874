"""The queue of one of several workers: each tells the others how full its own is, so that any of them can answer for all.

A worker keeps its numbers in a file of 32 bytes beside its queue, mapped into memory. They rise before an item is
acknowledged and fall after it is settled, and they outlive a SIGKILL: the sum is never below what waits.
"""

import mmap
import struct
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

from headrace.errors import QueueUnavailable
from headrace.queue import Item, Size
from headrace.queue.disk.queue import DiskQueue

_NUMBERS = struct.Struct("=qqqq")  # items, bytes, oldest_unix_nano, whether it refuses requests
_FILE = "size"
_ANOTHER_REFUSES = "The queue of another worker is full, or its disk."


class SharedQueue:
    """A `Queue` whose items are in the queue of worker `own`, and whose `size()` is that of all the queues in `directories`.

    `directories[n]` is the queue of worker n. Each takes up to `max_bytes`; see `Capacity` for the other limits.

    Raises:
        QueueLocked, QueueUnavailable: as `DiskQueue`.
    """

    def __init__(
        self, directories: Sequence[Path], own: int, max_bytes: int, min_free_bytes: int = 0, resume_percent: int = 100
    ) -> None:
        self._others = [path for number, path in enumerate(directories) if number != own]
        self._max_bytes = max_bytes * len(directories)
        size_file = SizeFile(directories[own])
        self._queue = DiskQueue(directories[own], max_bytes, min_free_bytes, resume_percent, observer=size_file)

    def offer(self, envelope: bytes) -> "Future[None]":
        """See `Queue.offer`. The others know of the item before its future is done."""
        return self._queue.offer(envelope)

    def claim(self, max_bytes: int, timeout: float) -> list[Item]:
        """See `Queue.claim`. The worker's own items only."""
        return self._queue.claim(max_bytes, timeout)

    def settle(self, items: Sequence[Item]) -> None:
        """See `Queue.settle`."""
        self._queue.settle(items)

    def size(self) -> Size:
        """All workers' together; a worker that has not started yet counts with what its predecessor left."""
        sizes = [self._queue.size(), *map(read_size, self._others)]
        return Size(
            items=sum(size.items for size in sizes),
            bytes=sum(size.bytes for size in sizes),
            max_bytes=self._max_bytes,
            oldest_unix_nano=min((size.oldest_unix_nano for size in sizes if size.oldest_unix_nano), default=0),
            refusal=next((size.refusal for size in sizes if size.refusal), ""),
        )

    def drain(self, timeout: float) -> bool:
        """See `Queue.drain`. The worker's own items only."""
        return self._queue.drain(timeout)

    def close(self) -> None:
        """See `Queue.close`. The others go on to count what is left here."""
        self._queue.close()


class SizeFile:
    """An `Observer` that keeps a queue's size where the other workers read it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers: mmap.mmap | None = None

    def placed(self) -> None:
        """See `Observer.placed`. What a predecessor wrote stays until the first change."""
        try:
            with (self._directory / _FILE).open("a+b") as file:
                file.truncate(_NUMBERS.size)
                self._numbers = mmap.mmap(file.fileno(), _NUMBERS.size)
        except OSError as error:
            raise QueueUnavailable(f"The queue's directory {self._directory} cannot be written: {error.strerror}.") from None

    def changed(self, size: Size) -> None:
        """See `Observer.changed`."""
        if self._numbers is not None:
            self._numbers[:] = _NUMBERS.pack(size.items, size.bytes, size.oldest_unix_nano, bool(size.refusal))


def read_size(directory: Path) -> Size:
    """What the worker with this queue wrote last; an empty queue if it has never started."""
    try:
        items, bytes_, oldest, refuses = _NUMBERS.unpack((directory / _FILE).read_bytes())
    except (OSError, struct.error):
        return Size(0, 0, 0, 0)
    return Size(items, bytes_, 0, oldest, _ANOTHER_REFUSES if refuses else "")
