"""The `Writer` of log records: into `headrace.waiting_log`, and from there to the spans that are there already."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

from headrace.envelope import Delivery
from headrace.errors import PermanentExportError
from headrace.mlflow.logs.coming import Coming, coming
from headrace.mlflow.text import Repairs
from headrace.mlflow.write import TooMuch, Translated
from headrace.mlflow.write.bulk import BulkWriter
from headrace.mlflow.write.waiting import forget, wait
from headrace.store.database import Database


class LogWriter:
    """A `Writer` for requests of logs, beside the `BulkWriter` of their spans, which has enrichment on."""

    def __init__(self, database: Database, spans: BulkWriter) -> None:
        self._database = database
        self._spans = spans

    def translate(self, deliveries: Sequence[Delivery], most: int | None = None) -> Translated[Sequence[Coming]]:
        """See `Writer.translate`."""
        rows: list[Coming] = []
        size = 0
        for number, delivery in enumerate(deliveries):
            more = list(coming(cast("Any", delivery.request).resource_logs, delivery.destinations, delivery.limit, number))
            rows += more
            size += sum(len(log.record.data) for log in more)
            if most is not None and size > most:
                raise TooMuch
        return Translated(deliveries, rows, Counter())

    def write(self, translated: Translated[Sequence[Coming]]) -> Repairs:
        """See `Writer.write`. The records are committed first; what is interrupted then is done by `look_again`."""
        there = wait(self._database, translated.rows)
        if there:
            try:
                self._spans.write_again(there)
            except PermanentExportError as error:
                forget(self._database, there)  # or nobody could write the span any more
                raise PermanentExportError(str(error)) from error  # what it names are spans that are stored
        return translated.repairs

    def look_again(self) -> None:
        """See `Writer.look_again`."""
        self._spans.look_again()
