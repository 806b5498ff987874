"""The table `headrace.waiting_metrics`: metrics that are passed on to another endpoint, until it has taken them.

The writer of metrics adds to it, in its own transaction. The forwarder takes from it: it borrows requests for some seconds, so
that no other process sends them meanwhile, and deletes them once they are sent. No transaction is open while it sends.
"""

import hashlib
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from psycopg import Cursor
from sqlalchemy import text

from headrace.store.database import Database

_AT_ONCE = 1000
"""Most rows a transaction."""
_ADD = """
    INSERT INTO headrace.waiting_metrics (digest, request, points)
    SELECT * FROM unnest(%s::bytea[], %s::bytea[], %s::int4[]) ON CONFLICT DO NOTHING
"""
_BORROW = text("""
    UPDATE headrace.waiting_metrics SET due_at = now() + make_interval(secs => :seconds)
    WHERE id IN (
        SELECT id FROM (
            SELECT id, sum(octet_length(request)) OVER (ORDER BY id) - octet_length(request) AS before
            FROM (
                SELECT id, request FROM headrace.waiting_metrics WHERE due_at <= now()
                ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED
            ) AS due
        ) AS sized WHERE before < :bytes
    )
    RETURNING id, request, points
""")
_RELEASE = text("UPDATE headrace.waiting_metrics SET due_at = now() WHERE id = ANY (:ids)")
_DELETE = text("DELETE FROM headrace.waiting_metrics WHERE id = ANY (:ids)")
_EXPIRE = text("""
    WITH gone AS (
        DELETE FROM headrace.waiting_metrics WHERE id IN (
            SELECT id FROM headrace.waiting_metrics WHERE noted_at < now() - make_interval(secs => :seconds)
            ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED
        ) RETURNING points
    ) SELECT coalesce(sum(points), 0) FROM gone
""")
_EXPIRE_OVER = text("""
    WITH gone AS (
        DELETE FROM headrace.waiting_metrics WHERE id IN (
            SELECT id FROM (
                SELECT id, sum(octet_length(request)) OVER (ORDER BY id DESC) AS size FROM headrace.waiting_metrics
            ) AS sized WHERE size > :bytes ORDER BY id LIMIT :most
        ) RETURNING points
    ) SELECT coalesce(sum(points), 0) FROM gone
""")
_SIZE = text("""
    SELECT coalesce(sum(points), 0), coalesce(sum(octet_length(request)), 0),
        coalesce(extract(epoch FROM now() - min(noted_at)), 0) FROM headrace.waiting_metrics
""")


class Waiting(NamedTuple):
    """A request that waits: its id, its OTLP message, and how many data points it has."""

    id: int
    request: bytes
    points: int


class Size(NamedTuple):
    """How much waits: data points, bytes, and the age of the oldest in seconds."""

    points: int
    bytes: int
    age: float


class Expired(NamedTuple):
    """Data points that were deleted: because they waited for too long, and because too many bytes waited."""

    too_old: int
    too_much: int


def add(cursor: Cursor[Any], requests: Sequence[tuple[bytes, int]]) -> None:
    """Adds OTLP requests, each with the number of its data points. One that waits already is not added."""
    digests = [hashlib.sha256(request).digest() for request, _ in requests]
    cursor.execute(_ADD, [digests, [request for request, _ in requests], [points for _, points in requests]])


def borrow(database: Database, seconds: float, most: int, most_bytes: int) -> list[Waiting]:
    """The oldest requests that are due, in their order: `most` of them at most, and at least one of any size. For so many
    seconds nobody else gets them.

    Raises:
        DatabaseUnavailable, PermanentExportError: as all functions of this module.
    """
    with database.begin() as connection:
        found = connection.execute(_BORROW, {"seconds": seconds, "most": most, "bytes": most_bytes}).all()
    return sorted(Waiting(row.id, bytes(row.request), row.points) for row in found)


def release(database: Database, ids: Collection[int]) -> None:
    """Gives back what was borrowed: it is due at once."""
    with database.begin() as connection:
        connection.execute(_RELEASE, {"ids": list(ids)})


def delete(database: Database, ids: Collection[int]) -> None:
    """Deletes what was sent, or never will be."""
    with database.begin() as connection:
        connection.execute(_DELETE, {"ids": list(ids)})


def expire(database: Database, seconds: float, most_bytes: int | None = None) -> Expired:
    """Deletes what has waited for longer than so many seconds, and the oldest if all takes more than so many bytes; a thousand
    requests at most for each reason."""
    with database.begin() as connection:
        too_old = connection.execute(_EXPIRE, {"seconds": seconds, "most": _AT_ONCE}).scalar_one()
        over = {"bytes": most_bytes, "most": _AT_ONCE}
        too_much = 0 if most_bytes is None else connection.execute(_EXPIRE_OVER, over).scalar_one()
    return Expired(int(too_old), int(too_much))


def size(database: Database) -> Size:
    """How much waits now."""
    with database.begin() as connection:
        points, total, age = connection.execute(_SIZE).one()
    return Size(int(points), int(total), float(age))
