"""The index by which traces are found: their services and operations, and who calls whom, hour by hour (schema `headrace`).

The writer keeps it in its own transaction, in two steps. `look` reads, before the spans are written, what of a batch is new.
`Index.keep` writes, as the last thing before the commit: rows that many writers share are locked as briefly as can be.

A span that is written again counts nothing again. A call is counted when the second of caller and callee comes, whichever that
is; until then it waits in `headrace.waiting_call`. A span without an end is counted once its whole copy comes.
"""

import time
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cachetools import LRUCache
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from headrace.mlflow.model import SpanRow, Trace
from headrace.mlflow.text import to_object
from headrace.mlflow.translate.readback import is_unfinished
from headrace.mlflow.translate.tags import MAX_INDEXED, indexed_service
from headrace.mlflow.write.statements import Rows, load_statements

_STATEMENTS = load_statements("index.sql")
_MAX_KNOWN = 100_000
"""Operations that a writer remembers to have stored today."""
_HOUR_NS = 3_600_000_000_000
_KINDS = frozenset(range(6))
"""OTLP's kinds of spans. Any other number is a kind that is not known, 0."""
_NEVER = 2**63
_NOTHING: Mapping[str, Any] = {}

_Id = tuple[str, str]
"""Trace id and span id, as MLflow has them."""
_Edge = tuple[int, int, str, str]
"""Hour, experiment, caller, callee."""
_Operation = tuple[int, str, str, int]
"""Experiment, service, name, kind."""
_Call = tuple[str, int, int, bool]
"""The called service; start and duration in nanoseconds; whether it failed."""


@dataclass(slots=True)
class Plan:
    """What is to be written of a batch."""

    begins: dict[_Id, int] = field(default_factory=dict)
    """By trace id and service: when the service's first span of the batch began."""
    operations: set[_Operation] = field(default_factory=set)
    edges: dict[_Edge, list[int]] = field(default_factory=dict)
    """Calls, errors, nanoseconds."""
    waiting: list[tuple[Any, ...]] = field(default_factory=list)
    """Calls whose caller has not come: trace, caller's span, span, and the call."""
    callers: dict[_Id, tuple[int, str]] = field(default_factory=dict)
    """The spans of traces that were there before, for which calls may wait: experiment and service."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """What Postgres holds that the spans of one trace need."""

    counted: Collection[str] = ()
    """Those of the spans themselves that are stored with an end: they have been counted."""
    parents: Mapping[str, str] = field(default_factory=dict)
    """The services of their parents, by span id, of which this batch has no copy."""


_NEW = _Stored()


def look(cursor: Rows, traces: Sequence[Trace]) -> Plan:
    """Looks at what is stored of the spans of a batch, with the traces locked, before the spans are written.

    Of a trace that this very transaction creates nothing is stored, and nothing is asked.
    """
    old = [trace for trace in traces if trace.stored is not None]
    stored = _stored(cursor, old) if old else {}
    plan = Plan()
    for trace in traces:
        _gather(plan, trace, stored.get(trace.trace_id, _NEW))
    for trace in old:
        for span_id in trace.spans:
            if service := trace.sources[span_id][0]:
                plan.callers[trace.trace_id, span_id] = trace.experiment_id, service
    return plan


def _stored(cursor: Rows, traces: Sequence[Trace]) -> dict[str, _Stored]:
    counted = _counted(cursor, [(trace.trace_id, span_id) for trace in traces for span_id in trace.spans])
    parents = {
        (trace.trace_id, row.parent_span_id)
        for trace in traces
        for span_id, row in trace.spans.items()
        if row.parent_span_id and row.parent_span_id not in trace.spans and span_id not in counted.get(trace.trace_id, ())
    }
    services = _services(cursor, parents)
    return {
        trace.trace_id: _Stored(counted.get(trace.trace_id, ()), services.get(trace.trace_id, _NOTHING)) for trace in traces
    }


def _counted(cursor: Rows, keys: Sequence[_Id]) -> dict[str, set[str]]:
    """Those of these spans that are stored with an end, by trace."""
    found: dict[str, set[str]] = {}
    cursor.execute(_STATEMENTS["read_stored"], _ids(keys))
    for trace_id, span_id, content in cursor:
        if not ((doubtful := to_object(content)) and is_unfinished(doubtful)):
            found.setdefault(trace_id, set()).add(span_id)
    return found


def _services(cursor: Rows, keys: Collection[_Id]) -> dict[str, dict[str, str]]:
    """The services of those of these spans that are stored with a note of where they came from, by trace and span."""
    found: dict[str, dict[str, str]] = {}
    if keys:
        cursor.execute(_STATEMENTS["read_parents"], _ids(keys))
        for trace_id, span_id, service in cursor:
            found.setdefault(trace_id, {})[span_id] = service
    return found


def _ids(keys: Collection[_Id]) -> dict[str, list[str]]:
    ordered = sorted(keys)
    return {"trace_id": [trace_id for trace_id, _ in ordered], "span_id": [span_id for _, span_id in ordered]}


def _gather(plan: Plan, trace: Trace, stored: _Stored) -> None:
    """Adds the spans of a trace to the plan. Runs for each span: most call within their own service, or nobody."""
    sources, unfinished, counted = trace.sources, trace.unfinished, stored.counted
    experiment_id, begins, operations = trace.experiment_id, dict[str, int](), plan.operations
    for span_id, row in trace.spans.items():
        service, kind = sources[span_id]
        if not service:
            continue
        start, parent_id, name = row.start_time_unix_nano, row.parent_span_id, row.name
        if start < begins.get(service, _NEVER):
            begins[service] = start
        operations.add((experiment_id, service, name if len(name) <= MAX_INDEXED else name[:MAX_INDEXED], kind))
        if parent_id is None or span_id in counted or span_id in unfinished:
            continue
        if (parent := sources.get(parent_id)) is None:
            caller = stored.parents.get(parent_id)
        elif (caller := parent[0]) == service:
            continue
        _add_call(plan, trace, caller, row, service)
    for service, start in begins.items():
        plan.begins[trace.trace_id, service] = start


def _add_call(plan: Plan, trace: Trace, caller: str | None, row: SpanRow, service: str) -> None:
    """`caller`: None, it has not come; empty, it has no service."""
    call = service, row.start_time_unix_nano, max(0, row.end_time_unix_nano - row.start_time_unix_nano), row.status == "ERROR"
    if caller is None:
        plan.waiting.append((trace.trace_id, row.parent_span_id, row.span_id, *call))
    elif caller:
        _count(plan.edges, trace.experiment_id, caller, call)


def _count(edges: dict[_Edge, list[int]], experiment_id: int, caller: str, call: _Call) -> None:
    callee, start, duration, error = call
    if caller != callee:
        figures = edges.setdefault((start // _HOUR_NS, experiment_id, caller, callee), [0, 0, 0])
        figures[0] += 1
        figures[1] += error
        figures[2] += duration


@dataclass(frozen=True, slots=True)
class Kept:
    """What one transaction has stored, to be remembered once it is committed."""

    operations: Sequence[_Operation]
    today: int


class Index:
    """Keeps the index for one writer. It remembers which operations it has stored today: the same few come with every batch."""

    def __init__(self) -> None:
        self._known: MutableMapping[_Operation, int] = LRUCache(_MAX_KNOWN)

    def keep(self, cursor: Rows, plan: Plan, origins: Mapping[str, bytes]) -> Kept:
        """Writes the index of a batch, as the last thing before the commit. Call `remember` after it.

        `origins`: those that this transaction stores, by digest.
        """
        today = int(time.time() // 86_400)
        new = sorted(key for key in plan.operations if self._known.get(key) != today)
        begins = sorted((*key, start) for key, start in plan.begins.items())
        _add(cursor, "add_trace_services", ("trace_id", "service", "start_ns"), begins)
        self._keep_calls(cursor, plan)
        services = ((digest, _service_of(data)) for digest, data in sorted(origins.items()))
        named = [(digest, service) for digest, service in services if service]
        _add(cursor, "add_origin_services", ("digest", "service"), named)
        rows = sorted({(*operation, kind if kind in _KINDS else 0) for *operation, kind in new})
        _add(cursor, "add_operations", ("experiment_id", "service", "name", "kind"), rows)
        return Kept(new, today)

    def remember(self, kept: Kept) -> None:
        """The transaction is committed."""
        for operation in kept.operations:
            self._known[operation] = kept.today

    @staticmethod
    def _keep_calls(cursor: Rows, plan: Plan) -> None:
        if plan.callers:
            cursor.execute(_STATEMENTS["take_waiting"], _ids(plan.callers))
            for trace_id, span_id, *call in cursor:
                experiment_id, caller = plan.callers[trace_id, span_id]
                _count(plan.edges, experiment_id, caller, (call[0], call[1], call[2], call[3]))
        columns = ("trace_id", "parent_span_id", "span_id", "service", "start_ns", "duration_ns", "error")
        _add(cursor, "add_waiting", columns, sorted(plan.waiting))
        rows = sorted((*edge, *figures) for edge, figures in plan.edges.items())
        columns = ("hour", "experiment_id", "caller", "callee", "calls", "errors", "duration_ns")
        _add(cursor, "add_edges", columns, rows)


def _service_of(origin: bytes) -> str:
    return indexed_service(ResourceSpans.FromString(origin).resource)


def _add(cursor: Rows, statement: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Runs a statement with these rows, if there are any."""
    if rows:
        values = (list(column) for column in zip(*rows, strict=True))
        cursor.execute(_STATEMENTS[statement], dict(zip(columns, values, strict=True)))
