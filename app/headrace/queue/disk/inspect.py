"""Looks at queues from outside, whether their owner runs or not. It changes nothing in them."""

import fcntl
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError

from headrace.envelope import Delivery
from headrace.queue.disk.directories import queue_directories
from headrace.queue.disk.file import FORMAT, damaged_directories, find_damage, is_intact

_SIZE = "SELECT count(*), coalesce(sum(length(envelope)), 0), coalesce(min(offered_unix_nano), 0) FROM item"
_NEXT = "SELECT id, envelope, crc32 FROM item WHERE id > ? ORDER BY id LIMIT 1"


@dataclass(frozen=True, slots=True)
class Status:
    """One queue. `owner` is the id of the process that owns it, 0 if none does. `file_bytes` includes the log."""

    directory: Path
    owner: int
    format: int
    requests: int
    bytes: int
    oldest_unix_nano: int
    file_bytes: int
    disk_free_bytes: int
    moved_aside: list[Path]


@dataclass(frozen=True, slots=True)
class Checked:
    """One request in a queue: the number of its records (spans, log records, data points), and what is wrong with it. Empty:
    nothing."""

    id: int
    records: int
    damage: str


def used_queues(data_dir: Path) -> list[Path]:
    """The queues of a data directory that have a file, or a damaged file that was moved aside."""
    return [path for path in queue_directories(data_dir) if (path / "queue.db").exists() or damaged_directories(path)]


def status(directory: Path) -> Status:
    """How full a queue is.

    Raises:
        sqlite3.Error: its file cannot be read; `find_damage` says why.
    """
    format_, size = FORMAT, (0, 0, 0)
    if (directory / "queue.db").exists():
        with closing(_open(directory)) as connection:
            format_ = connection.execute("PRAGMA user_version").fetchone()[0]
            size = connection.execute(_SIZE).fetchone()
    return Status(
        directory,
        _owner(directory),
        format_,
        *size,
        file_bytes=sum(path.stat().st_size for path in directory.glob("queue.db*")),
        disk_free_bytes=shutil.disk_usage(directory).free,
        moved_aside=sorted(directory.glob("damaged-*")),
    )


def damage(directory: Path) -> str:
    """What is wrong with a queue's file as a whole. Empty: nothing. This reads the whole file."""
    path = directory / "queue.db"
    return find_damage(path) if path.exists() else ""


def check_requests(directory: Path) -> Iterator[Checked]:
    """Reads each request as the worker would. Each is read in a transaction of its own, so that the owner can empty its log
    meanwhile.

    Raises:
        sqlite3.Error: the file cannot be read further.
    """
    with closing(_open(directory)) as connection:
        last = 0
        while row := connection.execute(_NEXT, (last,)).fetchone():
            last, envelope, crc = row
            yield _check(last, envelope, crc)


def _check(id_: int, envelope: bytes, crc: int | None) -> Checked:
    if not is_intact(envelope, crc):
        return Checked(id_, 0, "its checksum does not match")
    try:
        delivery = Delivery.from_envelope(envelope)
    except (DecodeError, ValueError) as error:
        return Checked(id_, 0, f"it cannot be parsed: {error}")
    return Checked(id_, delivery.signal.form.count(delivery.request), "")


def _open(directory: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{(directory / 'queue.db').as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=10)
    if connection.execute("PRAGMA user_version").fetchone()[0] == 1:  # it had no checksums
        connection.execute("CREATE TEMP VIEW item AS SELECT id, offered_unix_nano, envelope, NULL AS crc32 FROM main.item")
    return connection


def _owner(directory: Path) -> int:
    try:
        with (directory / "queue.lock").open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return int(file.read().strip() or 0)
    except (OSError, ValueError):
        pass
    return 0
