"""Deletes traces that are older, or more, than the rules of HEADRACE_RETENTION let stay, and all that hangs on them.

As MLflow's `SqlAlchemyStore._delete_traces`, a few at a time: its daily sums are marked first, a trace takes its spans, tags,
metadata and assessments along, and items of review queues go, too. What MLflow has archived stays: its contents lie in an
artifact store that is MLflow's to clean.

A deletion waits for no lock. A trace that is being written just now stays until the next time.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mlflow.store.tracking.utils.sql_trace_rollups import RollupFamily, enqueue_rollup_rebuild_partitions, rollups_enabled
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from headrace.config.retention import RetentionRule
from headrace.mlflow.write.statements import Rows, load_statements, transaction
from headrace.store.database import Database
from headrace.telemetry.metrics import TRACES_EXPIRED

_STATEMENTS = load_statements("retain.sql")
_AT_ONCE = 200
"""Traces a transaction."""
_MOST_ID = "\U0010ffff"
_DAY_MS = 86_400_000
_FAMILIES = {"trace": RollupFamily.TRACE_METRIC, "span": RollupFamily.SPAN_COST, "assessment": RollupFamily.ASSESSMENT}

Key = tuple[int, str]
"""A trace's place in its experiment: its start in milliseconds, and its id."""
_FIRST: Key = (-(1 << 62), "")


@dataclass(frozen=True, slots=True)
class Share:
    """One experiment, and the rule for it."""

    experiment_id: int
    name: str
    rule: RetentionRule


@dataclass(slots=True)
class Step:
    """What became of some traces: how many went (or would go), and how many of those that were due stayed, by the reason."""

    gone: int = 0
    stayed: Counter[str] = field(default_factory=Counter)
    last: Key | None = None
    """Where to go on. None: that was the end."""


def shares(database: Database, rules: Sequence[RetentionRule]) -> list[Share]:
    """Each experiment that a rule names, with the first such rule.

    Raises:
        DatabaseUnavailable, PermanentExportError.
    """
    with transaction(database) as (_, cursor):
        cursor.execute(_STATEMENTS["read_experiments"])
        found = [(id_, name, _names(id_, name, workspace)) for id_, name, workspace in cursor]
    return [
        Share(id_, name, rule)
        for id_, name, names in found
        if (rule := next((rule for rule in rules if rule.experiment in names), None)) is not None
    ]


def _names(id_: int, name: str, workspace: str) -> set[str]:
    return {"*", str(id_)} | ({name} if workspace == "default" else set())


def due(database: Database, share: Share) -> Key | None:
    """The newest trace that the rule does not let stay. None: there is none.

    Raises:
        DatabaseUnavailable, PermanentExportError.
    """
    found: list[Key] = []
    if share.rule.days is not None:
        found.append((int(time.time() * 1000 - share.rule.days * _DAY_MS), _MOST_ID))
    if share.rule.keep is not None:
        with transaction(database) as (_, cursor):
            cursor.execute(_STATEMENTS["read_newest_that_goes"], {"experiment": share.experiment_id, "keep": share.rule.keep})
            if (row := cursor.fetchone()) is not None:
                found.append((row[0], row[1]))
    return max(found, default=None)


def look(database: Database, share: Share, until: Key, after: Key | None = None, limit: int = 10_000) -> Step:
    """Counts the next `limit` traces of the experiment that are due, as `expire` would treat them. Deletes nothing.

    Raises:
        DatabaseUnavailable, PermanentExportError.
    """
    with transaction(database) as (_, cursor):
        step, ids = _look(cursor, share, until, after or _FIRST, limit)
    step.gone = len(ids)
    return step


def expire(database: Database, share: Share, until: Key, after: Key | None = None, limit: int = _AT_ONCE) -> Step:
    """Deletes, of the next `limit` traces of the experiment that are due, those that nothing spares. One transaction.

    `until`: from `due`. `after`: `last` of the step before.

    Raises:
        DatabaseUnavailable, PermanentExportError.
    """
    with transaction(database) as (connection, cursor):
        step, ids = _look(cursor, share, until, after or _FIRST, limit)
        if ids:
            _mark_days(connection, cursor, ids)
            locked = _delete(cursor, ids)
            step.gone, busy = locked, len(ids) - locked
            step.stayed += Counter({"in use": busy} if busy else {})
    TRACES_EXPIRED.inc(step.gone)
    return step


def _look(cursor: Rows, share: Share, until: Key, after: Key, limit: int) -> tuple[Step, list[str]]:
    given = {"experiment": share.experiment_id, "limit": limit, "after_ms": after[0], "after_id": after[1]}
    cursor.execute(_STATEMENTS["look"], given | {"last_ms": until[0], "last_id": until[1]})
    step, ids, last = Step(), [], None
    for timestamp, trace_id, tagged, assessed, linked, archived in cursor:
        last = timestamp, trace_id
        spared = {"tagged": tagged, "assessed": assessed, "linked": linked}
        why = "archived" if archived else next((why for why in share.rule.spare if spared[why]), "")
        if why:
            step.stayed[why] += 1
        else:
            ids.append(trace_id)
    step.last = last if len(ids) + step.stayed.total() == limit else None
    return step, ids


def _mark_days(connection: Connection, cursor: Rows, ids: list[str]) -> None:
    """Marks the days for MLflow's next rebuild of its sums, if it keeps any. Before any lock on a trace: MLflow's order."""
    if rollups_enabled():
        cursor.execute(_STATEMENTS["read_days"], {"ids": ids})
        enqueue_rollup_rebuild_partitions(
            Session(bind=connection), [(_FAMILIES[kind], experiment, [at]) for kind, experiment, at in cursor]
        )


def _delete(cursor: Rows, ids: list[str]) -> int:
    """Deletes those of these traces that nobody has locked. Returns how many."""
    cursor.execute(_STATEMENTS["lock"], {"ids": ids})
    given: dict[str, Any] = {"ids": [trace_id for (trace_id,) in cursor]}
    cursor.execute(_STATEMENTS["has_reviews"])
    reviews = ["delete_reviews"] if cursor.fetchall() == [(True,)] else []
    for statement in ("delete", "delete_links", *reviews, "delete_ours"):
        cursor.execute(_STATEMENTS[statement], given)
    return len(given["ids"])
