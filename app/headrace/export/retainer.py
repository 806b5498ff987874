"""A thread that deletes the traces which HEADRACE_RETENTION does not let stay (`mlflow/write/retain.py`). It runs beside the
worker."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from headrace.config.retention import RetentionRule
from headrace.errors import HeadraceError
from headrace.mlflow.schema import known_shape
from headrace.parts import PartThread
from headrace.store.database import Database
from headrace.telemetry.logging import log, log_rarely

if TYPE_CHECKING:
    from headrace.mlflow.write.retain import Share

_FIRST_SECONDS = 300.0
_PAUSE_SECONDS = 3600.0
_LEAST_REST_SECONDS = 0.02


class Retainer:
    """A thread that looks five minutes after the start, and then each hour. It deletes a few traces at a time, and rests as
    long as that took: Postgres has half of the time for all else. It does nothing if MLflow's own store writes."""

    def __init__(self, database: Database, rules: Sequence[RetentionRule], first_seconds: float = _FIRST_SECONDS) -> None:
        self._database = database
        self._rules = rules
        self._first_seconds = first_seconds
        self._thread = PartThread("retainer", self._run)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread, after the transaction in progress."""
        self._thread.stop()

    def _run(self) -> None:
        pause = self._first_seconds
        while not self._thread.stopping.wait(pause):
            try:
                self._expire_all()
                pause = _PAUSE_SECONDS
            except HeadraceError as error:  # Postgres is away
                pause = self._first_seconds
                log_rarely("old traces wait to be deleted", "retainer", error=str(error))

    def _expire_all(self) -> None:
        if known_shape(self._database) is None:
            return
        from headrace.mlflow.write.retain import shares  # imports MLflow

        for share in shares(self._database, self._rules):
            gone = sum(self._expire(share))
            if gone:
                log.info("old traces deleted", experiment=share.name, experiment_id=share.experiment_id, traces=gone)

    def _expire(self, share: "Share") -> Iterator[int]:
        for step in steps(self._database, share):
            yield step[0]
            if self._thread.stopping.wait(step[2]):
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
