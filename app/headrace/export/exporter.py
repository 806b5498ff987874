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
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from headrace.config import MIB, Config
from headrace.envelope import Delivery
from headrace.envelope.split import AnyDelivery, halves
from headrace.errors import HeadraceError, PermanentExportError, RowsRefused, StatementTimeout, TablesChanged
from headrace.export.destinations import Destinations
from headrace.export.openers import Opener, openers_of
from headrace.export.rehearsal import LAST_ROUNDS, MOST_SECONDS, ROUNDS, harmless, rehearsed
from headrace.mlflow.experiments import Experiments
from headrace.mlflow.logs.weight import weigh_logs
from headrace.mlflow.metrics.weight import weigh as weigh_points
from headrace.mlflow.tables import Tables
from headrace.mlflow.translate.weight import MOST_OF_A_BYTE
from headrace.mlflow.translate.weight import weigh as weigh_spans
from headrace.mlflow.write import Translated, Writer
from headrace.otlp.signals import LOGS, METRICS, SIGNALS, TRACES, Signal
from headrace.store.database import Database
from headrace.telemetry.logging import log_rarely
from headrace.telemetry.metrics import (
    BATCH_REQUESTS,
    BATCH_SPANS,
    TRANSLATE_SECONDS,
    VISIBLE_SECONDS,
    WRITE_SECONDS,
)
from headrace.telemetry.records import COUNTERS

Writers = Mapping[Signal, Writer[Any]]
"""The writer of each signal."""

_WEIGHERS: Mapping[Signal, Callable[[AnyDelivery, int], int]] = {
    TRACES: weigh_spans,
    LOGS: weigh_logs,
    METRICS: weigh_points,
}
"""What tells how many bytes a delivery becomes. See `weigh_spans`."""


class Exporter:
    """Writes envelopes to one database, each signal with a writer of its own. Writers are opened when first needed."""

    def __init__(
        self,
        database: Database,
        experiments: Experiments,
        openers: Mapping[Signal, Opener],
        max_write_bytes: int = 64 * MIB,
        tables: Tables | None = None,
    ) -> None:
        """`openers`: what opens the writer of each signal that is stored."""
        self._database = database
        self.destinations = Destinations(experiments)
        self._openers = openers
        self._writers: Writers | None = None
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
        return cls(database, experiments, openers_of(config, tables), config.max_write_bytes, tables)

    @property
    def writers(self) -> Writers | None:
        """The writers that are open, if any."""
        return self._writers

    def open(self) -> Writers:
        """The writers, opened if they are not yet.

        Raises:
            DatabaseUnavailable, StartError: it cannot be opened now; try again later.
        """
        if self._writers is None:
            self._writers = {signal: opener(self._database) for signal, opener in self._openers.items()}
        return self._writers

    def translate(self, envelopes: Sequence[bytes]) -> list[Translated[Any]] | None:
        """Translates envelopes ahead of `commit`, the records of each signal by themselves, spans first. Returns None on any
        error at all: `write` will meet the error again and handle it."""
        if self._writers is None:
            return None
        try:
            batches: defaultdict[Signal, list[AnyDelivery]] = defaultdict(list)
            for envelope in envelopes:
                delivery = self.destinations.fill(Delivery.from_envelope(envelope))
                batches[delivery.signal].append(delivery)
                # Each is estimated alone: all together are counted as they are made, as a high estimate would halve full
                # batches.
                if _weigh(delivery, self.max_bytes) > self.max_bytes:
                    return None
            known = [signal for signal in SIGNALS if signal in batches]
            return [_translate(self._writers[signal], batches[signal], self.max_bytes) for signal in known]
        except Exception:
            return None

    def write(self, deliveries: Sequence[AnyDelivery]) -> None:
        """Writes all of these deliveries, which are of one signal, or none. Counts their records.

        Raises:
            PermanentExportError: the deliveries are at fault. That includes deliveries that break the connection (see the top).
            StatementTimeout: they took too long. DatabaseUnavailable, StartError: the same call may succeed later.
        """
        single = len(deliveries) == 1 and halves(deliveries[0]) is None
        rounds = LAST_ROUNDS if single else ROUNDS
        rehearsed(partial(self._write_once, deliveries), partial(self.rehearse, deliveries), rounds, self.stopping)

    def rehearse(self, deliveries: Sequence[AnyDelivery], seconds: float) -> bool:
        """Whether Postgres answers to a harmless span of the same size. It does not matter whether it accepts or refuses the
        span."""
        try:
            delivery = harmless(self.destinations.fill(deliveries[0]), self.weigh(deliveries))
            self._writer_of(deliveries).rehearse(delivery, min(seconds, MOST_SECONDS))
        except (StatementTimeout, PermanentExportError):
            return True
        except HeadraceError:
            return False
        return True

    def weigh(self, deliveries: Sequence[AnyDelivery]) -> int:
        """Estimates how many bytes these deliveries become when they are written. There is at least one. The estimate is never
        far too low."""
        return sum(_weigh(delivery, self.max_bytes // len(deliveries)) for delivery in deliveries)

    def _writer_of(self, deliveries: Sequence[AnyDelivery]) -> Writer[Any]:
        signal = deliveries[0].signal
        try:
            return self.open()[signal]
        except KeyError:
            raise PermanentExportError(f"This Headrace does not store {signal.name}.") from None

    def _write_once(self, deliveries: Sequence[AnyDelivery]) -> None:
        with _faults_are_permanent():
            resolved = [self.destinations.fill(delivery) for delivery in deliveries]
            translated = _translate(self._writer_of(deliveries), resolved)
        self.commit(translated)

    def commit(self, batch: Translated[Any]) -> None:
        """Writes all that `translate` returned, or nothing, and counts it. Raises what `write` raises, and WriteBroke."""
        started = time.perf_counter()
        with _faults_are_permanent(), self._tables_are_watched():
            repairs = self._writer_of(batch.deliveries).write(batch)
        WRITE_SECONDS.observe(time.perf_counter() - started)
        now = time.time_ns()
        signal = batch.deliveries[0].signal
        records = sum(signal.form.count(delivery.request) for delivery in batch.deliveries)
        counters = COUNTERS[signal.name]
        counters.written.inc(records)
        for rule, count in repairs.items():
            counters.repaired(rule).inc(count)
        BATCH_SPANS.observe(records)
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
                    for writer in self.open().values():
                        writer.look_again()
                raise
        except TablesChanged as error:
            self._writers = None
            self._tables.note_misfit(str(error))
            raise


def _weigh(delivery: AnyDelivery, limit: int) -> int:
    weigher = _WEIGHERS.get(delivery.signal)
    return weigher(delivery, limit) if weigher else int(delivery.request.ByteSize()) * MOST_OF_A_BYTE


def _translate(writer: Writer[Any], deliveries: Sequence[AnyDelivery], most: int | None = None) -> Translated[Any]:
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
