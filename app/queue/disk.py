"""The disk queue: accepted requests in one SQLite file, fsynced before they are acknowledged.

    offer() ──► waiting ──► writer thread: one transaction, one fsync for all that wait ──► futures done
    claim() ◄── SELECT … ORDER BY id        settle() ──► the writer's next transaction deletes

SQLite with `journal_mode=WAL, synchronous=FULL` syncs its log at each commit (https://sqlite.org/pragma.html#pragma_synchronous).
One process owns a queue, by a lock file; within it any thread may call. Deletes ride along with the next commit: one
that is lost in a crash costs a second write of the same rows, which changes nothing.
"""

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TextIO

from app.errors import QueueFull, QueueLocked, QueueUnavailable
from app.queue import Item, Size
from app.telemetry import QUEUE_COMMIT_SECONDS

FORMAT = 1
"""Kept in SQLite's `user_version`; raised when the table changes."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS item (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again, so that a claim cannot meet another item's id
    offered_unix_nano INTEGER NOT NULL,
    envelope BLOB NOT NULL
)
"""


class DiskQueue:
    """A `Queue` in `directory`, of at most `max_bytes` bytes of envelopes.

    Raises:
        QueueLocked: another process owns this directory's queue.
        QueueUnavailable: the directory cannot be written, or holds a queue of a later format.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock_file = _lock(directory)
        self._path = directory / "queue.db"
        self._wakeup = threading.Condition()  # guards everything below
        self._waiting: list[tuple[bytes, Future[None]]] = []
        self._settled: list[Item] = []
        self._closed = False
        self._claimed_up_to = 0
        self._committed_up_to = 0
        with ExitStack() as undo, _unavailable("opened"):
            undo.callback(self._lock_file.close)
            self._writer = undo.enter_context(closing(_connect(self._path)))
            self._reader = undo.enter_context(closing(_connect(self._path)))
            self._reader_lock = threading.Lock()
            row = self._writer.execute("SELECT count(*), coalesce(sum(length(envelope)), 0), coalesce(max(id), 0) FROM item")
            self._items, self._bytes, self._committed_up_to = row.fetchone()
            self._undo = undo.pop_all()  # what close() gives back
        self._thread = threading.Thread(target=self._write_forever, name="headrace-queue", daemon=True)
        self._thread.start()

    def offer(self, envelope: bytes) -> "Future[None]":
        """See `Queue.offer`. Room is taken at once, so that concurrent offers cannot overshoot the limit."""
        future: Future[None] = Future()
        with self._wakeup:
            if self._closed:
                raise QueueUnavailable("Headrace is stopping: send the batch again.")
            if self._bytes + len(envelope) > self._max_bytes:
                raise QueueFull(
                    f"The queue holds {self._bytes} of {self._max_bytes} bytes (HEADRACE_QUEUE_MAX_BYTES) "
                    "and Postgres does not keep up: send the batch again later."
                )
            self._bytes += len(envelope)
            self._items += 1
            self._waiting.append((envelope, future))
            self._wakeup.notify_all()
        return future

    def claim(self, max_bytes: int, timeout: float) -> list[Item]:
        """See `Queue.claim`."""
        with self._wakeup:
            self._wakeup.wait_for(lambda: self._committed_up_to > self._claimed_up_to or self._closed, timeout)
            if self._committed_up_to <= self._claimed_up_to:
                return []
        items: list[Item] = []
        total = 0
        with self._reader_lock, _unavailable("read"):
            rows = self._reader.execute("SELECT id, envelope FROM item WHERE id > ? ORDER BY id", (self._claimed_up_to,))
            for id_, envelope in rows:
                if items and total + len(envelope) > max_bytes:
                    break
                items.append(Item(id_, envelope))
                total += len(envelope)
            rows.close()  # ends the read transaction, so that the log can be checkpointed
        self._claimed_up_to = items[-1].id if items else self._committed_up_to
        return items

    def settle(self, items: Sequence[Item]) -> None:
        """See `Queue.settle`."""
        with self._wakeup:
            self._settled.extend(items)
            self._wakeup.notify_all()

    def size(self) -> Size:
        """See `Queue.size`."""
        with self._reader_lock, _unavailable("read"):
            oldest = self._reader.execute("SELECT offered_unix_nano FROM item ORDER BY id LIMIT 1").fetchone()
        with self._wakeup:
            return Size(self._items, self._bytes, self._max_bytes, oldest[0] if oldest and self._items else 0)

    def wait_empty(self, timeout: float) -> bool:
        """Waits until every item is settled, at most `timeout` seconds; tells whether it is so."""
        with self._wakeup:
            return bool(self._wakeup.wait_for(lambda: self._items == 0, timeout))

    def close(self) -> None:
        """Takes no more, commits what waits, gives the file up."""
        with self._wakeup:
            self._closed = True
            self._wakeup.notify_all()
        self._thread.join()
        self._undo.close()

    def _write_forever(self) -> None:
        while True:
            with self._wakeup:
                self._wakeup.wait_for(lambda: self._waiting or self._settled or self._closed)
                offers, self._waiting = self._waiting, []
                settled, self._settled = self._settled, []
                if not offers and not settled:
                    return
            self._commit(offers, settled)

    def _commit(self, offers: "list[tuple[bytes, Future[None]]]", settled: list[Item]) -> None:
        """One transaction for everything that waits: concurrent requests share one fsync."""
        now, started = time.time_ns(), time.perf_counter()
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            self._writer.executemany("DELETE FROM item WHERE id = ?", [(item.id,) for item in settled])
            self._writer.executemany(
                "INSERT INTO item (offered_unix_nano, envelope) VALUES (?, ?)",
                [(now, envelope) for envelope, _ in offers],
            )
            last = self._writer.execute("SELECT coalesce(max(id), 0) FROM item").fetchone()[0]
            self._writer.execute("COMMIT")
            QUEUE_COMMIT_SECONDS.observe(time.perf_counter() - started)
        except sqlite3.Error as error:
            self._abandon(offers, settled, error)
            return
        with self._wakeup:
            self._committed_up_to = max(self._committed_up_to, last)
            self._items -= len(settled)
            self._bytes -= sum(len(item.envelope) for item in settled)
            self._wakeup.notify_all()
        for _, future in offers:
            _finish(future)

    def _abandon(self, offers: "list[tuple[bytes, Future[None]]]", settled: list[Item], error: sqlite3.Error) -> None:
        """A commit failed (a full disk, say): its clients are told to come back, its deletes are tried again."""
        if self._writer.in_transaction:
            self._writer.execute("ROLLBACK")
        with self._wakeup:
            self._items -= len(offers)
            self._bytes -= sum(len(envelope) for envelope, _ in offers)
            stopping = self._closed
            if not stopping:
                self._settled = settled + self._settled
        refusal = QueueUnavailable(f"The queue cannot write to its disk ({error}): free some space, then send again.")
        for _, future in offers:
            _finish(future, refusal)
        if settled and not stopping:
            time.sleep(0.1)  # nobody waits for a delete; do not spin on a full disk


def _finish(future: "Future[None]", error: Exception | None = None) -> None:
    """Ends a future, unless its request was cancelled meanwhile (then the item stays: it will be written)."""
    if future.set_running_or_notify_cancel():
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)


def _lock(directory: Path) -> TextIO:
    """Makes this process the queue's owner, until the file is closed or the process dies."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = open(directory / "queue.lock", "a+", encoding="utf-8")  # noqa: SIM115 - held open for the queue's life
    except OSError as error:
        raise QueueUnavailable(f"The queue's directory {directory} cannot be written: {error.strerror}.") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        raise QueueLocked(
            f"Another Headrace (process {owner}) uses {directory}: stop it, or set HEADRACE_DATA_DIR to another directory."
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def _connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode; transactions are begun by hand. The locks above make it safe across threads."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {64 * 1024 * 1024}")
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found > FORMAT:
        connection.close()
        raise QueueUnavailable(
            f"{path} was written by a later Headrace (format {found}; this one knows {FORMAT}): run that version."
        )
    connection.execute(_SCHEMA)
    connection.execute(f"PRAGMA user_version = {FORMAT}")
    return connection


@contextmanager
def _unavailable(doing: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise QueueUnavailable(f"The queue cannot be {doing}: {error}.") from error
