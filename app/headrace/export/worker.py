"""Writes what is in the queue: claim → translate → write → settle. It runs in a thread beside the event loop.

`export_once()` does all of it once. The running worker also translates the next batch while Postgres works on the current one.
A batch that Postgres cannot take now is kept and tried again. A span that it can never take goes to `headrace.dead_letter`, and
the rest of its batch is written (`bisect.py`).
"""

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from headrace import tracing
from headrace.config import Config
from headrace.errors import DatabaseUnavailable, HeadraceError, StartError
from headrace.export.bisect import Export
from headrace.export.exporter import Exporter
from headrace.export.retry import attempts
from headrace.parts import PartThread
from headrace.queue import Item, Queue
from headrace.store.database import Database
from headrace.store.dead_letters import store
from headrace.telemetry.logging import log
from headrace.telemetry.metrics import EXPORT_LOOP_SECONDS, EXPORT_RETRYING, WRITE_RETRIES

_CLAIM_SECONDS = 0.2
"""How long a claim waits for an item. A stop waits as long, if there is nothing to write."""
_UNREADABLE_SECONDS = 1.0
"""How long the worker waits when the queue cannot be read."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """The items of one claim, what has been done with them, and when each stage began and ended."""

    items: Sequence[Item]
    export: Export
    stages: list[tracing.Stage]


class Worker:
    """Writes the queue's items to MLflow's tables until it is stopped."""

    def __init__(self, config: Config, queue: Queue, database: Database, exporter: Exporter) -> None:
        self._batch_max_bytes = config.batch_max_bytes
        self._queue = queue
        self._database = database
        self._exporter = exporter
        self._in_hand: deque[_Batch] = deque()  # claimed, in this order, and not settled yet
        self._thread = PartThread("worker", self._run)
        self._stop = self._thread.stopping

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread, after the write in progress has succeeded or failed. Items that are not settled stay in the
        queue."""
        self._exporter.stopping.set()
        self._thread.stop()

    def export_once(self, timeout: float = _CLAIM_SECONDS) -> int:
        """Claims one batch, writes it and settles it. Returns the number of settled requests."""
        return self._finish(self._claim(timeout))

    def _run(self) -> None:
        """The thread's body. The queue hands out no item twice. So the batches that an earlier run of this body had claimed
        come first."""
        self._finish(None)  # opens the writer, which imports MLflow, before the first batch asks for it
        while self._in_hand and not self._stop.is_set():
            self._finish(self._in_hand[0])
        with ThreadPoolExecutor(1, "headrace-translate") as ahead:
            # While Postgres works on one batch, the next one is translated.
            following = ahead.submit(self._claim, _CLAIM_SECONDS)
            while not self._stop.is_set():
                batch = following.result()
                following = ahead.submit(self._claim, _CLAIM_SECONDS)
                self._finish(batch)

    def _claim(self, timeout: float) -> "_Batch | None":
        """The next batch, translated if that can be done now. None if there is none, or if the worker is to stop."""
        if self._stop.is_set():
            return None
        began = time.time_ns()
        try:
            items = self._queue.claim(self._batch_max_bytes, timeout)
        except HeadraceError as error:
            log.error("worker cannot read the queue", error=str(error))
            self._stop.wait(_UNREADABLE_SECONDS)
            return None
        if not items:
            return None
        claimed = time.time_ns()
        export = Export(self._exporter, [item.envelope for item in items], [item.refused for item in items])
        batch = _Batch(items, export, [("claim", began, claimed)])
        self._in_hand.append(batch)
        batch.export.translate()
        batch.stages.append(("translate", claimed, time.time_ns()))
        return batch

    def _finish(self, batch: "_Batch | None") -> int:
        """Opens the writer, writes the batch if there is one, and settles it. Returns how many requests it settled."""
        began = time.time_ns()
        attempts_made = self._write_until_done(batch)
        if batch is None or not attempts_made:
            return 0
        self._queue.settle(batch.items)
        self._in_hand.popleft()
        batch.stages.append(("write", began, time.time_ns()))
        tracing.written((item.envelope for item in batch.items), batch.stages, attempts_made)
        return len(batch.items)

    def _write_until_done(self, batch: "_Batch | None") -> int:
        """Tries until it succeeds, however long Postgres is away. Returns the number of attempts, or 0 if `stop` was called
        before one succeeded."""
        said = ""
        for attempt in attempts(self._stop):
            EXPORT_LOOP_SECONDS.set_to_current_time()
            try:
                self._exporter.open()
                if batch is not None:
                    self._write_or_bury(batch)
            except Exception as error:  # whatever it is, the batch was acknowledged: keep it, and keep the worker alive
                said = _note_wait(error, said)
                continue
            if attempt:
                EXPORT_RETRYING.set(0)
                log.info("write succeeded again", attempts=attempt + 1)
            return attempt + 1
        return 0

    def _write_or_bury(self, batch: "_Batch") -> None:
        """Every span of the batch is in MLflow's tables, or a dead letter, when this returns."""
        if letters := batch.export.run():
            store(self._database, letters)


def _note_wait(error: Exception, said: str) -> str:
    """Counts a failed attempt. Logs the reason, unless it is `said`, the one that was logged last. Returns the reason."""
    WRITE_RETRIES.inc()
    EXPORT_RETRYING.set(1)
    reason = str(error)[:80]
    if reason != said:  # Postgres may be back, and its schema be what is wrong now
        foreseen = isinstance(error, DatabaseUnavailable | StartError)
        log.warning("write waits", error=str(error), exc_info=None if foreseen else error)
    return reason
