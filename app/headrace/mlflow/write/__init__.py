"""Rows into MLflow's tables. `bulk.py` is the `Writer` for the shapes of tables that it knows."""

from collections.abc import Sequence
from typing import Any, Protocol

from headrace.envelope import Delivery


class Writer(Protocol):
    """Writes synchronously: returns once the rows are committed. Idempotent: any batch, any number of times."""

    def translate(self, deliveries: Sequence[Delivery]) -> Any:
        """These requests, in this order, as `write` wants them. Pure; every destination has its `experiment_id`."""

    def write(self, translated: Any) -> None:
        """Writes what `translate` made.

        Raises:
            DatabaseUnavailable: the same call may succeed later. PermanentExportError: it never will.
        """

    def rehearse(self, delivery: Delivery, seconds: float) -> None:
        """Writes a delivery as `write` does, takes so long for it at the least, and takes it all back.

        Raises:
            As `write`.
        """
