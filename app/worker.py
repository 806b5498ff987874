"""The other side of the queue: claim → translate → write → settle, off the event loop.

`export_once()` is the whole of it; the running worker translates one batch ahead. What Postgres cannot take now is kept and
tried again; what it can never take is bisected down to the span, which goes to `headrace.dead_letter`, and the rest is
written.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from google.protobuf.message import DecodeError

from app import tracing
from app.config import Config
from app.database import Database
from app.errors import DatabaseUnavailable, HeadraceError, PermanentExportError, StartError, Unroutable
from app.exporter import Delivery, Writer
from app.exporter.dead_letters import DeadLetter, store
from app.exporter.retry import attempts, count_spans, halves
from app.processor.experiments import Experiments
from app.processor.route import Route
from app.queue import Item, Queue
from app.queue import envelope_pb2 as pb
from app.telemetry import (
    BATCH_REQUESTS,
    BATCH_SPANS,
    BATCHES_SPLIT,
    EXPORT_LOOP_SECONDS,
    EXPORT_RETRYING,
    SPANS_WRITTEN,
    TRANSLATE_SECONDS,
    VISIBLE_SECONDS,
    WRITE_RETRIES,
    WRITE_SECONDS,
    log,
)

_IDLE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Translated:
    """Deliveries, and what the writer made of them."""

    deliveries: Sequence[Delivery]
    rows: Any


@dataclass(frozen=True, slots=True)
class _Batch:
    """What was claimed at once, translated already if all went well."""

    items: Sequence[Item]
    translated: _Translated | None
    stages: tuple[tracing.Stage, ...]


class Worker:
    """Carries the queue's items to MLflow until it is stopped.

    `open_writer` is called when first needed, and may fail while Postgres is away.
    """

    def __init__(
        self,
        config: Config,
        queue: Queue,
        database: Database,
        experiments: Experiments,
        open_writer: Callable[[Database], Writer],
    ) -> None:
        self._batch_max_bytes = config.batch_max_bytes
        self._queue = queue
        self._database = database
        self._experiments = experiments
        self._open_writer = open_writer
        self._writer: Writer | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="headrace-worker", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Lets the batch in hand end or be given back, then ends the thread. What is not settled stays in the queue."""
        self._stop.set()
        self._thread.join()

    def export_once(self, timeout: float = _IDLE_SECONDS) -> int:
        """Takes one batch all the way; returns the number of requests that it settled."""
        return self._finish(self._claim(timeout))

    def _run(self) -> None:
        self._finish(None)  # opens the writer, which imports MLflow, before the first batch asks for it
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
        claimed = time.time_ns()
        translated = self._translate(items)
        return _Batch(items, translated, (("claim", began, claimed), ("translate", claimed, time.time_ns())))

    def _translate(self, items: Sequence[Item]) -> "_Translated | None":
        """None where anything at all stands in the way: `_write_or_bury` goes through it item by item then."""
        if self._writer is None:
            return None
        try:
            deliveries = [self._resolve(Delivery.from_envelope(item.envelope)) for item in items]
            return _Translated(deliveries, self._rows(self._writer, deliveries))
        except Exception:
            return None

    def _rows(self, writer: Writer, deliveries: Sequence[Delivery]) -> Any:
        with TRANSLATE_SECONDS.time():
            return writer.translate(deliveries)

    def _finish(self, batch: "_Batch | None") -> int:
        """Writes a batch, however long Postgres is away, and settles it. 0: there was none, or we were stopped before that."""
        said = ""
        began = time.time_ns()
        for attempt in attempts(self._stop):
            EXPORT_LOOP_SECONDS.set_to_current_time()
            try:
                self._open()
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
            stages = (*batch.stages, ("write", began, time.time_ns()))
            tracing.written((item.envelope for item in batch.items), stages, attempt + 1)
            self._queue.settle(batch.items)
            return len(batch.items)
        return 0

    def _open(self) -> Writer:
        if self._writer is None:
            self._writer = self._open_writer(self._database)
        return self._writer

    def _write_or_bury(self, batch: "_Batch") -> None:
        if batch.translated is not None:
            try:
                self._commit(batch.translated)
                return
            except PermanentExportError:
                pass  # something in it cannot be written: find out what
        deliveries = []
        for item in batch.items:
            try:
                deliveries.append(Delivery.from_envelope(item.envelope))
            except (DecodeError, ValueError) as error:
                store(self._database, DeadLetter(item.envelope, None, f"unreadable envelope: {error}"))
        self._write(deliveries)

    def _write(self, deliveries: Sequence[Delivery]) -> None:
        """Writes all, or halves until the culprit stands alone."""
        if not deliveries:
            return
        try:
            self._write_all(deliveries)
        except PermanentExportError as error:
            if len(deliveries) > 1:
                BATCHES_SPLIT.inc()
                middle = len(deliveries) // 2
                parts: tuple[Sequence[Delivery], ...] = (deliveries[:middle], deliveries[middle:])
            elif split := halves(deliveries[0]):
                BATCHES_SPLIT.inc()
                parts = ((split[0],), (split[1],))
            else:
                log.error("span cannot be written", error=str(error), exc_info=error.__cause__)
                store(self._database, DeadLetter(deliveries[0].to_envelope(), deliveries[0], str(error)))
                return
            for part in parts:
                self._write(part)

    def _write_all(self, deliveries: Sequence[Delivery]) -> None:
        try:
            resolved = [self._resolve(delivery) for delivery in deliveries]
            translated = _Translated(resolved, self._rows(self._open(), resolved))
        except HeadraceError:
            raise
        except Exception as error:  # a fault of ours, or of MLflow's translators: it must cost one span, not the worker
            raise PermanentExportError(f"{type(error).__name__}: {error}") from error
        self._commit(translated)

    def _commit(self, batch: "_Translated") -> None:
        started = time.perf_counter()
        try:
            self._open().write(batch.rows)
        except HeadraceError:
            raise
        except Exception as error:  # as in _write_all
            raise PermanentExportError(f"{type(error).__name__}: {error}") from error
        WRITE_SECONDS.observe(time.perf_counter() - started)
        now = time.time_ns()
        spans = sum(count_spans(delivery.request) for delivery in batch.deliveries)
        SPANS_WRITTEN.inc(spans)
        BATCH_SPANS.observe(spans)
        BATCH_REQUESTS.observe(len(batch.deliveries))
        for delivery in batch.deliveries:
            VISIBLE_SECONDS.observe(max(0, now - delivery.received_unix_nano) / 1e9)

    def _resolve(self, delivery: Delivery) -> Delivery:
        """Fills in the experiments that could only be named when the request came, as Postgres was away."""
        if all(destination.experiment_id for destination in delivery.destinations):
            return delivery
        try:
            destinations = tuple(self._resolve_one(destination) for destination in delivery.destinations)
        except Unroutable as error:
            raise PermanentExportError(str(error)) from error
        return replace(delivery, destinations=destinations)

    def _resolve_one(self, destination: pb.Destination) -> pb.Destination:
        if destination.experiment_id:
            return destination
        route = Route(None, destination.experiment_name, destination.routed_by)
        id_ = self._experiments.cached(route)
        if id_ is None:
            id_ = self._experiments.look_up(route)
        return pb.Destination(
            experiment_id=str(id_), experiment_name=destination.experiment_name, routed_by=destination.routed_by
        )
