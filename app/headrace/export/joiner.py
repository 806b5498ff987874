"""A thread that looks after the log records that wait for their span (`mlflow/write/waiting.py`). It runs beside the worker."""

import time
from collections.abc import Callable
from typing import Any

from headrace.errors import HeadraceError, TablesChanged
from headrace.export.housekeeper import Housekeeper
from headrace.mlflow.write import Writer
from headrace.store.database import Database
from headrace.telemetry.logging import log, log_rarely

_PAUSE_SECONDS = 1.0
_EXPIRE_SECONDS = 60.0


class Joiner(Housekeeper):
    """A thread that joins log records which a writer of spans has missed, and deletes those that have waited too long."""

    def __init__(
        self,
        database: Database,
        open_writer: Callable[[Database], Writer[Any]],
        wait_seconds: float,
        max_bytes: int,
        pause_seconds: float = _PAUSE_SECONDS,
    ) -> None:
        super().__init__("joiner", database, pause_seconds, pause_seconds)
        self._open_writer = open_writer
        self._wait_seconds = wait_seconds
        self._max_bytes = max_bytes
        self._writer: Writer[Any] | None = None
        self._expire_at = 0.0

    def _put_off(self, error: HeadraceError) -> None:
        if isinstance(error, TablesChanged):
            self._writer = None
        else:
            log_rarely("log records wait for their spans", "joiner", error=str(error))

    def _turn(self) -> None:
        from headrace.mlflow.write.bulk import BulkWriter  # imports MLflow
        from headrace.mlflow.write.waiting import look_again

        if self._writer is None:
            self._writer = self._open_writer(self._database)
        if not isinstance(self._writer, BulkWriter):
            return
        while look_again(self._writer, self._database) and not self._thread.stopping.is_set():
            pass
        self._expire()

    def _expire(self) -> None:
        from headrace.mlflow.write.waiting import expire

        if time.monotonic() < self._expire_at:
            return
        self._expire_at = time.monotonic() + _EXPIRE_SECONDS
        expired = 0
        while (more := expire(self._database, self._wait_seconds, self._max_bytes)) and not self._thread.stopping.is_set():
            expired += more
        if expired:
            log.warning(
                "log records were deleted, because their spans did not come",
                records=expired,
                hint="Are the spans sampled, or sent elsewhere? See HEADRACE_LOGS_WAIT_SECONDS, HEADRACE_LOGS_WAIT_MAX_BYTES.",
            )
