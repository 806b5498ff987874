"""When the disk queue's files are gone or replaced under its hands: nothing more is acknowledged until they are made again."""

import sqlite3
import time

from headrace.errors import HeadraceError
from headrace.queue.disk.ledger import Ledger, Trouble
from headrace.queue.disk.storage import Storage
from headrace.telemetry.logging import log

_PAUSE_SECONDS = 0.2
_PAUSE_FACTOR = 10
"""Between two tries lie 0.2 s at least, and ten times as long as the last one took: a large backlog for which the disk has no
space is not copied without end."""


class LostFiles:
    """Knows whether the files are lost, says so in the ledger, and has them made again. Only the writer's thread calls it."""

    def __init__(self, ledger: Ledger, storage: Storage) -> None:
        self._ledger = ledger
        self._storage = storage
        self._try_at = 0.0

    @property
    def reason(self) -> str:
        """What clients are told while the files are lost; empty: they are there."""
        return self._ledger.trouble(Trouble.FILES_LOST)

    @property
    def are_lost(self) -> bool:
        """Whether they were lost at the last look."""
        return bool(self.reason)

    def note(self, lost: str) -> None:
        """Takes what `Storage.lost` says. Logs once that the files are lost, and once that they are there again."""
        if bool(lost) == self.are_lost:
            return
        if lost:
            log.error("queue files are gone: requests are refused until they are there again", error=lost)
            lost = f"{lost}, so nothing can be kept: bring the directory back, or start Headrace again."
        else:
            log.info("queue files are there again: requests are taken", directory=str(self._storage.directory))
        self._ledger.set_trouble(Trouble.FILES_LOST, lost)

    def find(self) -> bool:
        """Returns whether the lost files are back, or could be made again now."""
        began = time.monotonic()
        if began < self._try_at:
            return False
        try:
            if self._storage.half_made or self._storage.lost():
                self._storage.make_again()
        except (HeadraceError, OSError, sqlite3.Error) as error:
            self._ledger.set_trouble(
                Trouble.FILES_LOST,
                f"The queue's files in {self._storage.directory} are gone, and cannot be made again now "
                f"({str(error).rstrip('.')}): bring the directory back, or start Headrace again.",
            )
            now = time.monotonic()
            self._try_at = now + max(_PAUSE_SECONDS, _PAUSE_FACTOR * (now - began))
            return False
        self.note(self._storage.lost())
        return not self.are_lost
