"""The place of a queue's files: whether they still exist there, and how they are made again.

If an open file is removed or replaced, writes to it still succeed, but its bytes vanish with the process. A commit to it is not
durable. So the queue checks its files after each commit, before it acknowledges anything.
"""

import os
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TextIO

from headrace.errors import QueueUnavailable
from headrace.queue.disk.file import lock

_NAMES = ("queue.db", "queue.db-wal")
"""The files that SQLite writes to: at a commit, and later when it moves the commit from the log into the file."""


class Place:
    """The files of the queue in `directory`, as they are when this is made: open, with a log."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._paths = [str(directory / name) for name in _NAMES]
        self._seen = [_identity(path) for path in self._paths]
        self._device = directory.stat().st_dev

    def lost(self) -> str:
        """What has happened to the files. Empty: they are still in their place. This takes 2 µs."""
        for path, seen in zip(self._paths, self._seen, strict=True):
            try:
                if _identity(path) != seen:
                    return f"{path} was replaced while Headrace runs"
            except OSError as error:
                return f"{path} is gone ({error.strerror})"
        return ""

    def take(self, owned: TextIO) -> TextIO:
        """Makes the directory again, and locks it. `owned`: the lock until now, which is closed where the new one is another.

        Raises:
            QueueLocked, QueueUnavailable, OSError: it cannot be made, or is another Headrace's by now.
        """
        if _device_of(self._directory) != self._device:
            raise QueueUnavailable(f"{self._directory} is not on the file system on which it was")
        lock_path = self._directory / "queue.lock"
        kept = lock_path.exists() and _identity(lock_path) == _identity(owned.fileno())
        if kept:
            return owned
        file = lock(self._directory)
        owned.close()
        return file

    def move_others_aside(self) -> None:
        """Moves the files that others have put in the old place into a directory of their own, `replaced-…`.

        Raises:
            OSError: the disk refuses.
        """
        aside = self._directory / f"replaced-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{time.time_ns() % 1_000_000:06}"
        for path in self._directory.glob(f"{_NAMES[0]}*"):
            aside.mkdir(mode=0o700, exist_ok=True)
            path.rename(aside / path.name)

    def copy(self, connection: sqlite3.Connection) -> None:
        """Makes the queue's file again with everything that is in `connection`, the one to the lost file: durably.

        Raises:
            sqlite3.Error, OSError: the old one cannot be read, or the new one not be written.
        """
        with closing(sqlite3.connect(self._paths[0], isolation_level=None)) as fresh:
            fresh.execute("PRAGMA synchronous = EXTRA")
            connection.backup(fresh)
        for path in [self._directory, *self._directory.parents][:3]:  # so many were made again, at the most
            with suppress(PermissionError):
                _sync(path)

    def clear(self) -> None:
        """Removes what `copy` has left."""
        for path in self._directory.glob(f"{_NAMES[0]}*"):
            path.unlink(missing_ok=True)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _identity(path: str | Path | int) -> tuple[int, int]:
    stat = os.stat(path)
    return stat.st_dev, stat.st_ino


def _device_of(path: Path) -> int:
    """The file system of a directory, or of the nearest one above it that is there."""
    while True:
        try:
            return path.stat().st_dev
        except FileNotFoundError:
            path = path.parent
