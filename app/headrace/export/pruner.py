"""Beside the worker: deletes, once a day, the resources and scopes that no stored span names (`mlflow/write/prune.py`)."""

from headrace.errors import HeadraceError
from headrace.mlflow.schema import known_shape
from headrace.parts import PartThread
from headrace.store.database import Database
from headrace.telemetry.logging import log_rarely

_FIRST_SECONDS = 600.0
_PAUSE_SECONDS = 86_400.0


class Pruner:
    """A thread that deletes origins which were not used for `days` days and which no span names.

    It looks ten minutes after the start, and then once a day. Where MLflow's own store writes, it does nothing.
    """

    def __init__(self, database: Database, days: int, first_seconds: float = _FIRST_SECONDS) -> None:
        self._database = database
        self._days = days
        self._first_seconds = first_seconds
        self._thread = PartThread("pruner", self._run)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends it. A look at the spans is broken off, and deletes nothing."""
        self._thread.stop()

    def _run(self) -> None:
        pause = self._first_seconds
        while not self._thread.stopping.wait(pause):
            try:
                self._prune()
                pause = _PAUSE_SECONDS
            except HeadraceError as error:  # Postgres is away
                pause = self._first_seconds
                log_rarely("unused origins wait to be deleted", "pruner", error=str(error))

    def _prune(self) -> None:
        if known_shape(self._database) is None:
            return
        from headrace.mlflow.write.prune import prune_origins  # imports MLflow

        while prune_origins(self._database, self._days, self._thread.stopping):
            pass
