"""The disk queue: accepted requests in one SQLite file, fsynced before they are acknowledged.

    offer ──► Ledger: what waits ──► Committer: one transaction, one fsync for all of it ──► the offers' futures are done
    claim ◄── Storage: SELECT … ORDER BY id          settle ──► Ledger ──► the Committer's next transaction deletes

SQLite with `journal_mode=WAL, synchronous=EXTRA` syncs its log at each commit (https://sqlite.org/pragma.html#pragma_synchronous).
One process owns a queue, by a lock file; within it any thread may call. Deletes ride along with the next commit: one
that is lost in a crash costs a second write of the same rows, which changes nothing.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from pathlib import Path

from headrace.errors import QueueUnavailable
from headrace.queue import Item, Size
from headrace.queue.disk.capacity import Capacity
from headrace.queue.disk.committer import Committer
from headrace.queue.disk.file import is_damage, is_intact
from headrace.queue.disk.ledger import Ledger, Observer, Trouble
from headrace.queue.disk.storage import Storage, unavailable
from headrace.telemetry.logging import log
from headrace.telemetry.metrics import QUEUE_DAMAGED


class DiskQueue:
    """A `Queue` in `directory`, of at most `max_bytes` bytes of envelopes; see `Capacity` for the other two limits.

    `observer` is told each change of the queue's numbers: a queue among several shares them by it (`SharedQueue`).

    Raises:
        QueueLocked: another process owns this directory's queue.
        QueueUnavailable: the directory cannot be written, or a later Headrace wrote it.
    """

    def __init__(
        self,
        directory: Path,
        max_bytes: int,
        min_free_bytes: int = 0,
        resume_percent: int = 100,
        observer: Observer | None = None,
    ) -> None:
        self._directory = directory
        self._storage = Storage(directory, observer.placed if observer is not None else lambda: None)
        self._ledger = Ledger(Capacity(directory, max_bytes, min_free_bytes, resume_percent), observer)
        self._committer = Committer(self._ledger, self._storage)
        self._claiming = threading.Lock()
        self._claimed_up_to = 0
        try:
            with unavailable("opened"):
                self._committer.start()
        except BaseException:
            self._storage.close()
            raise

    def offer(self, envelope: bytes) -> "Future[None]":
        """See `Queue.offer`."""
        return self._ledger.offer(envelope)

    def claim(self, max_bytes: int, timeout: float) -> list[Item]:
        """See `Queue.claim`. An item whose bytes the disk has changed is not handed out, but moved into a file of its own."""
        with self._claiming:
            last = self._ledger.wait_beyond(self._claimed_up_to, timeout)
            if last == self._claimed_up_to:
                return []
            items, damaged, self._claimed_up_to = self._read(max_bytes, last)
        for item in damaged:
            self._set_aside(item)
        return items

    def settle(self, items: Sequence[Item]) -> None:
        """See `Queue.settle`."""
        self._ledger.settle(items)

    def size(self) -> Size:
        """See `Queue.size`."""
        return self._ledger.size(self._storage.oldest())

    def drain(self, timeout: float) -> bool:
        """See `Queue.drain`."""
        return self._ledger.drain(timeout)

    def close(self) -> None:
        """See `Queue.close`."""
        self._ledger.close()
        self._committer.stop()
        self._storage.close()

    def _read(self, max_bytes: int, last: int) -> tuple[list[Item], list[Item], int]:
        """The next items, those among them that are damaged, and up to which id this is; `last` where nothing is left."""
        items: list[Item] = []
        damaged: list[Item] = []
        total = 0
        with self._broken_if_damaged(), closing(self._storage.rows_after(self._claimed_up_to)) as rows:
            for id_, envelope, crc in rows:
                if items and total + len(envelope) > max_bytes:
                    break
                (items if is_intact(envelope, crc) else damaged).append(Item(id_, envelope))
                total, last = total + len(envelope), id_
        return items, damaged, last

    def _set_aside(self, item: Item) -> None:
        """Keeps a damaged item's bytes in a file, for whoever can make something of them."""
        path = self._directory / f"damaged-item-{item.token}-{time.time_ns()}"
        try:
            path.write_bytes(item.envelope)
        except OSError as error:  # as long as it is not kept elsewhere, it stays here
            log.error("damaged request stays in the queue", item=item.token, error=str(error))
        else:
            QUEUE_DAMAGED.labels("request").inc()
            log.error("request in the queue is damaged: moved aside", item=item.token, moved_to=str(path))
            self.settle([item])

    @contextmanager
    def _broken_if_damaged(self) -> Iterator[None]:
        """Once the file is found to be damaged, nothing more is put into it."""
        try:
            yield
        except QueueUnavailable as error:
            if isinstance(error.__cause__, sqlite3.Error) and is_damage(error.__cause__):
                reason = f"The queue's file is damaged ({error.__cause__}): start Headrace again, which mends it."
                self._ledger.set_trouble(Trouble.DAMAGED, reason)
            raise
