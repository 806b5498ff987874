"""Deletes what nobody needs any more in our own tables: remembered traces, origins, and the index of what is old or gone.

`headrace.remembered_trace` only spares a look at a trace's spans: what was not used lately is deleted (`forget_traces`).

Origins (resources and scopes) are deleted that no stored span names any more (`prune_origins`): pod names would fill
`headrace.origin` for ever. MLflow deletes traces by itself, so nobody tells us when the last span of an origin goes. Three
steps find out, each only where the one before leaves something to find:

    1. A writer notes, once a day, that it uses an origin, and for which trace. What was used lately stays.
    2. An origin whose noted trace is still there stays. That is a look into an index, and all of it where none is deleted.
    3. If many are left, all stored spans are read once, in pages. An origin that a span names stays, and that span's trace is
       noted for the next time. The others are deleted.

No clock of a client counts. A span that comes during step 3 marks its origin as used in its own transaction, so that the
origin is not deleted, or is stored again.
"""

import threading

from headrace.mlflow.write.statements import Rows, load_statements, transaction
from headrace.store.database import Database
from headrace.telemetry.metrics import ORIGINS_DELETED

_STATEMENTS = load_statements("prune.sql")
_LOCK = 0x6F726967  # "orig"
_WORTH_A_LOOK = 1000
"""Fewer origins are not worth a look at all spans: they stay."""
_MOST = 100_000
"""Origins that are looked for at once. Their digests take some 10 MB."""
_PAGE = 1000
"""Spans a statement."""
_PAUSE_SECONDS = 0.02
"""Between two pages: the writer comes first."""
_DAYS_REMEMBERED = 1
"""A trace that gets spans after a longer time is read once more."""
_FORGOTTEN_AT_ONCE = 5000
"""Rows a transaction."""
_DAYS_WAITED = 7
"""For the caller of a call. One that has not come in so long was never sent."""
_INDEX_ROWS = 10_000
"""Rows a statement."""


def forget_traces(database: Database) -> bool:
    """Deletes what is remembered of traces that nothing has come for since the day before yesterday. True: there may be more.

    Raises:
        DatabaseUnavailable, PermanentExportError.
    """
    with transaction(database) as (_, cursor):
        cursor.execute(_STATEMENTS["forget_traces"], {"days": _DAYS_REMEMBERED, "limit": _FORGOTTEN_AT_ONCE})
        return cursor.rowcount == _FORGOTTEN_AT_ONCE


def prune_origins(
    database: Database, days: int, stopping: threading.Event, least: int = _WORTH_A_LOOK, page: int = _PAGE
) -> bool:
    """Deletes the origins that were not used for `days` days and that no span names. True: there may be more.

    Does nothing where there are fewer than `least` to look for, where another process is at it, or once `stopping` is set.
    The whole is one transaction, which holds locks only at its end.

    Raises:
        DatabaseUnavailable, PermanentExportError.
    """
    with transaction(database) as (_, cursor):
        cursor.execute(_STATEMENTS["lock"], {"key": _LOCK})
        if cursor.fetchall() != [(True,)]:
            return False
        cursor.execute(_STATEMENTS["find_suspects"], {"days": days, "limit": _MOST})
        suspects = {digest for (digest,) in cursor}
        named = _named_by_spans(cursor, suspects, stopping, page) if len(suspects) >= least else None
        if named is None:
            return False
        cursor.execute(_STATEMENTS["note_traces"], {"digest": list(named), "trace_id": list(named.values())})
        cursor.execute(_STATEMENTS["delete"], {"digest": list(suspects - named.keys()), "days": days})
        deleted = cursor.rowcount
    ORIGINS_DELETED.inc(deleted)
    return len(suspects) == _MOST


def _named_by_spans(cursor: Rows, suspects: set[str], stopping: threading.Event, page: int) -> dict[str, str] | None:
    """Those of these origins that stored spans name, each with one of the traces. None: asked to stop before the end."""
    named: dict[str, str] = {}
    last: tuple[str, str] | None = ("", "")
    while last is not None:
        if stopping.wait(_PAUSE_SECONDS):
            return None
        cursor.execute(_STATEMENTS["read_page"], {"trace_id": last[0], "span_id": last[1], "limit": page})
        last = None
        for digest, trace_id, span_id in cursor:
            if digest is None:
                last = trace_id, span_id
            elif digest in suspects:
                named[digest] = trace_id
    return named


def prune_index(database: Database, days: int, limit: int = _INDEX_ROWS) -> int:
    """Deletes what of the index is older than so many days, and what belongs to traces that are gone. Returns how many rows: 0
    if there are no more, or if another process is at it.

    At most `limit` rows a table and call, but for those of traces that are gone: these are looked at in pages of that size. It
    waits for nobody's lock.

    Raises:
        DatabaseUnavailable, PermanentExportError.
    """
    with transaction(database) as (_, cursor):
        cursor.execute(_STATEMENTS["lock"], {"key": _LOCK})
        if cursor.fetchall() != [(True,)]:
            return 0
        deleted = 0
        for statement in ("prune_waiting", "prune_operations", "prune_edges", "prune_edge_days", "prune_origin_services"):
            cursor.execute(_STATEMENTS[statement], {"days": days, "waiting_days": _DAYS_WAITED, "limit": limit})
            deleted += cursor.rowcount
        return deleted + _prune_trace_services(cursor, limit)


def prune_logged_traces(database: Database, limit: int = _INDEX_ROWS) -> int:
    """Deletes what is remembered of traces with log records that are gone; returns how many.

    Raises:
        DatabaseUnavailable, PermanentExportError.
    """
    deleted, last = 0, ""
    with transaction(database) as (_, cursor):
        while True:
            cursor.execute(_STATEMENTS["prune_logged_traces"], {"trace_id": last, "limit": limit})
            if (found := cursor.fetchone()) is None:
                return deleted
            last = found[0]
            deleted += found[1]


def _prune_trace_services(cursor: Rows, limit: int) -> int:
    deleted = 0
    last = "", ""
    while True:
        page = {"trace_id": last[0], "service": last[1], "limit": limit}
        cursor.execute(_STATEMENTS["prune_trace_services"], page)
        if (found := cursor.fetchone()) is None:
            return deleted
        *key, gone = found
        last = key[0], key[1]
        deleted += gone
