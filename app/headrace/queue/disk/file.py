"""The queue's file: its format, and what is done when it is damaged.

SQLite has checksums for the frames of its log, but none for its pages. A disk, or another program, may change the file. This
module finds that out: `PRAGMA quick_check` at each start checks the tree of pages, and a CRC-32 checks each envelope.
"""

import fcntl
import multiprocessing
import sqlite3
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TextIO

from headrace.errors import QueueLocked, QueueUnavailable
from headrace.telemetry.logging import log
from headrace.telemetry.metrics import QUEUE_DAMAGED

FORMAT = 2
"""Kept in SQLite's `user_version`; raised when the table changes. 2: `crc32`."""
SET_FORMAT = f"PRAGMA user_version = {FORMAT}"

_SCHEMA = """
CREATE TABLE item (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again, so that a claim cannot meet another item's id
    offered_unix_nano INTEGER NOT NULL,
    envelope BLOB NOT NULL,
    crc32 INTEGER  -- of the envelope; NULL where an older Headrace wrote it
)
"""
_SELECT = "SELECT offered_unix_nano, envelope, crc32 FROM item WHERE id = ?"
_IDS = ("SELECT id FROM item ORDER BY id", "SELECT id FROM item ORDER BY id DESC")
_PIECE_BYTES = 5 * 1024
_LARGE_BYTES = 256 * 1024
_NAME = "queue.db"
_SALVAGED = "-salvaged"


def insert(rows: int) -> str:
    """The statement that adds this many items. Its values for each item are the columns of `_SELECT`."""
    values = ", ".join(["(?, ?, ?)"] * rows)
    return f"INSERT INTO item (offered_unix_nano, envelope, crc32) VALUES {values}"  # noqa: S608 - nothing but question marks


def lock(directory: Path) -> TextIO:
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
        found = file.read().strip() or "unknown"
        file.close()
        raise QueueLocked(
            f"Another Headrace (process {found}) uses {directory}: stop it, or set HEADRACE_DATA_DIR to another directory."
        ) from None
    # Whom to stop: one of several workers alone would be started again by its parent.
    owner = multiprocessing.parent_process() or multiprocessing.current_process()
    file.truncate(0)
    file.write(str(owner.pid))
    file.flush()
    return file


def open_sound(directory: Path) -> sqlite3.Connection:
    """Opens the queue's file, and makes it if there is none. A damaged file is moved aside, and what can be read of it is
    copied into a new one.

    Raises:
        QueueUnavailable: a later Headrace wrote it. sqlite3.Error: the disk refuses.
    """
    path = directory / _NAME
    if not path.exists():
        _finish_move(directory)
    elif damage := find_damage(path):
        QUEUE_DAMAGED.labels("file").inc()
        aside = _move_aside(directory)
        log.error("queue file is damaged: moved aside", damage=damage, moved_to=str(aside))
    connection = connect(path)
    for aside in damaged_directories(directory):
        if not aside.name.endswith(_SALVAGED):
            requests, lost = _take_over(connection, aside)
            kept = aside.rename(aside.with_name(aside.name + _SALVAGED))
            log.warning("damaged queue file read", requests_saved=requests, requests_lost=lost, file=str(kept / _NAME))
    return connection


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode; transactions are begun by hand. The queue's locks make it safe across threads.

    Raises:
        QueueUnavailable: a later Headrace wrote the file. sqlite3.Error: it cannot be opened.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found > FORMAT:
        connection.close()
        raise QueueUnavailable(
            f"{path} was written by a later Headrace (format {found}; this one knows {FORMAT}): run that version."
        )
    # With WAL it is FULL. Before that, in a new file, FULL would leave the removal of the rollback journal to chance: one that
    # comes back after a power cut takes the log away from the file.
    connection.execute("PRAGMA synchronous = EXTRA")
    connection.execute("PRAGMA journal_mode = WAL")
    # Some distributions build SQLite so that it overwrites what is deleted with zeros, by way of the log. A full disk has no
    # room for that: nothing could be deleted any more.
    connection.execute("PRAGMA secure_delete = OFF")
    connection.execute(f"PRAGMA journal_size_limit = {64 * 1024 * 1024}")
    if found < FORMAT:
        _upgrade(connection, found)
    return connection


def _upgrade(connection: sqlite3.Connection, found: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    if found == 0:
        connection.execute(_SCHEMA)
    else:
        connection.execute("ALTER TABLE item ADD COLUMN crc32 INTEGER")
    connection.execute(SET_FORMAT)
    connection.execute("COMMIT")


def find_damage(path: Path) -> str:
    """What is wrong with the file. Empty: nothing. This reads the whole file; 1 GB takes one or two seconds."""
    try:
        with closing(sqlite3.connect(path, timeout=10)) as connection:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            return "" if found == "ok" else str(found)
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            return str(error)
        raise


def is_damage(error: sqlite3.Error) -> bool:
    """Whether this error means a broken file (SQLITE_CORRUPT, SQLITE_NOTADB), not a full disk or a locked file."""
    return type(error) is sqlite3.DatabaseError  # the others are its subclasses


def damaged_directories(directory: Path) -> list[Path]:
    """The places that damaged files of this queue were moved to, the oldest first."""
    return sorted(path for path in directory.glob("damaged-*") if path.is_dir())


def _move_aside(directory: Path) -> Path:
    aside = directory / f"damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{time.time_ns() % 1_000_000:06}"
    aside.mkdir(mode=0o700)
    (directory / _NAME).rename(aside / _NAME)
    _finish_move(directory)
    return aside


def _finish_move(directory: Path) -> None:
    """Moves a damaged file aside, with its log. A log without its file would be taken for the log of the next file."""
    for suffix in ("-wal", "-shm"):
        left = directory / (_NAME + suffix)
        if left.exists() and (asides := damaged_directories(directory)):
            left.rename(asides[-1] / left.name)


def _take_over(into: sqlite3.Connection, aside: Path) -> tuple[int, int]:
    """Copies what can be read of a damaged file. Returns how many requests were copied, and how many are known to be lost."""
    saved = lost = 0
    into.execute("BEGIN IMMEDIATE")
    try:
        for item in _readable_items(aside / _NAME):
            if item is None:
                lost += 1
            else:
                into.execute(insert(1), item)
                saved += 1
    except sqlite3.DatabaseError as error:  # not even its first page can be read
        log.error("damaged queue file cannot be read", file=str(aside / _NAME), error=str(error))
    into.execute("COMMIT")
    return saved, lost


def _readable_items(path: Path) -> "Iterator[tuple[int, bytes, int] | None]":
    """Yields the items as `insert` takes them, oldest first. None stands for an item that exists and cannot be read."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as connection:
        connection.execute("PRAGMA writable_schema = ON")  # else a file that was cut short is not read at all
        columns = {row[1] for row in connection.execute("PRAGMA table_info(item)")}
        query = _SELECT if "crc32" in columns else _SELECT.replace("crc32", "NULL")
        for id_ in _readable_ids(connection):
            item = None
            with suppress(sqlite3.DatabaseError):
                offered, envelope, crc = connection.execute(query, (id_,)).fetchone()
                if isinstance(envelope, bytes) and isinstance(offered, int) and is_intact(envelope, crc):
                    item = offered, envelope, checksum(envelope)
            yield item


def _readable_ids(connection: sqlite3.Connection) -> list[int]:
    """Reads from both ends until a page cannot be read. What lies between the two unreadable pages is lost."""
    found: set[int] = set()
    for query in _IDS:
        with suppress(sqlite3.DatabaseError):
            for (id_,) in connection.execute(query):
                found.add(id_)
    return sorted(found)


def is_intact(envelope: bytes, crc: int | None) -> bool:
    """Whether an item is what was stored."""
    return crc is None or checksum(envelope) == crc


def checksum(envelope: bytes) -> int:
    """CRC-32, computed in pieces: zlib releases Python's lock for more than 5 KiB at once, and may then wait up to 5 ms to get
    it back."""
    if len(envelope) > _LARGE_BYTES:
        return zlib.crc32(envelope)
    crc = 0
    for start in range(0, len(envelope), _PIECE_BYTES):
        crc = zlib.crc32(envelope[start : start + _PIECE_BYTES], crc)
    return crc
