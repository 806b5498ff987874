"""Postgres, seen from Headrace: one small pool, whether it answers, and which of its errors may pass.

Errors are judged by SQLSTATE class (https://www.postgresql.org/docs/current/errcodes-appendix.html), never by text.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg
import sqlalchemy
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.event import listen

from headrace.config import sqlalchemy_url
from headrace.errors import DatabaseUnavailable, ExportError, PermanentExportError, StatementTimeout, WriteBroke
from headrace.telemetry.metrics import DATABASE_UP

_CONNECT_SECONDS = 3
_PROBE_SECONDS = 2.0

_KEEPALIVE = {"tcp_user_timeout": 15_000, "keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3}
"""A host that vanishes without a word, as in a failover, is noticed within half a minute; by the kernel's own rules, within a
quarter of an hour while we write, and within two hours while we wait."""

_PERMANENT = ("21", "22", "23", "44", "54", "P0")
"""Cardinality violation, data exception, integrity violation, a view's check option, limit exceeded, and what a trigger's own
RAISE refuses: the rows are at fault, so trying them again is of no use.
Every other class (connection, resources, shutdown, deadlock, read-only, even a missing table while somebody runs
`mlflow db upgrade`) is Postgres' own state, which changes."""

_PERMANENT_KINDS = (psycopg.DataError, psycopg.ProgrammingError, psycopg.NotSupportedError)
"""The same where there is no SQLSTATE. libpq gives none to a connection that broke, which psycopg may then raise as a plain
DatabaseError."""


_TIMEOUTS = ("57014", "25P04")
"""query_canceled, which is statement_timeout's; transaction_timeout."""

_BREAKS = ("53200", "57P01", "57P02", "XX000")
"""out_of_memory; a backend that is ended, or ends with a crash; internal_error, as "invalid memory alloc request size" is.
With class 08 (connection exception) and errors without a SQLSTATE these may be an outage, or what a batch does to Postgres:
see `export/exporter.py`."""


@dataclass(frozen=True, slots=True)
class Reachability:
    """Whether Postgres answered last time (None: not asked yet), since when (Unix seconds), what it said if not."""

    up: bool | None
    since: float
    error: str = ""

    @property
    def away(self) -> bool:
        """True while Postgres is known not to answer, so that no request has to find it out again by waiting."""
        return self.up is False


class Database:
    """A pool for `url`. Connects when first used; a connection that has died is replaced on its next use."""

    def __init__(self, url: str) -> None:
        self.url = sqlalchemy_url(url)
        self.engine = create_engine(
            self.url,
            pool_size=3,
            max_overflow=2,
            pool_timeout=5,
            pool_pre_ping=True,
            connect_args={"connect_timeout": _CONNECT_SECONDS, "application_name": "headrace", **_KEEPALIVE},
        )
        self._connections: set[psycopg.Connection[Any]] = set()
        listen(self.engine, "connect", lambda connection, _: self._connections.add(connection))
        listen(self.engine, "close", lambda connection, _: self._connections.discard(connection))
        self._lock = threading.Lock()
        self._probing = threading.Lock()
        self._checked = 0.0
        self._state = Reachability(up=None, since=time.time())

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """One transaction: committed at the end of the block, rolled back when it raises.

        Raises:
            DatabaseUnavailable, PermanentExportError: instead of SQLAlchemy's and psycopg's own errors.
        """
        try:
            with self.engine.begin() as connection:
                yield connection
        except (sqlalchemy.exc.SQLAlchemyError, psycopg.Error) as error:
            raise self.judge(error) from error
        self.note(None)

    def judge(self, error: BaseException) -> ExportError:
        """An exception of SQLAlchemy, psycopg or MLflow → the error that says whether to try again; notes what it saw.

        MLflow wraps SQLAlchemy's errors, which wrap psycopg's, so the cause is looked for along the chain.
        """
        for cause in _causes(error):
            if isinstance(cause, psycopg.Error):
                return self._judge_postgres(cause)
            if isinstance(cause, sqlalchemy.exc.TimeoutError):
                return DatabaseUnavailable(f"No database connection is free: {_one_line(cause)}")
            if isinstance(cause, sqlalchemy.exc.PendingRollbackError):
                return DatabaseUnavailable(f"The connection broke amid the transaction: {_one_line(cause)}")
        return PermanentExportError(f"{type(error).__name__}: {_one_line(error)}")

    def _judge_postgres(self, error: psycopg.Error) -> ExportError:
        permanent = error.sqlstate[:2] in _PERMANENT if error.sqlstate else isinstance(error, _PERMANENT_KINDS)
        message = f"{error.sqlstate or type(error).__name__}: {_one_line(error)}"
        if permanent:
            return PermanentExportError(f"Postgres refuses the rows ({message})")
        self.note(_one_line(error))
        return _kind(error.sqlstate)(f"Postgres is away or busy ({message})")

    def note(self, error: str | None) -> None:
        """Remembers whether Postgres answered (None) or what it said instead."""
        with self._lock:
            self._checked = time.monotonic()
            up = error is None
            since = self._state.since if self._state.up == up else time.time()
            self._state = Reachability(up, since, error or "")
            DATABASE_UP.set(up)

    @property
    def state(self) -> Reachability:
        """The last answer; no I/O."""
        return self._state

    def probe(self) -> Reachability:
        """Asks Postgres, unless somebody did within the last two seconds, or asks still: one may hang with it, not all."""
        if time.monotonic() - self._checked > _PROBE_SECONDS and self._probing.acquire(blocking=False):
            try:
                with self.begin() as connection:
                    connection.execute(text("SELECT 1"))
            except ExportError:
                pass  # noted by begin()
            finally:
                self._probing.release()
        return self._state

    def abort(self) -> None:
        """Cuts all connections: whoever waits on one for a Postgres that hangs gets DatabaseUnavailable at once."""
        for connection in list(self._connections):
            with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as cut:
                cut.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Closes the pool."""
        self.engine.dispose()


def _kind(sqlstate: str | None) -> type[DatabaseUnavailable]:
    if sqlstate in _TIMEOUTS:
        return StatementTimeout
    broke = not sqlstate or sqlstate.startswith("08") or sqlstate in _BREAKS
    return WriteBroke if broke else DatabaseUnavailable


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and what it was raised from, ten links at the most."""
    for _ in range(10):
        if error is None:
            return
        yield error
        error = getattr(error, "orig", None) or error.__cause__


def _one_line(error: BaseException) -> str:
    """An error's text in one bounded line. Connection errors of libpq name host and user, never the password.

    Without Postgres' DETAIL, which may be the row that failed: what clients send is not for the log.
    """
    told = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return " ".join((told or str(error)).split())[:500]
