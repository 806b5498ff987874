"""Beside the worker: finishes, from time to time, the traces whose root span never comes (`exporter/finish.py`)."""

import threading

from app.database import Database
from app.errors import HeadraceError
from app.exporter.schema import knows_schema
from app.telemetry import log_rarely

_MOST_PAUSE_SECONDS = 30.0


class Finisher:
    """A thread that finishes traces of which nothing was written for `quiet_seconds`.

    Where MLflow's own store writes, as the schema is not one that we know, it does nothing.
    """

    def __init__(self, database: Database, quiet_seconds: float) -> None:
        self._database = database
        self._quiet = quiet_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="headrace-finisher", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends it. A transaction under way ends first."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        pause = min(_MOST_PAUSE_SECONDS, max(0.1, self._quiet / 4))
        while not self._stop.wait(pause):
            try:
                self._finish_all()
            except HeadraceError as error:  # Postgres is away: they wait longer
                log_rarely("unfinished traces wait", "finisher", error=str(error))

    def _finish_all(self) -> None:
        if not knows_schema(self._database):
            return
        from app.exporter.finish import finish_quiet  # imports MLflow

        while finish_quiet(self._database, self._quiet) and not self._stop.is_set():
            pass
