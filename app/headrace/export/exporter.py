"""Envelopes → MLflow's tables: resolve → translate → write, and what can never be written is found, down to the span.

How an outage is told from a span that makes Postgres drop the connection (or run out of memory):

- What a batch becomes when written is estimated before it is built (`weight.py`). What is over HEADRACE_MAX_WRITE_BYTES is
  halved first; a single span that is over four times as much is a dead letter.
- After each broken write a harmless span of the same size is written and taken back (`rehearsal.py`). If that fails as well, it
  is an outage: nothing is halved, and the batch waits. If it goes through, the batch is tried again. A batch that breaks three
  times in a row, while three rehearsals in a row go through, is halved. A single span that does so twelve times in a row
  is a dead letter.

The worker brings what the queue holds, `headrace dead-letters replay` what had failed before: both go this one road.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from headrace.config import MIB, Config
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.envelope.split import halves, set_apart
from headrace.errors import HeadraceError, PermanentExportError, RejectedSpans, StatementTimeout, Unroutable, WriteBroke
from headrace.export.rehearsal import LAST_ROUNDS, MOST_SECONDS, ROUNDS, harmless, rehearsed
from headrace.mlflow.experiments import Experiments
from headrace.mlflow.schema import open_writer
from headrace.mlflow.translate.weight import weigh
from headrace.mlflow.write import Translated, Writer
from headrace.otlp.spans import count_spans
from headrace.processor.route import Route
from headrace.store.database import Database
from headrace.store.dead_letters import DeadLetter
from headrace.telemetry.logging import log_rarely
from headrace.telemetry.metrics import (
    BATCH_REQUESTS,
    BATCH_SPANS,
    BATCHES_SPLIT,
    SPANS_REPAIRED,
    SPANS_WRITTEN,
    TRANSLATE_SECONDS,
    VISIBLE_SECONDS,
    WRITE_SECONDS,
)


class Exporter:
    """Writes envelopes to one database. `open_writer` is called when first needed, and may fail while Postgres is away."""

    def __init__(
        self,
        database: Database,
        experiments: Experiments,
        open_writer: Callable[[Database], Writer[Any]],
        max_write_bytes: int = 64 * MIB,
    ) -> None:
        self._database = database
        self._experiments = experiments
        self._open_writer = open_writer
        self._writer: Writer[Any] | None = None
        self._max_bytes = max_write_bytes
        self.stopping = threading.Event()
        """Set: a broken write is not tried again here."""
        self._spans_written = 0  # by the `export` under way, and not counted yet
        self._repairs = Counter[str]()
        self._unroutable: dict[str, str] = {}  # of the batch in hand, so that each name is asked for once

    @classmethod
    def of(cls, config: Config, database: Database, experiments: Experiments) -> "Exporter":
        """With the writer that fits the database's schema, set up as the settings say."""
        opener = partial(open_writer, enrich=config.enrich, note_unfinished=config.finishes, max_tags=config.max_tags_per_trace)
        return cls(database, experiments, opener, config.max_write_bytes)

    def open(self) -> Writer[Any]:
        """The writer, opened if it is not yet.

        Raises:
            DatabaseUnavailable, StartError: not now.
        """
        if self._writer is None:
            self._writer = self._open_writer(self._database)
        return self._writer

    def translate(self, envelopes: Sequence[bytes]) -> Translated[Any] | None:
        """A part of `export` that may be done ahead. None where anything at all stands in the way: `export` finds out what."""
        if self._writer is None:
            return None
        try:
            deliveries = [self._resolve(Delivery.from_envelope(envelope)) for envelope in envelopes]
            if self._weigh(deliveries) > self._max_bytes:
                return None
            return _translate(self._writer, deliveries)
        except Exception:
            return None

    def export(self, envelopes: Sequence[bytes], translated: Translated[Any] | None = None) -> list[DeadLetter]:
        """Writes all spans that can be written, and returns the others. What is written once more changes nothing.

        Spans written and repairs are counted when all of it is done: where it is tried again, they are counted once.

        Raises:
            DatabaseUnavailable, StartError: not all is written; try all of it again, later.
        """
        self._unroutable.clear()
        self._spans_written = 0
        self._repairs.clear()
        letters = self._export(envelopes, translated)
        SPANS_WRITTEN.inc(self._spans_written)
        for rule, count in self._repairs.items():
            SPANS_REPAIRED.labels(rule).inc(count)
        return letters

    def _export(self, envelopes: Sequence[bytes], translated: Translated[Any] | None) -> list[DeadLetter]:
        if translated is not None:
            try:
                self._commit(translated)
                return []
            except (PermanentExportError, StatementTimeout):
                pass  # something in it cannot be written: find out what; or all of it not at once
            except WriteBroke:
                if not self._rehearse(translated.deliveries, MOST_SECONDS):
                    raise
        letters = []
        deliveries = []
        for index, envelope in enumerate(envelopes):
            try:
                deliveries.append((index, Delivery.from_envelope(envelope)))
            except (DecodeError, ValueError) as error:
                letters.append(DeadLetter(index, envelope, None, f"unreadable envelope: {error}"))
        return sorted(letters + self._write(deliveries), key=lambda letter: letter.index)

    def _write(self, deliveries: Sequence[tuple[int, Delivery]]) -> list[DeadLetter]:
        """Writes all, or halves until the culprit stands alone. With each delivery comes its index among the envelopes."""
        if not deliveries:
            return []
        size = self._weigh([delivery for _, delivery in deliveries])
        if size > self._max_bytes and (smaller := _two(deliveries)):
            return self._write_two(smaller)
        if size > 4 * self._max_bytes:
            return [_too_large(*deliveries[0], size, 4 * self._max_bytes)]
        return self._write_or_find(deliveries)

    def _write_or_find(self, deliveries: Sequence[tuple[int, Delivery]]) -> list[DeadLetter]:
        try:
            self._write_all([delivery for _, delivery in deliveries])
            return []
        except StatementTimeout:
            smaller = _two(deliveries)
            if smaller is None:  # it was not the batch's size: Postgres is busy
                raise
        except PermanentExportError as error:
            letters, others = self._set_apart(deliveries, error.rejected)
            if letters:
                return letters + self._write(others)
            smaller = _two(deliveries)
            if smaller is None:
                index, delivery = deliveries[0]
                return [DeadLetter(index, delivery.to_envelope(), delivery, str(error))]
        return self._write_two(smaller)

    def _write_two(self, smaller: "tuple[_Deliveries, _Deliveries]") -> list[DeadLetter]:
        BATCHES_SPLIT.inc()
        return self._write(smaller[0]) + self._write(smaller[1])

    def _set_apart(
        self, deliveries: Sequence[tuple[int, Delivery]], rejected: Sequence[RejectedSpans]
    ) -> tuple[list[DeadLetter], list[tuple[int, Delivery]]]:
        """The spans of which the writer knows why they cannot be written, and the deliveries without them."""
        letters: list[DeadLetter] = []
        rest: list[tuple[int, Delivery]] = []
        for index, delivery in deliveries if rejected else ():
            experiment_ids = [destination.experiment_id for destination in self._resolve(delivery).destinations]
            alone, others = set_apart(delivery, experiment_ids, rejected)
            letters += [DeadLetter(index, single.to_envelope(), single, reason) for single, reason in alone]
            if others.request.resource_spans:
                rest.append((index, others if alone else delivery))
        return letters, rest

    def _write_all(self, deliveries: Sequence[Delivery]) -> None:
        """Raises PermanentExportError where it is the deliveries that break the connection: the rule stands at the top."""
        single = len(deliveries) == 1 and halves(deliveries[0]) is None
        rounds = LAST_ROUNDS if single else ROUNDS
        rehearsed(partial(self._write_once, deliveries), partial(self._rehearse, deliveries), rounds, self.stopping)

    def _rehearse(self, deliveries: Sequence[Delivery], seconds: float) -> bool:
        """Whether a harmless span of the same size goes through. A refusal is an answer, too."""
        try:
            delivery = harmless(self._resolve(deliveries[0]), self._weigh(deliveries))
            self.open().rehearse(delivery, min(seconds, MOST_SECONDS))
        except (StatementTimeout, PermanentExportError):
            return True
        except HeadraceError:
            return False
        return True

    def _weigh(self, deliveries: Sequence[Delivery]) -> int:
        return sum(weigh(delivery, self._max_bytes // len(deliveries)) for delivery in deliveries)

    def _write_once(self, deliveries: Sequence[Delivery]) -> None:
        with _faults_are_permanent():
            resolved = [self._resolve(delivery) for delivery in deliveries]
            translated = _translate(self.open(), resolved)
        self._commit(translated)

    def _commit(self, batch: Translated[Any]) -> None:
        started = time.perf_counter()
        with _faults_are_permanent():
            self._repairs += self.open().write(batch)
        WRITE_SECONDS.observe(time.perf_counter() - started)
        now = time.time_ns()
        spans = sum(count_spans(delivery.request) for delivery in batch.deliveries)
        self._spans_written += spans
        BATCH_SPANS.observe(spans)
        BATCH_REQUESTS.observe(len(batch.deliveries))
        for delivery in batch.deliveries:
            VISIBLE_SECONDS.observe(max(0, now - delivery.received_unix_nano) / 1e9)

    def _resolve(self, delivery: Delivery) -> Delivery:
        """Fills in the experiments that could only be named when the request came, as Postgres was away."""
        self._experiments.wait_for_mlflow()
        if all(destination.experiment_id for destination in delivery.destinations):
            return delivery
        try:
            destinations = tuple(map(self._resolve_one, delivery.request.resource_spans, delivery.destinations))
        except Unroutable as error:
            raise PermanentExportError(str(error)) from error
        return replace(delivery, destinations=destinations)

    def _resolve_one(self, resource_spans: ResourceSpans, destination: pb.Destination) -> pb.Destination:
        if destination.experiment_id or not any(scope.spans for scope in resource_spans.scope_spans):
            return destination  # a resource without spans goes nowhere, so it may not fail for want of a place
        route = Route(None, destination.experiment_name, destination.routed_by)
        id_ = self._experiments.cached(route)
        if id_ is None:
            id_ = self._look_up(route)
        return pb.Destination(
            experiment_id=str(id_), experiment_name=destination.experiment_name, routed_by=destination.routed_by
        )

    def _look_up(self, route: Route) -> int:
        if reason := self._unroutable.get(route.name):
            raise Unroutable(reason)
        try:
            return self._experiments.look_up(route)
        except Unroutable as error:
            self._unroutable[route.name] = str(error)
            raise


_Deliveries = Sequence[tuple[int, Delivery]]


def _translate(writer: Writer[Any], deliveries: Sequence[Delivery]) -> Translated[Any]:
    with TRANSLATE_SECONDS.time():
        return writer.translate(deliveries)


def _two(deliveries: _Deliveries) -> tuple[_Deliveries, _Deliveries] | None:
    """Halves, by requests or, of a single one, by spans; None for a single span."""
    if len(deliveries) > 1:
        middle = len(deliveries) // 2
        return deliveries[:middle], deliveries[middle:]
    index, delivery = deliveries[0]
    split = halves(delivery)
    return split and ([(index, split[0])], [(index, split[1])])


def _too_large(index: int, delivery: Delivery, size: int, limit: int) -> DeadLetter:
    reason = f"It would take about {size} bytes in Postgres, over the limit of {limit}, 4 * HEADRACE_MAX_WRITE_BYTES."
    return DeadLetter(index, delivery.to_envelope(), delivery, reason)


@contextmanager
def _faults_are_permanent() -> Iterator[None]:
    """A fault of ours, or of MLflow's translators, is to cost one span, and never the worker."""
    try:
        yield
    except HeadraceError:
        raise
    except Exception as error:
        log_rarely("fault while writing", type(error).__name__, error=str(error), exc_info=error)
        raise PermanentExportError(f"{type(error).__name__}: {error}") from error
