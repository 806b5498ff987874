"""Handles files of the disk queue that were removed or replaced while it runs. Nothing is acknowledged until they are made
again."""

import sqlite3
import time

from headrace.errors import HeadraceError
from headrace.queue.disk.ledger import Ledger, Trouble
from headrace.queue.disk.storage import Storage
from headrace.telemetry.logging import log

_PAUSE_SECONDS = 0.2
_PAUSE_FACTOR = 10
"""Two tries are at least 0.2 s apart, and at least ten times as long as the last try took. Otherwise a large backlog that does
not fit onto the disk would be copied all the time."""


class LostFiles:
    """Keeps track of whether the files are lost, notes it in the ledger, and has them made again. Only the writer's thread may
    call it."""

    def __init__(self, ledger: Ledger, storage: Storage) -> None:
        self._ledger = ledger
        self._storage = storage
        self._try_at = 0.0

    @property
    def reason(self) -> str:
        """What clients are told while the files are lost. Empty: the files exist."""
        return self._ledger.trouble(Trouble.FILES_LOST)

    @property
    def are_lost(self) -> bool:
        """Whether the files were lost when they were last checked."""
        return bool(self.reason)

    def note(self, lost: str) -> None:
        """Takes the result of `Storage.lost`. Logs once when the files are lost, and once when they exist again."""
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
