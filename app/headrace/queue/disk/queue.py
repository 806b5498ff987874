"""The disk queue: accepted requests in one SQLite file, fsynced before they are acknowledged.

    offer() ──► waiting ──► writer thread: one transaction, one fsync for all that wait ──► futures done
    claim() ◄── SELECT … ORDER BY id        settle() ──► the writer's next transaction deletes

SQLite with `journal_mode=WAL, synchronous=EXTRA` syncs its log at each commit (https://sqlite.org/pragma.html#pragma_synchronous).
One process owns a queue, by a lock file; within it any thread may call. Deletes ride along with the next commit: one
that is lost in a crash costs a second write of the same rows, which changes nothing.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from headrace.errors import HeadraceError, QueueUnavailable
from headrace.parts import PartThread
from headrace.queue import Item, Size
from headrace.queue.disk.capacity import Room
from headrace.queue.disk.file import SET_FORMAT, checksum, connect, insert, is_damage, is_intact, lock, open_sound
from headrace.queue.disk.place import Place
from headrace.telemetry.logging import log
from headrace.telemetry.metrics import QUEUE_COMMIT_SECONDS, QUEUE_DAMAGED

_SPARE_BYTES = 32 * 1024 * 1024
_LITTLE_BYTES = 4 * 1024 * 1024
"""Of a file with more free pages than the first, and fewer bytes of requests than the second, the disk gets the rest back.
(`auto_vacuum` would do it for any file, but SQLite then writes more at each commit: a fifth fewer requests a second.)"""
_GIVE_BACK = "VACUUM; PRAGMA wal_checkpoint(TRUNCATE)"
_PROBE_SECONDS = 1.0
"""So often an idle writer looks whether its files are still there, and tries a disk that has refused."""

_REMAKE_SECONDS = 0.2
"""So often files that are gone are looked for, and made again if that can be done."""

_SIZE = "SELECT count(*), coalesce(sum(length(envelope)), 0), coalesce(max(id), 0) FROM item"
_DELETE = "DELETE FROM item WHERE id BETWEEN ? AND ?"
_PROBE = SET_FORMAT
"""Changes nothing, but is written (an UPDATE to the same value is not): a disk that takes nothing shall not look well."""
_ROWS = 64
"""Most rows of one INSERT. The connection keeps 128 statements compiled, and each number of rows is one."""


class DiskQueue:
    """A `Queue` in `directory`, of at most `max_bytes` bytes of envelopes; see `Room` for the other two numbers.

    Raises:
        QueueLocked: another process owns this directory's queue.
        QueueUnavailable: the directory cannot be written, or holds a queue of a later format.
    """

    def __init__(self, directory: Path, max_bytes: int, min_free_bytes: int = 0, resume_percent: int = 100) -> None:
        self._max_bytes = max_bytes
        self._directory = directory
        self._lock_file = lock(directory)
        self._room = Room(directory, max_bytes, min_free_bytes, resume_percent)
        self._wakeup = threading.Condition()  # guards everything below
        self._waiting: list[tuple[bytes, Future[None]]] = []
        self._settled: list[Item] = []
        self._closed = False
        self._broken = self._disk_error = ""
        self._lost = self._fault = ""  # what has become of the files; what has ended the writer, until it runs again
        self._remake_at, self._remade = 0.0, False
        self._claimed_up_to = 0
        self._committed_up_to = 0
        with ExitStack() as undo, _unavailable("opened"):
            undo.callback(self._lock_file.close)
            self._writer = undo.enter_context(closing(open_sound(directory)))
            self._reader = undo.enter_context(closing(connect(directory / "queue.db")))
            self._reader_lock = threading.Lock()
            self._items, self._bytes, self._committed_up_to = self._writer.execute(_SIZE).fetchone()
            self._place = self._find_place()
            self._freed = _SPARE_BYTES  # since the last look at the free pages; the file may have some from before
            undo.pop_all()
        self._thread = PartThread("queue", self._write, takes_requests=True)
        self._thread.start()

    def offer(self, envelope: bytes) -> "Future[None]":
        """See `Queue.offer`. Room is taken at once, so that concurrent offers cannot overshoot the limit."""
        future: Future[None] = Future()
        with self._wakeup:
            if self._closed:
                raise QueueUnavailable("Headrace is stopping: send the batch again.")
            if reason := self._broken or self._fault or self._lost:
                raise QueueUnavailable(reason)
            self._room.take(self._bytes, len(envelope))
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
        damaged: list[Item] = []
        total, last = 0, self._committed_up_to
        with self._reader_lock, self._broken_if_damaged(), _unavailable("read"):
            rows = self._reader.execute("SELECT id, envelope, crc32 FROM item WHERE id > ? ORDER BY id", (self._claimed_up_to,))
            for id_, envelope, crc in rows:
                if items and total + len(envelope) > max_bytes:
                    break
                (items if is_intact(envelope, crc) else damaged).append(Item(id_, envelope))
                total, last = total + len(envelope), id_
            rows.close()  # ends the read transaction, so that the log can be checkpointed
        self._claimed_up_to = last
        if damaged:
            self._set_aside(damaged)
        return items

    def _set_aside(self, damaged: list[Item]) -> None:
        """Items whose bytes the disk has changed: into files of their own, for whoever can make something of them."""
        for item in damaged:
            path = self._directory / f"damaged-item-{item.id}-{time.time_ns()}"
            try:
                path.write_bytes(item.envelope)
            except OSError as error:  # as long as it is not kept elsewhere, it stays here
                log.error("damaged request stays in the queue", item=item.id, error=str(error))
            else:
                QUEUE_DAMAGED.labels("request").inc()
                log.error("request in the queue is damaged: moved aside", item=item.id, moved_to=str(path))
                self.settle([item])

    @contextmanager
    def _broken_if_damaged(self) -> Iterator[None]:
        """Once the file is found to be damaged, nothing more is put into it."""
        try:
            yield
        except QueueUnavailable as error:
            if isinstance(error.__cause__, sqlite3.Error) and is_damage(error.__cause__):
                with self._wakeup:
                    self._broken = f"The queue's file is damaged ({error.__cause__}): start Headrace again, which mends it."
            raise

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
            self._room.look(self._bytes)
            since = oldest[0] if oldest and self._items else 0
            return Size(self._items, self._bytes, self._max_bytes, since, self._refusal())

    def _refusal(self) -> str:
        """See `Size.refusal`. A disk that refused is tried all the same, by each offer and every `_PROBE_SECONDS`."""
        return self._broken or self._fault or self._lost or self._room.refusal or self._disk_error

    def wait_empty(self, timeout: float) -> bool:
        """Waits until every item is settled, at most `timeout` seconds; tells whether it is so."""
        with self._wakeup:
            return bool(self._wakeup.wait_for(lambda: self._items == 0, timeout))

    def close(self) -> None:
        """Takes no more, commits what waits, gives the file up."""
        with self._wakeup:
            self._closed = True
            self._wakeup.notify_all()
        self._thread.stop()
        for kept in (self._reader, self._writer, self._lock_file):
            kept.close()

    def _write(self) -> None:
        """The writer thread's body. After a fault nobody knows what was committed: the file is asked first."""
        if self._fault:
            self._ask_the_file()
        while True:
            with self._wakeup:
                wait = _REMAKE_SECONDS if self._lost else _PROBE_SECONDS
                asked = self._wakeup.wait_for(lambda: self._waiting or self._settled or self._closed, wait)
                offers, self._waiting = self._waiting, []
                settled, self._settled = self._settled, []
                if asked and not offers and not settled:
                    return
            try:
                self._work(offers, settled)
            except BaseException as error:
                self._fall(offers, settled, error)
                raise

    def _work(self, offers: "list[tuple[bytes, Future[None]]]", settled: list[Item]) -> None:
        """One round. Of files that are lost, what waits in them is still read, and its deletes are written."""
        if self._lost and not self._is_found():
            self._give_back(offers, QueueUnavailable(self._lost))
            offers = []
            if self._remade:  # made again, but not opened yet
                self._keep(settled)
                return
        if offers or settled or self._disk_error:
            self._commit(offers, settled)
        else:
            self._note(self._place.lost())
        if settled and not offers and self._has_spare_pages():
            with suppress(sqlite3.Error):  # a reader is amid it: the next time, then
                self._writer.executescript(_GIVE_BACK)

    def _fall(self, offers: "list[tuple[bytes, Future[None]]]", settled: list[Item], error: BaseException) -> None:
        """The writer ends, nobody knows where: no client waits for it, no delete is forgotten."""
        with self._wakeup:
            self._fault = f"The queue's writer has ended ({type(error).__name__}) and is started again: send the batch again."
            offers, self._waiting = offers + self._waiting, []
            self._settled = settled + self._settled
        for _, future in offers:
            if not future.done():
                _finish(future, QueueUnavailable(self._fault))

    def _ask_the_file(self) -> None:
        """What is in it is what is kept, be it acknowledged or not."""
        if self._remade:
            self._remake()
        if self._writer.in_transaction:
            self._writer.execute("ROLLBACK")
        with self._wakeup:
            settled, self._settled = self._settled, []
        try:
            for run in _runs(settled):
                self._writer.execute(_DELETE, run)
            items, size, last = self._writer.execute(_SIZE).fetchone()
        except BaseException:
            with self._wakeup:
                self._settled = settled + self._settled
            raise
        with self._wakeup:
            self._items, self._bytes = items, size
            self._committed_up_to = max(last, self._committed_up_to)
            self._fault = ""
            self._wakeup.notify_all()

    def _find_place(self) -> Place:
        """The files as they are now, both connections open. Another queue notes here what more it keeps beside them."""
        return Place(self._directory)

    def _note(self, lost: str) -> None:
        """Says once that the files are lost, and once that they are there again."""
        if bool(lost) == bool(self._lost):
            return
        if lost:
            log.error("queue files are gone: requests are refused until they are there again", error=lost)
        else:
            log.info("queue files are there again: requests are taken", directory=str(self._directory))
        with self._wakeup:
            self._lost = f"{lost}, so nothing can be kept: bring the directory back, or start Headrace again." if lost else ""

    def _is_found(self) -> bool:
        """Whether the lost files are back, or could be made again."""
        began = time.monotonic()
        if began < self._remake_at:
            return False
        try:
            if self._remade or self._place.lost():
                self._remake()
        except (HeadraceError, OSError, sqlite3.Error) as error:
            with self._wakeup:
                self._lost = (
                    f"The queue's files in {self._directory} are gone, and cannot be made again now "
                    f"({str(error).rstrip('.')}): bring the directory back, or start Headrace again."
                )
            taken = time.monotonic() - began  # a large backlog that has no room is not copied without end
            self._remake_at = time.monotonic() + max(_REMAKE_SECONDS, 10 * taken)
            return False
        self._note(self._place.lost())
        return not self._lost

    def _remake(self) -> None:
        """A new file in the old place, with all that is in the lost one. Ids stay, and so does what is claimed."""
        path = self._directory / "queue.db"
        if not self._remade:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            self._lock_file = self._place.take(self._lock_file)
            self._place.make_room()
            try:
                self._place.copy(self._writer)
            except BaseException:
                self._place.clear()
                raise
        with self._reader_lock:
            # The last connection to a file removes its log when it closes, by name: not after a new log has that name.
            self._remade = True
            self._reader.close()
            self._writer.close()
            self._writer, self._reader = connect(path), connect(path)
            self._place = self._find_place()
            self._remade = False

    def _has_spare_pages(self) -> bool:
        """Whether a backlog, now drained, has left pages in the file that the disk could have back with little work."""
        if self._freed < _SPARE_BYTES or self._bytes > _LITTLE_BYTES:
            return False
        self._freed = 0
        free, size = (self._writer.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_size"))
        return bool(free * size > _SPARE_BYTES)

    def _commit(self, offers: "list[tuple[bytes, Future[None]]]", settled: list[Item]) -> None:
        """One transaction for everything that waits: concurrent requests share one fsync."""
        now, started = time.time_ns(), time.perf_counter()
        statements = [(_DELETE, run) for run in _runs(settled)] + [
            (insert(len(rows)), tuple(value for envelope, _ in rows for value in (now, envelope, checksum(envelope))))
            for rows in (offers[first : first + _ROWS] for first in range(0, len(offers), _ROWS))
        ]
        try:
            last = self._in_one_transaction(statements or [(_PROBE, ())])
            QUEUE_COMMIT_SECONDS.observe(time.perf_counter() - started)
        except sqlite3.Error as error:
            self._abandon(offers, settled, error)
            return
        lost = self._place.lost()  # before anything is acknowledged
        self._note(lost)
        with self._wakeup:
            self._disk_error = ""
            if offers:
                self._committed_up_to = last
            self._items -= len(settled)
            freed = sum(len(item.envelope) for item in settled)
            self._bytes -= freed
            self._freed += freed
            self._wakeup.notify_all()
        for _, future in offers:
            _finish(future, QueueUnavailable(self._lost) if lost else None)

    def _in_one_transaction(self, statements: "Sequence[tuple[str, tuple[Any, ...]]]") -> int:
        """Returns the id of the last row inserted.

        Each statement gives up Python's lock, and while the worker is busy waits up to 5 ms to have it back: as few as can be,
        therefore, and no BEGIN and COMMIT around a single one.
        """
        if len(statements) == 1:
            return self._writer.execute(*statements[0]).lastrowid or 0
        self._writer.execute("BEGIN IMMEDIATE")
        cursors = [self._writer.execute(*statement) for statement in statements]
        self._writer.execute("COMMIT")
        return cursors[-1].lastrowid or 0

    def _abandon(self, offers: "list[tuple[bytes, Future[None]]]", settled: list[Item], error: sqlite3.Error) -> None:
        """A commit failed (a full disk, say): its clients are told to come back, its deletes are tried again."""
        if self._writer.in_transaction:
            self._writer.execute("ROLLBACK")
        with self._wakeup:
            if not self._disk_error:
                log.error("queue cannot write to its disk", error=str(error))
            self._disk_error = (
                f"The queue cannot write to its disk ({error}): free some space, or make it writable, then send again."
            )
        self._give_back(offers, QueueUnavailable(self._disk_error))
        self._keep(settled)

    def _keep(self, settled: list[Item]) -> None:
        """Deletes to be tried again, unless we stop: what is written once more changes nothing."""
        with self._wakeup:
            if not settled or self._closed:
                return
            self._settled = settled + self._settled
        time.sleep(0.1)  # nobody waits for a delete; do not spin on a full disk

    def _give_back(self, offers: "list[tuple[bytes, Future[None]]]", error: QueueUnavailable) -> None:
        """These are not kept: their clients are told."""
        with self._wakeup:
            self._items -= len(offers)
            self._bytes -= sum(len(envelope) for envelope, _ in offers)
        for _, future in offers:
            _finish(future, error)


def _runs(items: Sequence[Item]) -> list[tuple[int, int]]:
    """Ids, as settled batches have them, as (first, last) of those that follow each other."""
    runs: list[tuple[int, int]] = []
    for item in items:
        if runs and item.id == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], item.id)
        else:
            runs.append((item.id, item.id))
    return runs


def _finish(future: "Future[None]", error: Exception | None = None) -> None:
    """Ends a future, unless its request was cancelled meanwhile (then the item stays: it will be written)."""
    if future.set_running_or_notify_cancel():
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)


@contextmanager
def _unavailable(doing: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise QueueUnavailable(f"The queue cannot be {doing}: {error}.") from error
