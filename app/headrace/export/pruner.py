"""A thread that deletes, once a day, what nobody needs any more in our own tables (`mlflow/write/prune.py`). It runs beside the
worker."""

from headrace.errors import HeadraceError
from headrace.export.housekeeper import Housekeeper
from headrace.store.database import Database
from headrace.store.waiting_metrics import expire as expire_metrics
from headrace.telemetry.logging import log_rarely

_FIRST_SECONDS = 600.0
_PAUSE_SECONDS = 86_400.0
_WEEK_SECONDS = 604_800.0
_REST_SECONDS = 0.02
"""Between two transactions: the writer comes first."""


class Pruner(Housekeeper):
    """A thread that deletes what is remembered of traces that have come to rest, origins which were not used for `days` days
    and which no span names, and what of the index is older than `index_days` days, or of traces that are gone; and the
    intervals of runs that are gone.

    It looks ten minutes after the start, and then once a day. A search in progress is broken off when the thread has to stop,
    and deletes nothing.
    """

    def __init__(self, database: Database, days: int, index_days: int, first_seconds: float = _FIRST_SECONDS) -> None:
        super().__init__("pruner", database, first_seconds, _PAUSE_SECONDS)
        self._days = days
        self._index_days = index_days

    def _put_off(self, error: HeadraceError) -> None:
        log_rarely("old rows wait to be deleted", "pruner", error=str(error))

    def _turn(self) -> None:
        from headrace.mlflow.metrics.prune import prune_deltas
        from headrace.mlflow.write.prune import forget_traces, prune_index, prune_logged_traces, prune_origins  # imports MLflow

        while forget_traces(self._database) and not self._rests(_REST_SECONDS):
            pass
        while prune_deltas(self._database) and not self._rests(_REST_SECONDS):
            pass
        while prune_index(self._database, self._index_days) and not self._rests(_REST_SECONDS):
            pass
        prune_logged_traces(self._database)
        while sum(expire_metrics(self._database, _WEEK_SECONDS)) and not self._rests(_REST_SECONDS):
            pass  # of a HEADRACE_METRICS_FORWARD that is not set any more: no setting lets them wait for so long
        while prune_origins(self._database, self._days, self._thread.stopping):
            pass
