"""A thread that finishes traces whose root span never came (`mlflow/write/finish.py`). It runs beside the worker."""

from headrace.errors import HeadraceError
from headrace.export.housekeeper import Housekeeper
from headrace.store.database import Database
from headrace.telemetry.logging import log_rarely

_MOST_PAUSE_SECONDS = 30.0


class Finisher(Housekeeper):
    """A thread that finishes traces of which nothing was written for `quiet_seconds`."""

    def __init__(self, database: Database, quiet_seconds: float) -> None:
        pause = min(_MOST_PAUSE_SECONDS, max(0.1, quiet_seconds / 4))
        super().__init__("finisher", database, pause, pause)
        self._quiet = quiet_seconds

    def _put_off(self, error: HeadraceError) -> None:
        log_rarely("unfinished traces wait", "finisher", error=str(error))

    def _turn(self) -> None:
        from headrace.mlflow.write.finish import finish_quiet  # imports MLflow

        while finish_quiet(self._database, self._quiet, self._shape) and not self._thread.stopping.is_set():
            pass
