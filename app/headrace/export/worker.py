"""The other side of the queue: claim → translate → write → settle, off the event loop.

`export_once()` is the whole of it; the running worker translates one batch ahead. What Postgres cannot take now is kept and
tried again; what it can never take goes to `headrace.dead_letter`, span by span, and the rest is written (`export.py`).
"""

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from headrace import tracing
from headrace.config import Config
from headrace.errors import DatabaseUnavailable, HeadraceError, StartError
from headrace.export.exporter import Exporter
from headrace.export.retry import attempts
from headrace.mlflow.write import Translated
from headrace.parts import PartThread
from headrace.queue import Item, Queue
from headrace.store.database import Database
from headrace.store.dead_letters import store
from headrace.telemetry.logging import log
from headrace.telemetry.metrics import EXPORT_LOOP_SECONDS, EXPORT_RETRYING, WRITE_RETRIES

_IDLE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Batch:
    """What was claimed at once, translated already if all went well."""

    items: Sequence[Item]
    translated: Translated[Any] | None
    stages: tuple[tracing.Stage, ...]


class Worker:
    """Carries the queue's items to MLflow until it is stopped."""

    def __init__(self, config: Config, queue: Queue, database: Database, exporter: Exporter) -> None:
        self._batch_max_bytes = config.batch_max_bytes
        self._queue = queue
        self._database = database
        self._exporter = exporter
        self._in_hand: deque[Sequence[Item]] = deque()  # claimed, in this order, and not settled yet
        self._thread = PartThread("worker", self._run)
        self._stop = self._thread.stopping

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Lets the batch in hand end or be given back, then ends the thread. What is not settled stays in the queue."""
        self._exporter.stopping.set()
        self._thread.stop()

    def export_once(self, timeout: float = _IDLE_SECONDS) -> int:
        """Takes one batch all the way; returns the number of requests that it settled."""
        return self._finish(self._claim(timeout))

    def _run(self) -> None:
        """The thread's body. The queue hands out no item twice: what an earlier run of this had in hand comes first."""
        self._finish(None)  # opens the writer, which imports MLflow, before the first batch asks for it
        while self._in_hand and not self._stop.is_set():
            self._finish(_Batch(self._in_hand[0], None, ()))
        with ThreadPoolExecutor(1, "headrace-translate") as ahead:
            # While Postgres works on one batch, the next one is translated.
            following = ahead.submit(self._claim, _IDLE_SECONDS)
            while not self._stop.is_set():
                batch = following.result()
                following = ahead.submit(self._claim, _IDLE_SECONDS)
                self._finish(batch)

    def _claim(self, timeout: float) -> "_Batch | None":
        """The next batch, translated if that can be done now."""
        began = time.time_ns()
        try:
            items = self._queue.claim(self._batch_max_bytes, timeout)
        except HeadraceError as error:
            log.error("worker cannot read the queue", error=str(error))
            self._stop.wait(_IDLE_SECONDS)
            return None
        if not items:
            return None
        self._in_hand.append(items)
        claimed = time.time_ns()
        translated = self._exporter.translate([item.envelope for item in items])
        return _Batch(items, translated, (("claim", began, claimed), ("translate", claimed, time.time_ns())))

    def _finish(self, batch: "_Batch | None") -> int:
        """Writes a batch, however long Postgres is away, and settles it. 0: there was none, or we were stopped before that."""
        said = ""
        began = time.time_ns()
        for attempt in attempts(self._stop):
            EXPORT_LOOP_SECONDS.set_to_current_time()
            try:
                self._exporter.open()
                if batch is not None:
                    self._write_or_bury(batch)
            except Exception as error:  # whatever it is, the batch was acknowledged: keep it, and keep the worker alive
                WRITE_RETRIES.inc()
                EXPORT_RETRYING.set(1)
                if (reason := str(error)[:80]) != said:  # Postgres may be back, and its schema be what is wrong now
                    said = reason
                    foreseen = isinstance(error, DatabaseUnavailable | StartError)
                    log.warning("write waits", error=str(error), exc_info=None if foreseen else error)
                continue
            if attempt:
                EXPORT_RETRYING.set(0)
                log.info("write succeeded again", attempts=attempt + 1)
            if batch is None:
                return 0
            self._queue.settle(batch.items)
            self._in_hand.popleft()
            stages = (*batch.stages, ("write", began, time.time_ns()))
            tracing.written((item.envelope for item in batch.items), stages, attempt + 1)
            return len(batch.items)
        return 0

    def _write_or_bury(self, batch: "_Batch") -> None:
        """Every span of the batch is in MLflow's tables, or a dead letter, when this returns."""
        if letters := self._exporter.export([item.envelope for item in batch.items], batch.translated):
            store(self._database, letters)
