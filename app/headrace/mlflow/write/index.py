"""The index by which traces are found: their services and operations, and who calls whom, hour by hour (schema `headrace`).

The writer keeps it in its own transaction, in two steps. `look` reads, before the spans are written, what of a batch is new.
`Index.keep` writes, as the last thing before the commit: rows that many writers share are locked as briefly as can be.

A span that is written again counts nothing again. A call is counted when the second of caller and callee comes, whichever that
is; until then it waits in `headrace.waiting_call`. A span without an end is counted once its whole copy comes.

A trace is covered if `headrace.trace_service` has a row of it: then the index has all of its spans. One that was there before
the index was is covered when its next span comes, if it is small; else by `headrace backfill` (`cover.py`).
"""

import time
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cachetools import LRUCache

from headrace.mlflow.model import SpanRow, Trace
from headrace.mlflow.text import to_object
from headrace.mlflow.translate.readback import is_unfinished
from headrace.mlflow.translate.tags import MAX_INDEXED
from headrace.mlflow.write.cover import NOTHING, Covered, cover, small
from headrace.mlflow.write.plan import Id, Operation, Plan
from headrace.mlflow.write.statements import Rows, array, load_statements

_STATEMENTS = load_statements("index.sql")
_MAX_KNOWN = 100_000
"""Operations that a writer remembers to have stored today."""
_KINDS = frozenset(range(6))
"""OTLP's kinds of spans. Any other number is a kind that is not known, 0."""
_NEVER = 2**63


@dataclass(frozen=True, slots=True)
class _Stored:
    """What Postgres holds that the spans of one trace need."""

    counted: Collection[str] = ()
    """Those of the spans themselves that are stored with an end: they have been counted."""
    parents: Mapping[str, str] = field(default_factory=dict)
    """The services of their parents, by span id, of which this batch has no copy. Empty: none is known."""


_NEW = _Stored()


def look(cursor: Rows, traces: Sequence[Trace]) -> Plan:
    """Looks at what is stored of the spans of a batch, with the traces locked, before the spans are written.

    Of a trace that this very transaction creates nothing is stored, and nothing is asked.
    """
    plan = Plan()
    old = [trace for trace in traces if trace.stored is not None]
    if not old:
        for trace in traces:
            _gather(plan, trace, _NEW)
        return plan
    stored = _stored(cursor, plan, old)
    for trace in traces:
        known = _NEW if trace.stored is None else stored.get(trace.trace_id)
        if known is not None:
            _gather(plan, trace, known)
    for trace in old:
        if trace.trace_id in stored:
            for span_id in trace.spans:
                plan.callers[trace.trace_id, span_id] = trace.experiment_id, trace.sources[span_id][0]
    return plan


def _stored(cursor: Rows, plan: Plan, traces: Sequence[Trace]) -> dict[str, _Stored]:
    """By trace. One that is not covered, and too large to be covered now, is left out: it waits for `headrace backfill`."""
    counted, covered = _counted(cursor, traces)
    others = [Covered(trace.trace_id, trace.experiment_id, trace.sources) for trace in traces if trace.trace_id not in covered]
    found = cover(cursor, plan, small(cursor, others)) if others else {}
    known = [trace for trace in traces if trace.trace_id in covered]
    parents = {
        (trace.trace_id, row.parent_span_id)
        for trace in known
        for span_id, row in trace.spans.items()
        if row.parent_span_id and row.parent_span_id not in trace.spans and span_id not in counted.get(trace.trace_id, ())
    }
    found |= _services(cursor, parents)
    return {
        trace.trace_id: _Stored(counted.get(trace.trace_id, ()), found.get(trace.trace_id, NOTHING))
        for trace in traces
        if trace.trace_id in covered or trace.trace_id in found
    }


def _counted(cursor: Rows, traces: Sequence[Trace]) -> tuple[dict[str, set[str]], set[str]]:
    """Those of the spans of these traces that are stored with an end, by trace; and which of the traces are covered."""
    keys = [(trace.trace_id, span_id) for trace in traces for span_id in trace.spans]
    found: dict[str, set[str]] = {}
    covered: set[str] = set()
    cursor.execute(_STATEMENTS["read_stored"], _ids(keys) | {"traces": array([trace.trace_id for trace in traces])})
    for trace_id, span_id, content in cursor:
        if span_id is None:
            covered.add(trace_id)
        elif not ((doubtful := to_object(content)) and is_unfinished(doubtful)):
            found.setdefault(trace_id, set()).add(span_id)
    return found, covered


def _services(cursor: Rows, keys: Collection[Id]) -> dict[str, dict[str, str]]:
    """The services of those of these spans that are stored, by trace and span. Empty: the content names none."""
    found: dict[str, dict[str, str]] = {}
    if keys:
        cursor.execute(_STATEMENTS["read_parents"], _ids(keys))
        for trace_id, span_id, service in cursor:
            found.setdefault(trace_id, {})[span_id] = service
    return found


def _ids(keys: Collection[Id]) -> dict[str, str]:
    """The parameters of a statement that takes these spans, ordered."""
    ordered = sorted(keys)
    return {"trace_id": array([trace_id for trace_id, _ in ordered]), "span_id": array([span_id for _, span_id in ordered])}


def _gather(plan: Plan, trace: Trace, stored: _Stored) -> None:
    """Adds the spans of a trace to the plan. Runs for each span: most call within their own service, or nobody."""
    sources, operations = trace.sources, plan.operations
    passed = {*stored.counted, *trace.unfinished} if stored.counted or trace.unfinished else ()
    experiment_id, begins = trace.experiment_id, dict[str, int]()
    for span_id, row in trace.spans.items():
        service, kind = sources[span_id]
        start, parent_id = row.start_time_unix_nano, row.parent_span_id
        if start < begins.get(service, _NEVER):
            begins[service] = start
        if not service:
            continue
        operations.add((experiment_id, service, row.name, kind))
        if parent_id is None or span_id in passed:
            continue
        if (parent := sources.get(parent_id)) is None:
            _add_call(plan, trace, stored.parents.get(parent_id), row, service)
        elif parent[0] != service:
            _add_call(plan, trace, parent[0], row, service)
    plan.begin(trace.trace_id, begins)


def _add_call(plan: Plan, trace: Trace, caller: str | None, row: SpanRow, service: str) -> None:
    """`caller`: None, it has not come; empty, it has no service."""
    call = service, row.start_time_unix_nano, max(0, row.end_time_unix_nano - row.start_time_unix_nano), row.status == "ERROR"
    if caller is None:
        plan.wait(trace.trace_id, row.parent_span_id or "", row.span_id, call)
    else:
        plan.count(trace.experiment_id, caller, call)


@dataclass(frozen=True, slots=True)
class Kept:
    """What one transaction has stored, to be remembered once it is committed."""

    operations: Sequence[Operation]
    today: int


class Index:
    """Keeps the index for one writer. It remembers which operations it has stored today: the same few come with every batch."""

    def __init__(self) -> None:
        self._known: MutableMapping[Operation, int] = LRUCache(_MAX_KNOWN)

    def keep(self, cursor: Rows, plan: Plan, origins: Mapping[str, str]) -> Kept:
        """Writes the index of a batch, as the last thing before the commit. Call `remember` after it.

        `origins`: the services of those that this transaction stores, by digest.
        """
        today = int(time.time() // 86_400)
        new = sorted(key for key in plan.operations if self._known.get(key) != today)
        named = sorted((plan.origins | dict(origins)).items())
        if plan.callers:
            cursor.execute(_STATEMENTS["take_waiting"], _ids(plan.callers))
            for trace_id, span_id, *call in cursor:
                experiment_id, caller = plan.callers[trace_id, span_id]
                plan.count(experiment_id, caller, (call[0], call[1], call[2], call[3]))
        _add(cursor, "add_origin_services", ("digest", "service"), named)
        columns = ("trace_id", "parent_span_id", "span_id", "service", "start_ns", "duration_ns", "error")
        _add(cursor, "add_waiting", columns, sorted(plan.waiting))
        _add_calls(cursor, plan)
        rows = sorted({(*place, name[:MAX_INDEXED], kind if kind in _KINDS else 0) for *place, name, kind in new})
        _add(cursor, "add_operations", ("experiment_id", "service", "name", "kind"), rows)
        return Kept([key for key in new if len(key[2]) <= MAX_INDEXED], today)

    def remember(self, kept: Kept) -> None:
        """The transaction is committed."""
        for operation in kept.operations:
            self._known[operation] = kept.today


def _add_calls(cursor: Rows, plan: Plan) -> None:
    """The services of traces, and the edges: of a batch of new traces this is all, in one statement."""
    services = dict[str, int]()
    begins = sorted(plan.begins.items())
    of_service = [services.setdefault(service, len(services) + 1) for (_, service), _ in begins]
    edges = sorted((*edge, *figures) for edge, figures in plan.edges.items())
    hours, experiments, callers, callees, calls, errors, durations = zip(*edges, strict=True) if edges else [()] * 7
    parameters = {
        "trace_id": array([trace_id for (trace_id, _), _ in begins]),
        "service": array(of_service),
        "start_ns": array([start for _, start in begins]),
        "services": list(services),
        "hour": array(hours),
        "experiment_id": array(experiments),
        "caller": list(callers),
        "callee": list(callees),
        "calls": array(calls),
        "errors": array(errors),
        "duration_ns": array(durations),
    }
    if begins or edges:
        cursor.execute(_STATEMENTS["add_calls"], parameters)


def _add(cursor: Rows, statement: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Runs a statement with these rows, if there are any."""
    if rows:
        values = map(array, zip(*rows, strict=True))
        cursor.execute(_STATEMENTS[statement], dict(zip(columns, values, strict=True)))
