"""Stored spans → the index: of traces that were written before the index was there, or by somebody who does not keep it.

Both the writer and `headrace backfill` do so, with the trace locked, in one transaction with the rows that say so. So a trace
is covered once, and nothing counts twice.

Only Headrace's note in a span's content names its service; where there is none, the service is that of the trace's tag
`service.name`, in which MLflow itself keeps it, or else `mlflow`. Such spans are found by their service and their operation.
They make no calls: the tag of a trace does not tell which of its services a span belongs to.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from headrace.mlflow.keys import MLFLOW_SERVICE, SERVICE
from headrace.mlflow.model import Source
from headrace.mlflow.text import to_object
from headrace.mlflow.translate.readback import is_unfinished, to_span
from headrace.mlflow.translate.tags import MAX_INDEXED, indexed_service
from headrace.mlflow.write.plan import Plan
from headrace.mlflow.write.statements import Rows, array, load_statements

_STATEMENTS = load_statements("cover.sql")
_MAX_SPANS = 1000
"""Of a trace that the writer covers by itself: it takes some 50 ms."""
_MAX_BYTES = 4 * 1024 * 1024
NOTHING: Mapping[str, Any] = {}


class Covered(NamedTuple):
    """A trace that is to be covered."""

    trace_id: str
    experiment_id: int
    batch: Mapping[str, Source] = NOTHING
    """Its spans that this very transaction brings, which are not stored yet."""


class _Span(NamedTuple):
    """A stored span, as the index sees it."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    start: int
    duration: int
    error: bool
    digest: str | None
    """None: its content has no note."""
    kind: int
    unfinished: bool


def small(cursor: Rows, traces: Sequence[Covered]) -> list[Covered]:
    """Those of these traces that have few enough stored spans for the writer."""
    parameters = {"trace_id": [trace.trace_id for trace in traces], "spans": _MAX_SPANS, "bytes": _MAX_BYTES}
    cursor.execute(_STATEMENTS["small"], parameters)
    known = {trace_id for (trace_id,) in cursor}
    return [trace for trace in traces if trace.trace_id in known]


def cover(cursor: Rows, plan: Plan, traces: Sequence[Covered]) -> dict[str, dict[str, str]]:
    """Adds the stored spans of these traces to the plan. Returns their services, by trace and span; empty where the content
    names none.

    The traces are locked, and `plan` is written in the same transaction.
    """
    spans = list(_spans(cursor, traces))
    of_origins = _origins(cursor, plan, {span.digest for span in spans if span.digest})
    of_traces = _tags(cursor, {span.trace_id for span in spans if span.digest is None})
    found: dict[str, dict[str, str]] = {trace.trace_id: {} for trace in traces}
    for span in spans:
        found[span.trace_id][span.span_id] = of_origins.get(span.digest or "", "")
    by_id = {trace.trace_id: trace for trace in traces}
    for span in spans:
        trace, services = by_id[span.trace_id], found[span.trace_id]
        service = services[span.span_id] if span.digest is not None else of_traces.get(span.trace_id, MLFLOW_SERVICE)
        plan.begin(span.trace_id, {service: span.start})
        if service:
            plan.operations.add((trace.experiment_id, service, span.name, span.kind))
        plan.callers[span.trace_id, span.span_id] = trace.experiment_id, services[span.span_id]
        _add_call(plan, trace, span, services)
    return found


def _add_call(plan: Plan, trace: Covered, span: _Span, services: Mapping[str, str]) -> None:
    callee = services[span.span_id]
    if not callee or span.parent_id is None or span.unfinished:
        return
    sent = trace.batch.get(span.parent_id)
    caller = services.get(span.parent_id) if sent is None else sent[0]
    call = callee, span.start, span.duration, span.error
    if caller is None:
        plan.wait(span.trace_id, span.parent_id, span.span_id, call)
    else:
        plan.count(trace.experiment_id, caller, call)


def _spans(cursor: Rows, traces: Sequence[Covered]) -> Iterator[_Span]:
    if traces:
        trace_ids = {"trace_id": [trace.trace_id for trace in traces]}
        for *row, content in cursor.stream(_STATEMENTS["read_spans"], trace_ids):
            yield _span(row, to_object(content) or {})


def _span(row: Sequence[Any], stored: Mapping[str, Any]) -> _Span:
    """A row, as the statement `read_spans` names its columns, and its content."""
    trace_id, span_id, parent_id, name, error, start, end = row
    note = stored.get("otlp")
    if not isinstance(note, dict) or not isinstance(note.get("origin"), str):
        note, stored = None, {}
    return _Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_id=parent_id,
        name=name,
        start=start,
        duration=max(0, end - start),
        error=error,
        digest=note["origin"] if note else None,
        kind=_kind(note or {}),
        unfinished=end <= start and bool(stored) and is_unfinished(stored),
    )


def _kind(note: Mapping[str, Any]) -> int:
    try:
        return to_span({"otlp": note}).kind if "span" in note else int(note.get("kind", 0))
    except (ValueError, TypeError, DecodeError):  # not as we have written it
        return 0


def _origins(cursor: Rows, plan: Plan, digests: set[str]) -> dict[str, str]:
    """The services of these origins. Those that the index does not have are added to the plan."""
    found: dict[str, str] = {}
    if digests:
        cursor.execute(_STATEMENTS["read_origins"], {"digest": array(sorted(digests))})
        for digest, service, origin in cursor:
            found[digest] = service_of(origin) if service is None else service
            if service is None:
                plan.origins[digest] = found[digest]
    return found


def service_of(origin: bytes) -> str:
    """The service of a stored origin. Empty: it has none."""
    return indexed_service(ResourceSpans.FromString(origin).resource)


def _tags(cursor: Rows, trace_ids: set[str]) -> dict[str, str]:
    """The services that MLflow keeps as tags of these traces."""
    if not trace_ids:
        return {}
    cursor.execute(_STATEMENTS["read_tags"], {"trace_id": sorted(trace_ids), "key": SERVICE})
    return {trace_id: service[:MAX_INDEXED] for trace_id, service in cursor if service}
