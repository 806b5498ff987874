"""Connections to Postgres that only read."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg import Cursor

from headrace.config.reading import Reading
from headrace.store.database import Database

Rows = Cursor[tuple[Any, ...]]

_LIMITS = (
    "SELECT set_config('transaction_read_only', 'on', true), set_config('statement_timeout', %(limit)s, true), "
    "set_config('lock_timeout', %(limit)s, true), set_config('idle_in_transaction_session_timeout', %(idle)s, true)"
)
"""Said in each transaction, not once a connection: a pooler between us and Postgres may give each transaction another one."""
_IDLE_SECONDS = 60


class ReadConnections:
    """A small pool of its own. Its transactions write nothing, and no statement takes longer than the settings say."""

    def __init__(self, url: str, config: Reading) -> None:
        self._database = Database(url, "headrace reader", config.read_connections, tells=False)
        self._limits = {"limit": str(max(1, round(config.read_seconds * 1000))), "idle": str(_IDLE_SECONDS * 1000)}

    @contextmanager
    def cursor(self) -> Iterator[Rows]:
        """A cursor in a transaction of its own.

        Raises:
            DatabaseUnavailable, and StatementTimeout, which is one.
        """
        with self._database.begin() as connection:
            driver = connection.connection.driver_connection
            with driver.cursor() as cursor:  # type: ignore[union-attr]
                cursor.execute(_LIMITS, self._limits)
                yield cursor

    def close(self) -> None:
        """Closes the pool."""
        self._database.close()
