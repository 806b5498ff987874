"""The writers of log records: into `headrace.waiting_log`, and from there to the spans that are there already."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from headrace.envelope import Delivery
from headrace.envelope.split import AnyDelivery
from headrace.errors import PermanentExportError
from headrace.mlflow.logs.coming import Coming, coming
from headrace.mlflow.text import Repairs
from headrace.mlflow.write import TooMuch, Translated, Writer
from headrace.mlflow.write.bulk import BulkWriter
from headrace.mlflow.write.waiting import forget, wait
from headrace.store.database import Database
from headrace.telemetry.logging import log_rarely
from headrace.telemetry.waiting import LOGS_EXPIRED


def log_writer(database: Database, spans: Writer[Any]) -> Writer[Any]:
    """The writer of log records that fits that of their spans."""
    return LogWriter(database, spans) if isinstance(spans, BulkWriter) else NoPlace(spans)


class LogWriter:
    """A `Writer` for requests of logs, beside the `BulkWriter` of their spans, which has enrichment on."""

    def __init__(self, database: Database, spans: BulkWriter) -> None:
        self._database = database
        self._spans = spans

    def translate(self, deliveries: Sequence[AnyDelivery], most: int | None = None) -> Translated[Sequence[Coming]]:
        """See `Writer.translate`."""
        rows: list[Coming] = []
        size = 0
        for number, delivery in enumerate(deliveries):
            more = list(coming(delivery.request, delivery.destinations, delivery.limit, number, delivery.positions))
            rows += more
            size += sum(len(each.record.data) for each in more)
            if most is not None and size > most:
                raise TooMuch
        return Translated(deliveries, rows, Counter())

    def write(self, translated: Translated[Sequence[Coming]]) -> Repairs:
        """See `Writer.write`. The records are committed first; what is interrupted then is done by `waiting.look_again`."""
        there = wait(self._database, translated.rows)
        if there:
            try:
                self._spans.write_again(there)
            except PermanentExportError as error:
                self._spans.look_again()  # it may be the tables that are at fault
                forget(self._database, there)  # or nobody could write the span any more
                raise PermanentExportError(str(error)) from error  # what it names are spans that are stored
        return translated.repairs

    def look_again(self) -> None:
        """See `Writer.look_again`."""
        self._spans.look_again()

    def rehearse(self, delivery: Delivery, seconds: float) -> None:
        """See `Writer.rehearse`."""
        self._spans.rehearse(delivery, seconds)


class NoPlace:
    """A `Writer` for log records where MLflow's own store writes their spans: it has no place for them. It counts them."""

    def __init__(self, spans: Writer[Any]) -> None:
        self._spans = spans

    def translate(self, deliveries: Sequence[AnyDelivery], most: int | None = None) -> Translated[None]:  # noqa: ARG002
        """See `Writer.translate`."""
        return Translated(deliveries, None, Counter())

    def write(self, translated: Translated[None]) -> Repairs:
        """See `Writer.write`."""
        count = sum(delivery.signal.form.count(delivery.request) for delivery in translated.deliveries)
        LOGS_EXPIRED.labels("no_place").inc(count)
        log_rarely("log records were dropped, because MLflow's own store writes here", "no_place", records=count)
        return translated.repairs

    def look_again(self) -> None:
        """See `Writer.look_again`."""
        self._spans.look_again()

    def rehearse(self, delivery: Delivery, seconds: float) -> None:
        """See `Writer.rehearse`."""
        self._spans.rehearse(delivery, seconds)
