"""SQLSTATE → what is wrong with Postgres, and what to do about it, in words; and the SQLSTATE of a connection that was refused.

Source: https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

import ctypes
import re
import selectors
import sys
import time
from contextlib import closing
from typing import Any, TypeVar

from psycopg import pq

_LOGIN = "check the user and the password in HEADRACE_DATABASE_URL, and the server's pg_hba.conf"
_RIGHTS = (
    "as the database's owner run: GRANT CONNECT, CREATE ON DATABASE <name> TO <role>; GRANT SELECT, INSERT, UPDATE, DELETE ON "
    "ALL TABLES IN SCHEMA public TO <role>; GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO <role>"
)
_REFUSALS = {
    "3D000": (
        "Postgres has no such database",
        "name MLflow's database in HEADRACE_DATABASE_URL, or make it with `createdb` and `mlflow db upgrade`",
    ),
    "28P01": ("Postgres does not accept the password", _LOGIN),
    "28": ("Postgres does not let Headrace log in", _LOGIN),
    "42501": ("Postgres denies Headrace a right that it needs", _RIGHTS),
}
"""What does not pass by itself: somebody has to change a setting or a right."""
_STATES = {
    "57P03": "Postgres is starting or stopping",
    "57P01": "Postgres has ended the connection",
    "57P02": "Postgres has ended the connection",
    "57014": "Postgres took too long",
    "25P04": "Postgres took too long",
    "25006": "Postgres is read-only, as a standby is",
    "53100": "The disk of Postgres is full",
    "53200": "Postgres is out of memory",
    "53300": "Postgres has no connection free: see its max_connections",
    "53": "Postgres is short of resources",
    "55P03": "Postgres waits for a lock",
    "55": "Postgres cannot do this now",
    "40": "Postgres has undone this in favour of another transaction",
    "3F": "A schema is missing in Postgres: is `mlflow db upgrade` running?",
    "42": "The tables in Postgres are not as they should be: is `mlflow db upgrade` running?",
    "58": "The disk or the system under Postgres fails",
    "XX": "Postgres has an internal error",
    "08": "Postgres is away",
}
"""What may pass by itself. An error without a SQLSTATE is one of the connection."""

_T = TypeVar("_T")

_VERBOSE = 2  # PQERRORS_VERBOSE of libpq-fe.h
_IN_TEXT = re.compile(rb":\s+((?=[A-Z]{0,4}[0-9])[0-9A-Z]{5}):\s")
_CONNECT_SECONDS = 3.0


def mend(sqlstate: str | None) -> str:
    """What to do about an error that does not pass by itself. Empty: it may pass."""
    return _find(_REFUSALS, sqlstate, ("", ""))[1]


def meaning(sqlstate: str | None) -> str:
    """What the error says of Postgres."""
    if sqlstate is None:
        return _STATES["08"]
    return _find(_REFUSALS, sqlstate, ("", ""))[0] or _find(_STATES, sqlstate, "Postgres cannot do this now")


def _find(table: dict[str, _T], sqlstate: str | None, otherwise: _T) -> _T:
    """The entry of this SQLSTATE, else that of its class."""
    code = sqlstate or ""
    return table.get(code) or table.get(code[:2]) or otherwise


def of_refused_connection(conninfo: str) -> str | None:
    """Connects once more → the SQLSTATE with which the server refuses. None: it does not refuse, or is away.

    libpq has the SQLSTATE of a refused connection only in its text, and only if it is asked to be verbose, which psycopg has no
    method for. The text alone would not do: it is in the server's language.
    """
    try:
        connection: Any = pq.PGconn.connect_start(conninfo.encode())
        library = ctypes.CDLL(sys.modules[type(connection).__module__].__file__)
        be_verbose = library.PQsetErrorVerbosity
        be_verbose.argtypes, be_verbose.restype = (ctypes.c_void_p, ctypes.c_int), ctypes.c_int
    except (OSError, AttributeError, TypeError):  # a psycopg that is built in another way
        return None
    try:
        if connection.pgconn_ptr:
            be_verbose(connection.pgconn_ptr, _VERBOSE)
            _connect(connection)
        found = _IN_TEXT.findall(connection.error_message)
        return found[-1].decode() if found else None
    finally:
        connection.finish()


def _connect(connection: Any) -> None:
    """Goes on until the connection stands, has failed, or three seconds are over."""
    deadline = time.monotonic() + _CONNECT_SECONDS
    ready = {pq.PollingStatus.READING: selectors.EVENT_READ, pq.PollingStatus.WRITING: selectors.EVENT_WRITE}
    status = pq.PollingStatus.WRITING
    while status in ready and (left := deadline - time.monotonic()) > 0 and connection.socket >= 0:
        with closing(selectors.DefaultSelector()) as selector:
            selector.register(connection.socket, ready[status])
            if selector.select(left):
                status = connection.connect_poll()
