"""Spans that are stored without a model, and may borrow one of what comes now: they come again in the same transaction.

So they are written as if their client had sent them once more, after the span that lends: whatever came first, the end is the
same.
"""

from collections.abc import Mapping, Sequence

from headrace.envelope import Delivery
from headrace.mlflow.fold.totals import is_known
from headrace.mlflow.model import StoredTrace, Trace, TracePart
from headrace.mlflow.write.sent_again import read_stored_spans
from headrace.mlflow.write.statements import STATEMENTS, Rows


def read_borrowers(cursor: Rows, traces: Mapping[str, Trace], parts: Sequence[TracePart]) -> list[Delivery]:
    """Requests that bring those spans again, but for those that these parts bring. `traces`: those that exist, locked."""
    coming: dict[str, set[str]] = {}
    for part in parts:
        coming.setdefault(part.trace_id, set()).update(part.spans)
    wanted = sorted(id_ for id_, trace in traces.items() if trace.stored and _may_change(trace.stored, coming[id_]))
    if not wanted:
        return []
    cursor.execute(STATEMENTS["read_borrowers"], {"ids": wanted})
    keys = [(trace_id, span_id) for trace_id, span_id in cursor if span_id not in coming[trace_id]]
    return [span.delivery for span in read_stored_spans(cursor, keys)]


def _may_change(stored: StoredTrace, coming: set[str]) -> bool:
    """Whether one of these spans may lend its model to a span that is there. A trace without tokens has none that borrows."""
    if stored.finalized or not is_known(stored.row.tokens):
        return False
    return stored.lenders is None or not stored.lenders.isdisjoint(coming)
