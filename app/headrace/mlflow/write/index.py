"""The index by which traces are found: their services and operations, and who calls whom, hour by hour (schema `headrace`).

The writer keeps it in its own transaction, in two steps. `look` reads, before the spans are written, what of a batch is new.
`Index.keep` writes, as the last thing before the commit: rows that many writers share are locked as briefly as can be.

A span that is written again counts nothing again. A call is counted when the second of caller and callee comes, whichever that
is; until then it waits in `headrace.waiting_call`. A span without an end is counted once its whole copy comes.
"""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cachetools import LRUCache

from headrace.mlflow.text import to_object
from headrace.mlflow.translate.readback import is_unfinished
from headrace.mlflow.write.statements import Rows, load_statements

_STATEMENTS = load_statements("index.sql")
_MAX_KNOWN = 100_000
"""Operations, and origins, that a writer remembers to have stored today."""
_HOUR_NS = 3_600_000_000_000
_MAX_NAME = 500
"""Characters of a service's and an operation's name, which stand in keys. Longer ones are cut, in the index alone."""

_Id = tuple[str, str]
"""Trace id and span id, as MLflow has them."""
_Edge = tuple[int, int, str, str]
"""Hour, experiment, caller, callee."""


class Seen(NamedTuple):
    """What the index keeps of a span that is being written. Ids and times are those of its row."""

    trace_id: str
    span_id: str
    parent_span_id: str | None
    experiment_id: int
    """Where its trace stands once this batch is written."""
    service: str
    """The resource's `service.name`. Empty: it has none, and the span is found without the index only."""
    name: str
    kind: int
    start: int
    end: int
    error: bool
    origin: str = ""
    """The digest of its resource and scope. Empty: enrichment is off."""
    unfinished: bool = False
    """It came without a possible end."""

    @property
    def key(self) -> _Id:
        """Its ids."""
        return self.trace_id, self.span_id


@dataclass(slots=True)
class Plan:
    """What `look` has found out."""

    spans: list[Seen] = field(default_factory=list)
    """All of the batch that have a service."""
    old: list[Seen] = field(default_factory=list)
    """Those of them whose trace was there before."""
    uncounted: list[Seen] = field(default_factory=list)
    """Those of all that the index has not counted yet, and may count."""
    parents: dict[_Id, str] = field(default_factory=dict)
    """The services of the stored parents of these."""


def look(cursor: Rows, spans: Iterable[Seen], created: Collection[str]) -> Plan:
    """Looks at what is stored of the spans of a batch: each once, with the traces locked, before the spans are written.

    `created`: the traces that this very transaction creates. Of them nothing is stored, and nothing is asked.
    """
    known = [_cut(span) for span in spans if span.service]
    old = [span for span in known if span.trace_id not in created]
    counted = _counted(cursor, [span.key for span in old])
    uncounted = [span for span in known if not (span.unfinished or (counted and span.key in counted))]
    here = {span.key for span in old}
    parents = ((span.trace_id, span.parent_span_id) for span in old if span.parent_span_id and span.key not in counted)
    return Plan(known, old, uncounted, dict(_services(cursor, {parent for parent in parents if parent not in here})))


def _cut(span: Seen) -> Seen:
    if len(span.service) <= _MAX_NAME and len(span.name) <= _MAX_NAME:
        return span
    return span._replace(service=span.service[:_MAX_NAME], name=span.name[:_MAX_NAME])


def _counted(cursor: Rows, keys: Sequence[_Id]) -> set[_Id]:
    """Those of these spans that are stored with an end."""
    if not keys:
        return set()
    cursor.execute(_STATEMENTS["read_stored"], _ids(keys))
    return {
        (trace_id, span_id)
        for trace_id, span_id, content in cursor
        if not ((doubtful := to_object(content)) and is_unfinished(doubtful))
    }


def _services(cursor: Rows, keys: Collection[_Id]) -> Iterator[tuple[_Id, str]]:
    """The services of those of these spans that are stored with a note of where they came from."""
    if keys:
        cursor.execute(_STATEMENTS["read_parents"], _ids(keys))
        yield from (((trace_id, span_id), service) for trace_id, span_id, service in cursor)


def _ids(keys: Collection[_Id]) -> dict[str, list[str]]:
    ordered = sorted(keys)
    return {"trace_id": [trace_id for trace_id, _ in ordered], "span_id": [span_id for _, span_id in ordered]}


@dataclass(frozen=True, slots=True)
class Kept:
    """What one transaction has stored, to be remembered once it is committed."""

    names: Mapping[Any, int]


class Index:
    """Keeps the index for one writer. It remembers which names it has stored today: the same few come with every batch."""

    def __init__(self) -> None:
        self._known: MutableMapping[Any, int] = LRUCache(_MAX_KNOWN)

    def keep(self, cursor: Rows, plan: Plan) -> Kept:
        """Writes the index of a batch, as the last thing before the commit. Call `remember` after it."""
        if not plan.spans:
            return Kept({})
        self._keep_trace_services(cursor, plan.spans)
        self._keep_calls(cursor, plan)
        today = int(time.time() // 86_400)
        operations = {(span.experiment_id, span.service, span.name, span.kind) for span in plan.spans}
        origins = {(span.origin, span.service) for span in plan.spans if span.origin}
        new_operations, new_origins = (
            sorted(key for key in keys if self._known.get(key) != today) for keys in (operations, origins)
        )
        _add(cursor, "add_origin_services", ("digest", "service"), new_origins)
        _add(cursor, "add_operations", ("experiment_id", "service", "name", "kind"), new_operations)
        return Kept(dict.fromkeys([*new_operations, *new_origins], today))

    def remember(self, kept: Kept) -> None:
        """The transaction is committed."""
        self._known.update(kept.names)

    @staticmethod
    def _keep_trace_services(cursor: Rows, spans: Sequence[Seen]) -> None:
        begins: dict[tuple[str, str], int] = {}
        for span in spans:
            key = span.trace_id, span.service
            begins[key] = min(span.start, begins.get(key, span.start))
        rows = sorted((*key, start) for key, start in begins.items())
        _add(cursor, "add_trace_services", ("trace_id", "service", "start_ns"), rows)

    def _keep_calls(self, cursor: Rows, plan: Plan) -> None:
        services = plan.parents | {(span.trace_id, span.span_id): span.service for span in plan.spans}
        sums: dict[_Edge, list[int]] = {}
        waiting = []
        for span in plan.uncounted:
            if not span.parent_span_id or span.parent_span_id == span.span_id:
                continue
            call = span.service, span.start, span.end - span.start, span.error
            if caller := services.get((span.trace_id, span.parent_span_id)):
                _count(sums, span.experiment_id, caller, call)
            else:
                waiting.append((span.trace_id, span.parent_span_id, span.span_id, *call))
        for experiment_id, caller, call in self._waited(cursor, plan.old):
            _count(sums, experiment_id, caller, call)
        columns = ("trace_id", "parent_span_id", "span_id", "service", "start_ns", "duration_ns", "error")
        _add(cursor, "add_waiting", columns, sorted(waiting))
        rows = sorted((*edge, *figures) for edge, figures in sums.items())
        _add(
            cursor,
            "add_edges",
            ("hour", "experiment_id", "caller", "callee", "calls", "errors", "duration_ns"),
            rows,
        )

    @staticmethod
    def _waited(cursor: Rows, spans: Sequence[Seen]) -> Iterator[tuple[int, str, "_Call"]]:
        """The calls that waited for these spans: experiment, caller, call. For a new trace none can have waited."""
        if not spans:
            return
        callers = {span.key: span for span in spans}
        cursor.execute(_STATEMENTS["take_waiting"], _ids(callers))
        for trace_id, span_id, *call in cursor:
            caller = callers[trace_id, span_id]
            yield caller.experiment_id, caller.service, (call[0], call[1], call[2], call[3])


_Call = tuple[str, int, int, bool]
"""The called service; start and duration in nanoseconds; whether it failed."""


def _count(sums: dict[_Edge, list[int]], experiment_id: int, caller: str, call: _Call) -> None:
    callee, start, duration, error = call
    if caller != callee:
        figures = sums.setdefault((start // _HOUR_NS, experiment_id, caller, callee), [0, 0, 0])
        figures[0] += 1
        figures[1] += error
        figures[2] += duration


def _add(cursor: Rows, statement: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Runs a statement with these rows, if there are any."""
    if rows:
        values = (list(column) for column in zip(*rows, strict=True))
        cursor.execute(_STATEMENTS[statement], dict(zip(columns, values, strict=True)))


def prune_index(cursor: Rows, days: int, waiting_days: int = 7, limit: int = 10_000) -> int:
    """Deletes what of the index is older than so many days, and what belongs to traces that are gone. Returns how many rows.

    At most `limit` rows a table and call, but for those of traces that are gone: these are looked at in pages of that size. It
    waits for nobody's lock.
    """
    parameters = {"days": days, "waiting_days": waiting_days, "limit": limit}
    deleted = 0
    for statement in ("prune_waiting", "prune_operations", "prune_edges", "prune_origin_services"):
        cursor.execute(_STATEMENTS[statement], parameters)
        deleted += cursor.rowcount
    last = "", ""
    while True:
        page = {"trace_id": last[0], "service": last[1], "limit": limit}
        cursor.execute(_STATEMENTS["prune_trace_services"], page)
        if (found := cursor.fetchone()) is None:
            return deleted
        *key, gone = found
        last = key[0], key[1]
        deleted += gone
