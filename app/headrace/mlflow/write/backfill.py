"""The index of traces that were written before it was there, by MLflow itself, or with HEADRACE_INDEX=false.

It goes through the traces of each experiment, the newest first, and covers those that are not covered (`cover.py`), some at a
time, each time in a small transaction of its own. So it may be ended at any time, by any means: started again, it finds what is
left. It may run beside writers. A trace that somebody writes just now is left for later; nobody waits longer for a trace than
one such transaction takes.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from headrace.errors import StartError
from headrace.mlflow.write.cover import Covered, cover
from headrace.mlflow.write.index import Index
from headrace.mlflow.write.plan import Plan
from headrace.mlflow.write.statements import STATEMENTS, Rows, load_statements, transaction
from headrace.store.database import Database

_STATEMENTS = load_statements("cover.sql")
_PAGE = 1000
"""Traces that it looks at at once."""
_SPANS, _TRACES = 1000, 200
"""Most of a transaction."""
_END_OF_TIME = 2**63 - 1
_LAST = "\U0010ffff"
"""Comes after each id of a trace."""


class Step(NamedTuple):
    """What it has done since the last step, in traces and spans."""

    looked_at: int
    covered: int = 0
    spans: int = 0


class Backfill:
    """Fills the index of one database, of traces that began at `since_ms` or later, in milliseconds since 1970."""

    def __init__(self, database: Database, experiment: str | None = None, since_ms: int = 0, spans: int = _SPANS) -> None:
        """`experiment`: id or name of the only one. None: all. `spans`: most of a transaction; but a trace is covered whole.

        Raises:
            StartError: there are no tables for it, or no such experiment.
            DatabaseUnavailable.
        """
        self._database = database
        self._since = since_ms
        self._spans = spans
        self._index = Index()
        with transaction(database) as (_, cursor):
            _check(cursor)
            cursor.execute(_STATEMENTS["experiments"], {"experiment": experiment})
            self._experiments = [id_ for (id_,) in cursor]
            if experiment is not None and not self._experiments:
                raise StartError(f"MLflow has no experiment {experiment!r}: name it by its id or its name.")
            cursor.execute(_STATEMENTS["count_traces"], {"experiments": self._experiments, "since": since_ms})
            self.traces = cursor.fetchall()[0][0]
            """How many it will look at, about: others may come."""

    def run(self) -> Iterator[Step]:
        """Fills the index, step by step.

        Raises:
            DatabaseUnavailable, PermanentExportError: started again, it goes on.
        """
        for experiment in self._experiments:
            busy: list[str] = []
            for page in self._pages(experiment):
                yield Step(sum(spans is None for _, spans in page))
                for group in _groups(page, self._spans):
                    step, left = self._cover(group, "lock_free")
                    busy += left
                    yield step
            for trace_id in busy:
                yield self._cover([trace_id], "lock")[0]

    def _pages(self, experiment: int) -> Iterator[list[tuple[str, int | None]]]:
        """The traces of an experiment, each with the number of its spans. None: it is covered."""
        last: tuple[str, int] | None = _LAST, _END_OF_TIME
        while last is not None:
            place = {"experiment": experiment, "since": self._since, "id": last[0], "before": last[1]}
            with transaction(self._database) as (_, cursor):
                cursor.execute(STATEMENTS["plan_by_index"], prepare=False)
                cursor.execute(_STATEMENTS["read_page"], place | {"spans": self._spans, "limit": _PAGE})
                rows = cursor.fetchall()
            last = rows[-1][:2] if rows else None
            yield [(trace_id, spans) for trace_id, _, spans in rows]

    def _cover(self, trace_ids: Sequence[str], lock: str) -> tuple[Step, list[str]]:
        """One transaction. Returns also which of the traces somebody else had locked."""
        plan = Plan()
        with transaction(self._database) as (_, cursor):
            cursor.execute(STATEMENTS["plan_by_index"], prepare=False)
            cursor.execute(_STATEMENTS[lock], {"trace_id": trace_ids})
            locked = dict(cursor.fetchall())
            cursor.execute(_STATEMENTS["read_covered"], {"trace_id": list(locked)})
            for (trace_id,) in cursor.fetchall():
                del locked[trace_id]
            found = cover(cursor, plan, [Covered(*trace) for trace in sorted(locked.items())])
            kept = self._index.keep(cursor, plan, {})
        self._index.remember(kept)
        left = [] if lock == "lock" else [trace_id for trace_id in trace_ids if trace_id not in found]
        return Step(len(trace_ids) - len(left), len(found), sum(map(len, found.values()))), left


def _check(cursor: Rows) -> None:
    cursor.execute(_STATEMENTS["tables_are_there"])
    ours, theirs = cursor.fetchall()[0]
    if not theirs:
        raise StartError("The database has no tables of MLflow's traces: point HEADRACE_DATABASE_URL at MLflow's Postgres.")
    if not ours:
        raise StartError(
            "The database has no tables of the index yet: start `headrace serve` or `headrace up` of this release on it once, "
            "which makes them."
        )


def _groups(page: Sequence[tuple[str, int | None]], most: int) -> Iterator[list[str]]:
    """Those of a page that are not covered, in groups for one transaction each."""
    group: list[str] = []
    total = 0
    for trace_id, spans in page:
        if spans is None:
            continue
        if group and (total + spans > most or len(group) == _TRACES):
            yield group
            group, total = [], 0
        group.append(trace_id)
        total += spans
    if group:
        yield group
