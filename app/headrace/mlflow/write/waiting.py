"""Log records that wait for their span: `headrace.waiting_log`.

A record is stored there first, and committed. Then its span is looked for; if it is there, it is written again, with the record
(`BulkWriter.write_again`). If it is not, whoever writes it later looks for the record (`joining.py`).

One case is left: a writer of the span has looked before the record was committed, and commits after the span was looked for.
So the span is looked for once more, when all transactions are over that may have looked too early: `look_again`. A record whose
span is not there then can be left alone. This takes no lock that a writer of spans would wait for.
"""

from collections.abc import Collection, Sequence

from headrace.errors import PermanentExportError
from headrace.mlflow.keys import to_otlp_trace_id
from headrace.mlflow.logs.coming import Coming
from headrace.mlflow.logs.record import Rank
from headrace.mlflow.text import to_object
from headrace.mlflow.translate.note import records_in
from headrace.mlflow.write.authority import foreign_trace
from headrace.mlflow.write.bulk import BulkWriter
from headrace.mlflow.write.joining import LOG_STATEMENTS, Key, covers, experiment_names, read_spans
from headrace.mlflow.write.statements import Rows, transaction
from headrace.rejected import RejectedSpans
from headrace.store.database import Database
from headrace.telemetry.waiting import LOGS_EXPIRED, LOGS_WAITING, LOGS_WAITING_BYTES

_AT_ONCE = 1000
"""Rows a transaction."""
_NEVER = Rank(2, 0, 0, "")
"""After all ranks that there are."""


def wait(database: Database, logs: Sequence[Coming]) -> list[Key]:
    """Stores log records until they join their span, unless they have. Returns their spans that are there now.

    Raises:
        PermanentExportError: names those whose sender may not change the trace. Nothing is stored then.
        DatabaseUnavailable: the same call may succeed later.
    """
    with transaction(database) as (_, cursor):
        _refuse_foreign(cursor, logs)
        stored = read_spans(cursor, {(log.trace_id, log.span_id) for log in logs})
        joined = {
            (*key, record.digest): record.rank for key, text in stored.items() for record in records_in(to_object(text) or {})
        }
        new: dict[tuple[str, str, str], Coming] = {}
        for log in sorted(logs, key=lambda log: log.record.rank, reverse=True):  # the least position is the last
            if log.record.rank < joined.get(key := (log.trace_id, log.span_id, log.record.digest), _NEVER):
                new[key] = log
        _add(cursor, [new[key] for key in sorted(new)])
    return sorted({key[:2] for key in new} & stored.keys())


def _refuse_foreign(cursor: Rows, logs: Sequence[Coming]) -> None:
    """A trace that nobody has made yet is refused when its first span comes: see `joining.py`."""
    limited = [log for log in logs if log.limit is not None]
    if not limited:
        return
    cursor.execute(LOG_STATEMENTS["read_standing"], {"ids": sorted({log.trace_id for log in limited})})
    standing: dict[str, int] = dict(cursor.fetchall())
    names = experiment_names(cursor, set(standing.values()))
    refused = [
        RejectedSpans(
            to_otlp_trace_id(log.trace_id),
            str(log.experiment_id),
            foreign_trace(log.trace_id, standing[log.trace_id], log.limit),
            log.delivery,
        )
        for log in limited
        if log.limit and log.trace_id in standing and not covers(log.limit, log.experiment_id, [standing[log.trace_id]], names)
    ]
    if refused:
        raise PermanentExportError(refused[0].reason, list(dict.fromkeys(refused)))


def _add(cursor: Rows, logs: Sequence[Coming]) -> None:
    if not logs:
        return
    columns = {
        "trace_id": [log.trace_id for log in logs],
        "span_id": [log.span_id for log in logs],
        "digest": [log.record.digest for log in logs],
        "position": [log.record.rank.position for log in logs],
        "record": [log.record.data for log in logs],
        "experiment_id": [log.experiment_id for log in logs],
        "sender_limit": [log.limit.to_message().SerializeToString() if log.limit else None for log in logs],
    }
    cursor.execute(LOG_STATEMENTS["add_waiting"], columns)


def forget(database: Database, keys: Collection[Key]) -> None:
    """Deletes what waits for these spans: with it they cannot be written.

    Raises:
        DatabaseUnavailable, PermanentExportError.
    """
    with transaction(database) as (_, cursor):
        cursor.execute(LOG_STATEMENTS["forget"], _columns(keys))
        gone = cursor.rowcount
    LOGS_EXPIRED.labels("unwritable").inc(gone)


def look_again(writer: BulkWriter, database: Database) -> bool:
    """Joins what a writer of spans has missed. Call it again and again; True: there may be more to do at once.

    Raises:
        DatabaseUnavailable, PermanentExportError.
    """
    with transaction(database) as (_, cursor):
        cursor.execute(LOG_STATEMENTS["note_new"], {"limit": _AT_ONCE})
        noted = cursor.rowcount
        cursor.execute(LOG_STATEMENTS["read_horizon"])
        ((horizon,),) = cursor.fetchall()
        cursor.execute(LOG_STATEMENTS["find_noted"], {"horizon": horizon, "limit": _AT_ONCE})
        found: list[Key] = [(trace_id, span_id) for trace_id, span_id in cursor]
    if not found:
        return noted == _AT_ONCE
    try:
        writer.write_again(found)
    except PermanentExportError:
        _one_by_one(writer, database, found)
    with transaction(database) as (_, cursor):
        cursor.execute(LOG_STATEMENTS["settle"], _columns(found) | {"horizon": horizon})
    return True


def _one_by_one(writer: BulkWriter, database: Database, keys: Sequence[Key]) -> None:
    """Some span of these cannot be written with its records: it stays as it is, and they go."""
    for key in keys:
        try:
            writer.write_again([key])
        except PermanentExportError:
            forget(database, [key])


def _columns(keys: Collection[Key]) -> dict[str, list[str]]:
    ordered = sorted(keys)
    return {"trace_id": [trace_id for trace_id, _ in ordered], "span_id": [span_id for _, span_id in ordered]}


def expire(database: Database, seconds: float, most_bytes: int) -> int:
    """Deletes records that have waited for so many seconds, and the oldest if all together take more than so many bytes.
    Returns how many, some thousand at most; notes how many wait.

    Raises:
        DatabaseUnavailable, PermanentExportError.
    """
    with transaction(database) as (_, cursor):
        cursor.execute(LOG_STATEMENTS["expire"], {"seconds": seconds, "limit": _AT_ONCE})
        too_old = cursor.rowcount
        cursor.execute(LOG_STATEMENTS["expire_over"], {"bytes": most_bytes, "limit": _AT_ONCE})
        too_much = cursor.rowcount
        cursor.execute(LOG_STATEMENTS["size"])
        ((count, size),) = cursor.fetchall()
    LOGS_EXPIRED.labels("too_old").inc(too_old)
    LOGS_EXPIRED.labels("too_much").inc(too_much)
    LOGS_WAITING.set(count)
    LOGS_WAITING_BYTES.set(float(size))
    return too_old + too_much


__all__ = ["expire", "forget", "look_again", "wait"]
