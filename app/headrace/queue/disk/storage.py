"""The disk queue's files, open: one connection that writes, and one that reads.

Every statement that the running queue executes stands here. `Committer` calls what writes, from its one thread; the rest may be
called from any thread.
"""

import sqlite3
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from headrace.errors import QueueUnavailable
from headrace.queue import Item
from headrace.queue.disk.file import SET_FORMAT, checksum, connect, insert, lock, open_sound
from headrace.queue.disk.place import Place

Statement = tuple[str, tuple[Any, ...]]

_COUNT = "SELECT count(*), coalesce(sum(length(envelope)), 0), coalesce(max(id), 0) FROM item"
_OLDEST = "SELECT offered_unix_nano FROM item ORDER BY id LIMIT 1"
_AFTER = "SELECT id, envelope, crc32 FROM item WHERE id > ? ORDER BY id"
_DELETE = "DELETE FROM item WHERE id BETWEEN ? AND ?"
_GIVE_BACK = "VACUUM; PRAGMA wal_checkpoint(TRUNCATE)"

PROBE: Statement = (SET_FORMAT, ())
"""Changes nothing, but is written (an UPDATE to the same value is not): a disk that takes nothing shall not look well."""

_ROWS = 64
"""Most rows of one INSERT. The connection keeps 128 statements compiled, and each number of rows is one."""


class Row(NamedTuple):
    """One item as it is stored; `crc32` is None where an older Headrace stored it."""

    id: int
    envelope: bytes
    crc32: int | None


class Count(NamedTuple):
    """What the file holds: items, bytes of their envelopes, and the id of the last one."""

    items: int
    bytes: int
    last_id: int


class Storage:
    """The files of the queue in `directory`. `on_placed` is called when they are there, now and after each `make_again`.

    Raises:
        QueueLocked: another process owns this directory's queue.
        QueueUnavailable: the directory cannot be written, or a later Headrace wrote it. Besides, what `on_placed` raises.
    """

    def __init__(self, directory: Path, on_placed: Callable[[], None]) -> None:
        self.directory = directory
        self._on_placed = on_placed
        self._lock_file = lock(directory)
        self._reader_lock = threading.Lock()
        self.half_made = False
        """The files were made again, but are not open yet: nothing can be written."""
        with ExitStack() as undo, unavailable("opened"):
            undo.callback(self._lock_file.close)
            self._writer = undo.enter_context(closing(open_sound(directory)))
            self._reader = undo.enter_context(closing(connect(directory / "queue.db")))
            self._place = self._placed()
            undo.pop_all()

    def close(self) -> None:
        """Closes the files. Another process may own the queue from then on."""
        with self._reader_lock:
            self._reader.close()
        self._writer.close()
        self._lock_file.close()

    def rows_after(self, id_: int) -> "Generator[Row, None, None]":
        """The items after this one, oldest first. Close the generator: else the log cannot be checkpointed.

        Raises:
            QueueUnavailable: the file cannot be read.
        """
        with self._reader_lock, unavailable("read"):
            rows = self._reader.execute(_AFTER, (id_,))
            try:
                yield from map(Row._make, rows)
            finally:
                rows.close()  # ends the read transaction

    def oldest(self) -> int:
        """When the oldest item was offered, in Unix nanoseconds; 0: there is none.

        Raises:
            QueueUnavailable: the file cannot be read.
        """
        with self._reader_lock, unavailable("read"):
            row = self._reader.execute(_OLDEST).fetchone()
        return row[0] if row else 0

    def transact(self, statements: Sequence[Statement]) -> int:
        """Executes these in one transaction, and one fsync. Returns the id of the last row inserted.

        Each statement gives up Python's lock. While another thread is busy it waits up to 5 ms to have it back. So there are as
        few statements as can be, and no BEGIN and COMMIT around a single one.

        Raises:
            sqlite3.Error: nothing is known to be written; see `roll_back`.
        """
        if len(statements) == 1:
            return self._writer.execute(*statements[0]).lastrowid or 0
        self._writer.execute("BEGIN IMMEDIATE")
        cursors = [self._writer.execute(*statement) for statement in statements]
        self._writer.execute("COMMIT")
        return cursors[-1].lastrowid or 0

    def roll_back(self) -> None:
        """Ends a transaction that an error has left open. Raises sqlite3.Error."""
        if self._writer.in_transaction:
            self._writer.execute("ROLLBACK")

    def count(self) -> Count:
        """What the file holds. Reads all of it. Raises sqlite3.Error."""
        return Count._make(self._writer.execute(_COUNT).fetchone())

    def free_bytes(self) -> int:
        """Bytes of the file that nothing is stored in. Raises sqlite3.Error."""
        pages, size = (self._writer.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_size"))
        return int(pages * size)

    def give_back(self) -> None:
        """Gives the free bytes back to the disk, unless a reader is amid the file: the next time, then."""
        with suppress(sqlite3.Error):
            self._writer.executescript(_GIVE_BACK)

    def lost(self) -> str:
        """What has become of the files; empty: they are where they were. Costs 2 µs."""
        return self._place.lost()

    def make_again(self) -> None:
        """A new file in the old place, with all that is in the lost one. The ids stay.

        Raises:
            HeadraceError, OSError, sqlite3.Error: not now. Where `half_made` is set since, the next call goes on from there.
        """
        if not self.half_made:
            self.roll_back()
            self._lock_file = self._place.take(self._lock_file)
            self._place.move_others_aside()
            try:
                self._place.copy(self._writer)
            except BaseException:
                self._place.clear()
                raise
        with self._reader_lock:
            # The last connection to a file removes its log when it closes, by name: not after a new log has that name.
            self.half_made = True
            self._reader.close()
            self._writer.close()
            path = self.directory / "queue.db"
            self._writer, self._reader = connect(path), connect(path)
            self._place = self._placed()
            self.half_made = False

    def _placed(self) -> Place:
        """The files as they are now, both connections open."""
        self._on_placed()
        return Place(self.directory)


def deletes(items: Sequence[Item]) -> list[Statement]:
    """The statements that delete these items: one for each run of ids that follow each other, as settled batches have them."""
    runs: list[tuple[int, int]] = []
    for item in items:
        assert isinstance(item.token, int)  # noqa: S101 - `DiskQueue` made it
        if runs and item.token == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], item.token)
        else:
            runs.append((item.token, item.token))
    return [(_DELETE, run) for run in runs]


def inserts(envelopes: Sequence[bytes], offered_unix_nano: int) -> list[Statement]:
    """The statements that store these envelopes, in this order."""
    return [
        (insert(len(some)), tuple(value for envelope in some for value in (offered_unix_nano, envelope, checksum(envelope))))
        for some in (envelopes[first : first + _ROWS] for first in range(0, len(envelopes), _ROWS))
    ]


@contextmanager
def unavailable(doing: str) -> Iterator[None]:
    """SQLite's errors, as the queue's callers know them."""
    try:
        yield
    except sqlite3.Error as error:
        raise QueueUnavailable(f"The queue cannot be {doing}: {error}.") from error
