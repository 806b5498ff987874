"""Envelopes → MLflow's tables: destinations → translate → write. `bisect.py` finds what can never be written.

How an outage is told from a span that makes Postgres drop the connection (or run out of memory):

- What a request becomes when written is estimated before it is built (`weight.py`), and a batch is counted as it is built.
  What is over HEADRACE_MAX_WRITE_BYTES is halved first; a single span that is over four times as much is a dead letter.
- After each broken write a harmless span of the same size is written and taken back (`rehearsal.py`). If that fails as well, it
  is an outage: nothing is halved, and the batch waits. If it goes through, the batch is tried again. A batch that breaks three
  times in a row, while three rehearsals in a row go through, is halved. A single span that does so twelve times in a row
  is a dead letter.

The worker writes the queue's requests with it, and `headrace dead-letters replay` writes dead letters with it.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from headrace.config import MIB, Config
from headrace.envelope import Delivery
from headrace.envelope.split import halves
from headrace.errors import HeadraceError, PermanentExportError, RowsRefused, StatementTimeout, TablesChanged
from headrace.export.destinations import Destinations
from headrace.export.rehearsal import LAST_ROUNDS, MOST_SECONDS, ROUNDS, harmless, rehearsed
from headrace.mlflow.experiments import Experiments
from headrace.mlflow.logs.record import Bound
from headrace.mlflow.schema import open_writer
from headrace.mlflow.tables import Tables
from headrace.mlflow.translate.weight import weigh
from headrace.mlflow.write import Translated, Writer
from headrace.otlp.spans import count_spans
from headrace.store.database import Database
from headrace.telemetry.logging import log_rarely
from headrace.telemetry.metrics import (
    BATCH_REQUESTS,
    BATCH_SPANS,
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
        tables: Tables | None = None,
    ) -> None:
        self._database = database
        self.destinations = Destinations(experiments)
        self._open_writer = open_writer
        self._writer: Writer[Any] | None = None
        self._tables = tables or Tables()
        self.max_bytes = max_write_bytes
        """A batch that becomes more bytes than this is written in smaller parts."""
        self.stopping = threading.Event()
        """If it is set, a write whose connection broke is not tried again here."""

    @classmethod
    def of(cls, config: Config, database: Database, experiments: Experiments, tables: Tables | None = None) -> "Exporter":
        """An exporter with the writer that fits the database's schema, configured by the settings. It notes in `tables` what
        that schema is."""
        tables = tables or Tables()
        opener = writer_opener(config, tables)
        return cls(database, experiments, opener, config.max_write_bytes, tables)

    @property
    def writer(self) -> Writer[Any] | None:
        """The writer that is open, if any."""
        return self._writer

    def open(self) -> Writer[Any]:
        """The writer, opened if it is not yet.

        Raises:
            DatabaseUnavailable, StartError: it cannot be opened now; try again later.
        """
        if self._writer is None:
            self._writer = self._open_writer(self._database)
        return self._writer

    def translate(self, envelopes: Sequence[bytes]) -> Translated[Any] | None:
        """Translates envelopes ahead of `commit`. Returns None on any error at all: `write` will meet the error again and
        handle it."""
        if self._writer is None:
            return None
        try:
            deliveries = [self.destinations.fill(Delivery.from_envelope(envelope)) for envelope in envelopes]
            # Each is estimated alone: all together are counted as they are made, as a high estimate would halve full batches.
            if any(weigh(delivery, self.max_bytes) > self.max_bytes for delivery in deliveries):
                return None
            return _translate(self._writer, deliveries, self.max_bytes)
        except Exception:
            return None

    def write(self, deliveries: Sequence[Delivery]) -> None:
        """Writes all of these deliveries or none, and counts their spans.

        Raises:
            PermanentExportError: the deliveries are at fault. That includes deliveries that break the connection (see the top).
            StatementTimeout: they took too long. DatabaseUnavailable, StartError: the same call may succeed later.
        """
        single = len(deliveries) == 1 and halves(deliveries[0]) is None
        rounds = LAST_ROUNDS if single else ROUNDS
        rehearsed(partial(self._write_once, deliveries), partial(self.rehearse, deliveries), rounds, self.stopping)

    def rehearse(self, deliveries: Sequence[Delivery], seconds: float) -> bool:
        """Whether Postgres answers to a harmless span of the same size. It does not matter whether it accepts or refuses the
        span."""
        try:
            delivery = harmless(self.destinations.fill(deliveries[0]), self.weigh(deliveries))
            self.open().rehearse(delivery, min(seconds, MOST_SECONDS))
        except (StatementTimeout, PermanentExportError):
            return True
        except HeadraceError:
            return False
        return True

    def weigh(self, deliveries: Sequence[Delivery]) -> int:
        """Estimates how many bytes these deliveries become when they are written. There is at least one. The estimate is never
        far too low."""
        return sum(weigh(delivery, self.max_bytes // len(deliveries)) for delivery in deliveries)

    def _write_once(self, deliveries: Sequence[Delivery]) -> None:
        with _faults_are_permanent():
            resolved = [self.destinations.fill(delivery) for delivery in deliveries]
            translated = _translate(self.open(), resolved)
        self.commit(translated)

    def commit(self, batch: Translated[Any]) -> None:
        """Writes all that `translate` returned, or nothing, and counts it. Raises what `write` raises, and WriteBroke."""
        started = time.perf_counter()
        with _faults_are_permanent(), self._tables_are_watched():
            repairs = self.open().write(batch)
        WRITE_SECONDS.observe(time.perf_counter() - started)
        now = time.time_ns()
        spans = sum(count_spans(delivery.request) for delivery in batch.deliveries)
        SPANS_WRITTEN.inc(spans)
        for rule, count in repairs.items():
            SPANS_REPAIRED.labels(rule).inc(count)
        BATCH_SPANS.observe(spans)
        BATCH_REQUESTS.observe(len(batch.deliveries))
        for delivery in batch.deliveries:
            VISIBLE_SECONDS.observe(max(0, now - delivery.received_unix_nano) / 1e9)

    @contextmanager
    def _tables_are_watched(self) -> Iterator[None]:
        """A refusal by a rule of the tables is the batch's fault only if the tables are as they were. Otherwise the writer is
        dropped, so that the next try opens one for what is there then."""
        try:
            try:
                yield
            except RowsRefused as error:
                if error.of_tables:
                    self.open().look_again()
                raise
        except TablesChanged as error:
            self._writer = None
            self._tables.note_misfit(str(error))
            raise


def writer_opener(config: Config, tables: Tables) -> Callable[[Database], Writer[Any]]:
    """`open_writer`, with all that the settings say."""
    return partial(
        open_writer,
        enrich=config.enrich,
        note_unfinished=config.finishes,
        max_tags=config.max_tags_per_trace,
        tables=tables,
        index=config.index,
        bound=Bound(config.max_logs_per_span, config.max_log_bytes_per_span),
    )


def _translate(writer: Writer[Any], deliveries: Sequence[Delivery], most: int | None = None) -> Translated[Any]:
    with TRANSLATE_SECONDS.time():
        return writer.translate(deliveries, most)


@contextmanager
def _faults_are_permanent() -> Iterator[None]:
    """Turns an exception in its block that is no HeadraceError into a PermanentExportError. So a bug of ours, or of MLflow's
    translators, costs one span and never stops the worker."""
    try:
        yield
    except HeadraceError:
        raise
    except Exception as error:
        log_rarely("fault while writing", type(error).__name__, error=str(error), exc_info=error)
        raise PermanentExportError(f"{type(error).__name__}: {error}") from error
