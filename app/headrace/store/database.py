"""The connections to Postgres: one small pool, whether Postgres answers, and which of its errors will pass.

Errors are judged by their SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html), never by their text.
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
from psycopg.conninfo import make_conninfo
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.event import listen

from headrace.config import sqlalchemy_url
from headrace.errors import (
    DatabaseRefuses,
    DatabaseUnavailable,
    ExportError,
    PermanentExportError,
    RowsRefused,
    StatementTimeout,
    TablesChanged,
    WriteBroke,
)
from headrace.store import sqlstate as sqlstate_words
from headrace.telemetry.metrics import DATABASE_UP

_CONNECT_SECONDS = 3
_PROBE_SECONDS = 2.0

_KEEPALIVE = {"tcp_user_timeout": 15_000, "keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3}
"""With these a host that vanishes silently, as in a failover, is noticed within half a minute. By the kernel's defaults it
would take a quarter of an hour while we write, and two hours while we wait."""

_PERMANENT = ("21", "22", "23", "44", "54", "P0")
"""Classes of SQLSTATE in which the rows are at fault, so that writing them again cannot help: cardinality violation, data
exception, integrity violation, a view's check option, limit exceeded, and what a trigger raises.
Every other class is a state of Postgres, which will change: connection, resources, shutdown, deadlock, read-only, even a
missing table while somebody runs `mlflow db upgrade`."""

_OF_TABLES = ("22001", "22003", "22P03", "23502", "23503", "23505")
"""Of these, those that rows also meet where the tables are not as the writer was made for: too short or too small a column,
another type, a column that must not be NULL, a foreign key, a unique key."""

_OTHER_TABLES = ("3F", "42")
"""Classes of SQLSTATE that tell of other tables: no such schema, and no such table, column, type or key."""

_PERMANENT_KINDS = (psycopg.DataError, psycopg.ProgrammingError, psycopg.NotSupportedError)
"""Permanent errors without a SQLSTATE. A broken connection has no SQLSTATE either, and is not among these: psycopg may raise it
as a plain DatabaseError."""


_NO_PASSWORD = "no password"  # noqa: S105
"""In libpq's own words for a server that asks for a password where none is set: "fe_sendauth: no password supplied"."""

_TIMEOUTS = ("57014", "25P04")
"""query_canceled, as by statement_timeout; transaction_timeout."""

_WAITS = ("40001", "40P01", "55P03")
"""serialization_failure, deadlock_detected, lock_not_available: another transaction was in the way. Postgres is there and
answers, so such an error does not count as its absence."""

_BREAKS = ("53200", "57P01", "57P02", "XX000")
"""out_of_memory; a backend that was ended, or crashed; internal_error, such as "invalid memory alloc request size". These,
class 08 (connection exception) and errors without a SQLSTATE may be an outage, or the fault of a batch: `export/exporter.py`
tells which."""


@dataclass(frozen=True, slots=True)
class Reachability:
    """Whether Postgres answered when last asked (None: not asked yet), since when that is so (Unix seconds), and the error if
    not."""

    up: bool | None
    since: float
    error: str = ""

    @property
    def away(self) -> bool:
        """True while Postgres is known not to answer. Then no request needs to wait in order to find that out."""
        return self.up is False


class Database:
    """A pool of connections to `url`. It connects when first used, and replaces a dead connection on its next use."""

    def __init__(self, url: str, application: str = "headrace", connections: int = 5, *, tells: bool = True) -> None:
        """`application`: the name that Postgres shows. `tells`: whether the metric `headrace_database_up` is this pool's."""
        self.url = sqlalchemy_url(url)
        self._tells = tells
        self.engine = create_engine(
            self.url,
            pool_size=min(3, connections),
            max_overflow=max(0, connections - 3),
            pool_timeout=5,
            pool_pre_ping=True,
            connect_args={"connect_timeout": _CONNECT_SECONDS, "application_name": application, **_KEEPALIVE},
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
        """One transaction. It is committed at the end of the block, and rolled back if the block raises.

        Raises:
            DatabaseUnavailable, PermanentExportError: in place of the errors of SQLAlchemy and psycopg.
        """
        try:
            with self.engine.begin() as connection:
                yield connection
        except (sqlalchemy.exc.SQLAlchemyError, psycopg.Error) as error:
            raise self.judge(error) from error
        self.note(None)

    def judge(self, error: BaseException) -> ExportError:
        """An exception of SQLAlchemy, psycopg or MLflow → the error that says whether to try again.

        MLflow wraps SQLAlchemy's errors, and these wrap psycopg's, so it follows the chain of causes. If Postgres is away, it
        notes that for `state`.
        """
        for cause in _causes(error):
            if isinstance(cause, psycopg.Error):
                return self._judge_postgres(cause)
            if isinstance(cause, sqlalchemy.exc.TimeoutError):
                return DatabaseUnavailable(f"No database connection is free: {_one_line(cause)}")
            if isinstance(cause, sqlalchemy.exc.PendingRollbackError):
                return DatabaseUnavailable(f"The connection broke amid the transaction: {_one_line(cause)}")
        return PermanentExportError(f"The write failed: {_one_line(error)}")

    def _judge_postgres(self, error: psycopg.Error) -> ExportError:
        permanent = error.sqlstate[:2] in _PERMANENT if error.sqlstate else isinstance(error, _PERMANENT_KINDS)
        message = f"{error.sqlstate}: {_one_line(error)}" if error.sqlstate else _one_line(error)
        if permanent:
            return RowsRefused(f"Postgres refuses the rows ({message})", error.sqlstate in _OF_TABLES)
        sqlstate = error.sqlstate or self._why_refused(error)
        if sqlstate and not error.sqlstate:
            message = f"{sqlstate}: {message}"
        meant = sqlstate_words.meaning(sqlstate)
        self.note(None if sqlstate in _WAITS else f"{meant} ({message})")
        if mend := sqlstate_words.mend(sqlstate):
            return DatabaseRefuses(f"{meant} ({message}): {mend}.")
        return _kind(sqlstate)(f"{meant} ({message})")

    def _why_refused(self, error: psycopg.Error) -> str | None:
        """The SQLSTATE with which Postgres refuses a connection, which psycopg's error lacks. None: it is no such error."""
        if error.pgconn is None or isinstance(error, psycopg.errors.ConnectionTimeout):
            return None
        if _NO_PASSWORD in str(error):  # libpq has noticed it, so the server has not said anything
            return "28P01"
        arguments, options = self.engine.dialect.create_connect_args(self.engine.url)
        known: dict[str, Any] = {
            name: value for name, value in options.items() if isinstance(value, str | int)
        }  # not SQLAlchemy's
        return sqlstate_words.of_refused_connection(make_conninfo(*arguments, **known))

    def note(self, error: str | None) -> None:
        """Remembers for `state` that Postgres answered (None), or the error if it did not."""
        with self._lock:
            self._checked = time.monotonic()
            up = error is None
            since = self._state.since if self._state.up == up else time.time()
            self._state = Reachability(up, since, error or "")
            if self._tells:
                DATABASE_UP.set(up)

    @property
    def state(self) -> Reachability:
        """What was noted last. No I/O."""
        return self._state

    def probe(self) -> Reachability:
        """Asks Postgres whether it answers. It only returns `state` if it was asked within the last two seconds, or if another
        thread is asking: one thread may hang with Postgres, not all."""
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
        """Cuts all connections. A thread that waits for a Postgres that hangs then gets DatabaseUnavailable at once."""
        for connection in list(self._connections):
            with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as cut:
                cut.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Closes the pool."""
        self.engine.dispose()


def _kind(sqlstate: str | None) -> type[DatabaseUnavailable]:
    if sqlstate in _TIMEOUTS:
        return StatementTimeout
    if sqlstate and sqlstate[:2] in _OTHER_TABLES:
        return TablesChanged
    broke = not sqlstate or sqlstate.startswith("08") or sqlstate in _BREAKS
    return WriteBroke if broke else DatabaseUnavailable


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and its chain of causes, at most ten in all."""
    for _ in range(10):
        if error is None:
            return
        yield error
        error = getattr(error, "orig", None) or error.__cause__


def _one_line(error: BaseException) -> str:
    """An error's text in one line of at most 500 characters. libpq's connection errors name host and user, never the password.

    It leaves out Postgres' DETAIL, which may hold the row that failed: data of clients do not belong in the log.
    """
    told = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return " ".join((told or str(error)).split())[:500]
