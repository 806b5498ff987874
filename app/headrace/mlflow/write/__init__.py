"""Rows into MLflow's tables. `bulk.py` is the `Writer` for the shapes of tables that it knows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol

from typing_extensions import TypeVar

from headrace.envelope import Delivery
from headrace.envelope.split import AnyDelivery
from headrace.mlflow.text import Repairs

Rows = TypeVar("Rows", default=Any)
"""What a writer makes of requests; nobody else looks into it."""


@dataclass(frozen=True, slots=True)
class Translated(Generic[Rows]):
    """One batch, ready to be written any number of times."""

    deliveries: Sequence[AnyDelivery]
    """At least one, all of one signal."""
    rows: Rows
    repairs: Repairs
    """What had to be repaired, by rule. `Writer.write` hands it on."""


class TooMuch(Exception):
    """The rows of a batch take more bytes than they may."""


class Writer(Protocol[Rows]):
    """Writes the records of one signal synchronously: returns once the rows are committed. Idempotent: any batch, any number of
    times.

    `tests/db/mlflow/test_writer_contract.py` says what each implementation keeps.
    """

    def translate(self, deliveries: Sequence[AnyDelivery], most: int | None = None) -> Translated[Rows]:
        """Makes rows of these requests, in this order. No I/O; counts nothing. Every destination has its `experiment_id`.

        Raises:
            TooMuch: the rows that it has made so far take more than `most` bytes. It looks after each request.
        """

    def write(self, translated: Translated[Rows]) -> Repairs:
        """Writes what `translate` made; returns how many records were repaired, by rule. The caller counts them.

        Raises:
            DatabaseUnavailable: the same call may succeed later. PermanentExportError: it never will.
            TablesChanged: not by this writer; open another one.
        """

    def look_again(self) -> None:
        """Looks whether MLflow's tables are still those that this writer was opened for.

        Raises:
            TablesChanged: they are not; open another writer. DatabaseUnavailable: Postgres does not answer now.
        """

    def rehearse(self, delivery: Delivery, seconds: float) -> None:
        """Writes a delivery of a harmless span as `write` does, takes so long for it at the least, and takes it all back.
        Counts nothing.

        Raises:
            As `write`.
        """
