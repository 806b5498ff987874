"""A thread that deletes the traces which HEADRACE_RETENTION does not let stay (`mlflow/write/retain.py`). It runs beside the
worker."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from headrace.config.retention import RetentionRule
from headrace.errors import HeadraceError
from headrace.export.housekeeper import Housekeeper
from headrace.store.database import Database
from headrace.telemetry.logging import log, log_rarely

if TYPE_CHECKING:
    from headrace.mlflow.write.retain import Share

_FIRST_SECONDS = 300.0
_PAUSE_SECONDS = 3600.0
_LEAST_REST_SECONDS = 0.02


class Retainer(Housekeeper):
    """A thread that looks five minutes after the start, and then each hour. It deletes a few traces at a time, and rests as
    long as that took: Postgres has half of the time for all else."""

    def __init__(self, database: Database, rules: Sequence[RetentionRule], first_seconds: float = _FIRST_SECONDS) -> None:
        super().__init__("retainer", database, first_seconds, _PAUSE_SECONDS)
        self._rules = rules

    def _put_off(self, error: HeadraceError) -> None:
        log_rarely("old traces wait to be deleted", "retainer", error=str(error))

    def _turn(self) -> None:
        from headrace.mlflow.write.retain import shares  # imports MLflow

        for share in shares(self._database, self._rules):
            gone = sum(self._expire(share))
            if gone:
                log.info("old traces deleted", experiment=share.name, experiment_id=share.experiment_id, traces=gone)

    def _expire(self, share: "Share") -> Iterator[int]:
        for step in steps(self._database, share):
            yield step[0]
            if self._rests(step[2]):
                return


def steps(database: Database, share: "Share") -> Iterator[tuple[int, Counter[str], float]]:
    """Deletes what is due of one experiment, a few traces a step. Each step gives how many went, how many stayed and why, and
    for how many seconds to rest before the next.

    Raises:
        DatabaseUnavailable, PermanentExportError.
    """
    from headrace.mlflow.write.retain import due, expire

    until, after = due(database, share), None
    while until is not None:
        began = time.monotonic()
        step = expire(database, share, until, after)
        yield step.gone, step.stayed, max(_LEAST_REST_SECONDS, time.monotonic() - began)
        if step.last is None:
            return
        after = step.last
