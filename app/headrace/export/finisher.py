"""A thread that finishes traces whose root span never came (`mlflow/write/finish.py`). It runs beside the worker."""

from headrace.errors import HeadraceError
from headrace.mlflow.schema import known_shape
from headrace.parts import PartThread
from headrace.store.database import Database
from headrace.telemetry.logging import log_rarely

_MOST_PAUSE_SECONDS = 30.0


class Finisher:
    """A thread that finishes traces of which nothing was written for `quiet_seconds`.

    It does nothing if MLflow's own store writes because the schema is not one that we know.
    """

    def __init__(self, database: Database, quiet_seconds: float) -> None:
        self._database = database
        self._quiet = quiet_seconds
        self._thread = PartThread("finisher", self._run)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread, after the transaction in progress."""
        self._thread.stop()

    def _run(self) -> None:
        pause = min(_MOST_PAUSE_SECONDS, max(0.1, self._quiet / 4))
        while not self._thread.stopping.wait(pause):
            try:
                self._finish_all()
            except HeadraceError as error:  # Postgres is away: they wait longer
                log_rarely("unfinished traces wait", "finisher", error=str(error))

    def _finish_all(self) -> None:
        shape = known_shape(self._database)
        if shape is None:
            return
        from headrace.mlflow.write.finish import finish_quiet  # imports MLflow

        while finish_quiet(self._database, self._quiet, shape) and not self._thread.stopping.is_set():
            pass
