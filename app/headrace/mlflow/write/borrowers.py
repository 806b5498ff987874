"""Spans that are stored without a model, and may borrow one of what comes now: they come again in the same transaction.

So they are written as if their client had sent them once more, after the span that lends: whatever came first, the end is the
same.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from headrace.envelope import Delivery
from headrace.mlflow.fold.totals import is_known
from headrace.mlflow.logs.record import BySpan
from headrace.mlflow.model import StoredTrace, Trace, TracePart
from headrace.mlflow.write.joining import Key
from headrace.mlflow.write.sent_again import read_stored_spans
from headrace.mlflow.write.statements import STATEMENTS, Rows
from headrace.telemetry.logging import log_rarely

_MOST = 1000
"""Most spans of a trace that are written again because a model came late: they are read in one transaction, under a lock."""
Translate = Callable[[Sequence[Delivery], int, BySpan], Sequence[TracePart]]
"""The delivery with this index, with these log records → its parts. Counts no repair."""


def with_borrowers(
    cursor: Rows,
    traces: Mapping[str, Trace],
    parts: Sequence[TracePart],
    deliveries: Sequence[Delivery],
    translate: Translate,
) -> tuple[Sequence[TracePart], Sequence[Delivery]]:
    """A batch, and after it those spans, but for those that it brings itself. `traces`: those that exist, locked."""
    again = _read(cursor, traces, parts)
    if not again:
        return parts, deliveries
    every = [*deliveries, *again]
    more = [part for number in range(len(deliveries), len(every)) for part in translate(every, number, {})]
    return [*parts, *more], every


def _read(cursor: Rows, traces: Mapping[str, Trace], parts: Sequence[TracePart]) -> list[Delivery]:
    stored = {id_: trace.stored for id_, trace in traces.items() if trace.stored and _has_tokens(trace.stored)}
    coming = {id_: set[str]() for id_ in stored}
    for part in parts if stored else ():
        if part.trace_id in stored:
            coming[part.trace_id].update(part.spans)
    wanted = sorted(id_ for id_ in stored if _may_change(stored[id_], coming[id_]))
    if not wanted:
        return []
    cursor.execute(STATEMENTS["read_borrowers"], {"ids": wanted})
    found = defaultdict[str, list[Key]](list)
    for trace_id, span_id in cursor:
        if span_id not in coming[trace_id]:
            found[trace_id].append((trace_id, span_id))
    return [span.delivery for span in read_stored_spans(cursor, [key for keys in found.values() for key in _few(keys)])]


def _few(keys: list[Key]) -> list[Key]:
    """All of a trace's, or none if they are too many."""
    if len(keys) <= _MOST:
        return keys
    log_rarely("a model came too late for the spans below it", "borrowers", trace=keys[0][0], spans=len(keys), most=_MOST)
    return []


def _has_tokens(stored: StoredTrace) -> bool:
    """A trace without tokens has no span that borrows. One that MLflow's own client has reported is left alone."""
    return not stored.finalized and is_known(stored.row.tokens)


def _may_change(stored: StoredTrace, coming: set[str]) -> bool:
    """Whether one of these spans may lend its model to a span that is there. Where nothing is remembered, any may."""
    return stored.lenders is None or not stored.lenders.isdisjoint(coming)
