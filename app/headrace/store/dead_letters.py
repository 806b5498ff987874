"""The table `headrace.dead_letter`: records that can never be written as they are, with their bytes and the reason.

The worker stores them. `headrace dead-letters` lists, shows, replays and drops them.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Literal, NamedTuple

from sqlalchemy import and_, case, delete, func, inspect, select, text, update

from headrace.envelope import Delivery
from headrace.errors import StartError
from headrace.otlp.signals import TRACES, Signal
from headrace.store.database import Database
from headrace.store.letter_selection import LETTERS, Selection
from headrace.telemetry.logging import log
from headrace.telemetry.records import COUNTERS

_MAX_REASON = 2000
_MAX_BATCH = 500

_INSERT = text(
    "INSERT INTO headrace.dead_letter (digest, received_at, reason, experiment_id, experiment_name, user_agent, key_name,"
    " trace_id, span_id, envelope) VALUES (:digest, :received_at, :reason, :experiment_id, :experiment_name, :user_agent,"
    " :key_name, :trace_id, :span_id, :envelope) ON CONFLICT (digest) DO NOTHING"
)


_C = LETTERS.c
_COUNTED = {
    # Without details of a single span, so that letters with the same kind of reason are counted together.
    "reason": func.regexp_replace(
        func.regexp_replace(_C.reason, r"\s(DETAIL|HINT|CONTEXT):.*$", ")"), "tr-[0-9a-f]{32}", "tr-…", "g"
    ),
    "experiment": case(
        (and_(_C.experiment_id == "", _C.experiment_name == ""), "(unreadable)"),
        (_C.experiment_name == "", _C.experiment_id),
        (_C.experiment_id == "", _C.experiment_name),
        else_=func.concat(_C.experiment_id, " (", _C.experiment_name, ")"),
    ),
}


class Letter(NamedTuple):
    """A stored dead letter, without its envelope."""

    id: int
    created_at: datetime
    received_at: datetime
    experiment_id: str
    experiment_name: str
    trace_id: str | None
    span_id: str | None
    key_name: str
    user_agent: str
    reason: str
    bytes: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One span that is given up, and why, or some records of another signal; or one envelope that cannot be read, and then
    `delivery` is None.

    `index` is the place, in the batch, of the envelope that it came in.
    """

    index: int
    envelope: bytes
    delivery: Delivery[Any] | None
    reason: str

    @property
    def signal(self) -> Signal:
        """The signal of its records; traces if it cannot be read."""
        return TRACES if self.delivery is None else self.delivery.signal

    @property
    def records(self) -> int:
        """How many records it holds; 1 if it cannot be read."""
        return 1 if self.delivery is None else self.signal.form.count(self.delivery.request)


def store(database: Database, letters: Sequence[DeadLetter]) -> None:
    """Stores all of the letters or, if it raises, none. A letter that is stored already stays as it is. Counts and logs the new
    ones.

    Raises:
        DatabaseUnavailable: Postgres is away. Try again later.
    """
    with database.begin() as connection:
        new = [letter for letter in letters if connection.execute(_INSERT, _row(letter)).rowcount]
    for letter in new:
        COUNTERS[letter.signal.name].dead_lettered.inc(letter.records)
    if spans := [letter for letter in new if letter.signal is TRACES]:
        log.error("dead letters", spans=len(spans), reason=spans[0].reason[:500])
    if others := [letter for letter in new if letter.signal is not TRACES]:
        records = sum(letter.records for letter in others)
        log.error("dead letters", signal=others[0].signal.name, records=records, reason=others[0].reason[:500])


def check_table(database: Database) -> None:
    """Checks that the table of dead letters exists.

    Raises:
        StartError: it does not, or an older Headrace made it. DatabaseUnavailable: Postgres is away.
    """
    with database.begin() as connection:
        tables = inspect(connection)
        found = tables.has_table("dead_letter", schema="headrace")
        columns = {column["name"] for column in tables.get_columns("dead_letter", schema="headrace")} if found else set()
    if "key_name" not in columns:
        state = "was made by an older Headrace" if found else "is not there"
        raise StartError(
            f"The table headrace.dead_letter {state}. A start of this version's `headrace serve` or `headrace up` makes it;"
            " if that has been done, HEADRACE_DATABASE_URL names another database."
        )


def newest(database: Database, selection: Selection, limit: int) -> list[Letter]:
    """The newest letters of the selection, at most `limit`, the newest first."""
    columns = [_C[name] for name in Letter._fields[:-1]]
    query = select(*columns, func.octet_length(_C.envelope)).where(*selection.conditions)
    with database.begin() as connection:
        return [Letter(*row) for row in connection.execute(query.order_by(_C.id.desc()).limit(limit))]


def newest_id(database: Database) -> int:
    """The highest id of all letters; 0 if there is none. Later letters have higher ids."""
    with database.begin() as connection:
        return int(connection.execute(select(func.coalesce(func.max(_C.id), 0))).scalar_one())


def envelope_of(database: Database, id_: int) -> bytes:
    """The envelope of the letter with this id; empty if there is no such letter."""
    with database.begin() as connection:
        return bytes(connection.execute(select(_C.envelope).where(_C.id == id_)).scalar() or b"")


def count(database: Database, selection: Selection, by: Literal["reason", "experiment"]) -> Counter[str]:
    """The number of selected letters for each kind of reason, or for each experiment as it was named; the largest number
    first."""
    number = func.count()
    value = _COUNTED[by].label("value")
    query = select(value, number).select_from(LETTERS).where(*selection.conditions)
    with database.begin() as connection:
        return Counter(dict(row.tuple() for row in connection.execute(query.group_by(value).order_by(number.desc(), value))))


def batch(database: Database, selection: Selection, after: int, max_bytes: int) -> list[tuple[int, bytes]]:
    """Ids and envelopes of the oldest selected letters whose id is above `after`: at least one, if there is one, and about
    `max_bytes` at most."""
    oldest = select(_C.id, _C.envelope).where(*selection.conditions, _C.id > after).order_by(_C.id).limit(_MAX_BATCH).subquery()
    size = func.octet_length(oldest.c.envelope)
    summed = select(oldest, (func.sum(size).over(order_by=oldest.c.id) - size).label("before")).subquery()
    query = select(summed.c.id, summed.c.envelope).where(summed.c.before < max_bytes).order_by(summed.c.id)
    with database.begin() as connection:
        return [(id_, bytes(envelope)) for id_, envelope in connection.execute(query)]


def settle(database: Database, written: Collection[int], failed: Mapping[int, str]) -> None:
    """Deletes the letters whose spans are written. Gives those that failed again (id → reason) their new reason."""
    with database.begin() as connection:
        connection.execute(delete(LETTERS).where(_C.id.in_(written)))
        for id_, reason in failed.items():
            connection.execute(update(LETTERS).where(_C.id == id_).values(reason=_bounded(reason)))


def drop(database: Database, selection: Selection) -> int:
    """Deletes the selected letters for good. Returns how many."""
    with database.begin() as connection:
        return connection.execute(delete(LETTERS).where(*selection.conditions)).rowcount


def _row(letter: DeadLetter) -> dict[str, object]:
    row: dict[str, object] = {
        "digest": hashlib.sha256(letter.envelope).digest(),
        "received_at": datetime.now(timezone.utc),
        "reason": _bounded(letter.reason),
        **dict.fromkeys(("experiment_id", "experiment_name", "user_agent", "key_name"), ""),
        "trace_id": None,
        "span_id": None,
        "envelope": letter.envelope,
    }
    if (delivery := letter.delivery) and (places := delivery.signal.form.places(delivery.request)):
        first = places[0]
        destination = delivery.destinations[first.resource]
        row |= {
            "received_at": datetime.fromtimestamp(delivery.received_unix_nano / 1e9, timezone.utc),
            "experiment_id": _storable(destination.experiment_id),
            "experiment_name": _storable(destination.experiment_name),
            "user_agent": _storable(delivery.user_agent),
            "key_name": _storable(delivery.key_name),
        }
        if delivery.signal.form.ids is not None:
            row |= {"trace_id": first.record.trace_id.hex(), "span_id": first.record.span_id.hex()}
    return row


def _storable(value: str) -> str:
    return value.replace("\x00", "\ufffd")


def _bounded(reason: str) -> str:
    return _storable(reason)[:_MAX_REASON]
