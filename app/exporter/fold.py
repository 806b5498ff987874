"""Folds the parts of a trace into the trace, one request after the other, as MLflow's `_log_spans_once` does. Pure; no I/O.

So a batch of many requests leaves what MLflow leaves after the same requests one by one, and is written once.

Source: mlflow/store/tracking/sqlalchemy_store.py, `_log_spans_once`, phases 2 to 5 (3.17).
"""

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from mlflow.store.tracking.utils.trace_analytics import (
    COST_COLUMN_BY_KEY,
    TOKEN_COLUMN_BY_KEY,
    finite_float_or_none,
    token_count_or_none,
)
from mlflow.tracing.utils import SpanAggregationNode, aggregate_cost_from_span_nodes, aggregate_usage_from_span_nodes
from mlflow.tracing.utils.truncation import _get_truncated_preview

from app.exporter.rows import Node, Trace, TracePart, column_text
from app.exporter.translate import SPANS_LOCATION, storable

TRACKING_STORE = "TRACKING_STORE"

_UNFINISHED = ("IN_PROGRESS", "STATE_UNSPECIFIED")
_TOKEN_KEYS = tuple(TOKEN_COLUMN_BY_KEY)
_COST_KEYS = tuple(COST_COLUMN_BY_KEY)


def create(part: TracePart) -> Trace:
    """A trace that nobody knew before, from the first of its parts."""
    trace = Trace(part.trace_id, part.experiment_id, part.start_ms, None, part.root_status or "IN_PROGRESS", created=True)
    apply(trace, part)
    return trace


def apply(trace: Trace, part: TracePart) -> None:
    """Adds one request's part to the trace."""
    first = trace.created and trace.generation == 0
    trace.generation += 1
    usage, cost = _usage(part.nodes.values()), _cost(part.nodes.values())
    # As MLflow: it looks for the mark of a finished trace only where the request has totals or a session.
    finalized = trace.finalized and bool(usage or cost or part.session_id)
    if not finalized:
        _extend(trace, part.start_ms, part.end_ms)
    if part.root_status is not None:
        _apply_root(trace, part)
    if part.trace_name is not None:
        trace.trace_name = part.trace_name
    trace.trace_name = part.root_name if trace.trace_name is None else trace.trace_name
    trace.request_preview = part.root_request if trace.request_preview is None else trace.request_preview
    trace.response_preview = part.root_response if trace.response_preview is None else trace.response_preview
    others = [] if first else [node for node in trace.nodes.values() if node.span_id not in part.nodes]
    if usage and not (finalized and any(value is not None for value in trace.tokens)):
        usage = _usage([*part.nodes.values(), *others]) if others else usage
        trace.tokens = _merged(trace.tokens, [token_count_or_none(usage.get(key)) for key in _TOKEN_KEYS])
    if cost and not (finalized and any(value is not None for value in trace.costs)):
        cost = _cost([*part.nodes.values(), *others]) if others else cost
        trace.costs = _merged(trace.costs, [finite_float_or_none(cost.get(key)) for key in _COST_KEYS])
    trace.session_id = trace.session_id if trace.session_id is not None else part.session_id or None
    trace.user_id = trace.user_id if trace.user_id is not None else part.user_id or None
    trace.tags |= {SPANS_LOCATION: TRACKING_STORE} | (part.resource_tags or {}) | part.trace_tags
    trace.spans |= part.spans
    trace.nodes |= part.nodes


def needs_stored_nodes(part: TracePart) -> bool:
    """Whether totals over the whole tree have to be computed anew when this part comes to a trace that exists."""
    return any(node.usage is not None or node.cost is not None for node in part.nodes.values())


def _extend(trace: Trace, start_ms: int, end_ms: int) -> None:
    old_end = None if trace.execution_time_ms is None else trace.timestamp_ms + trace.execution_time_ms
    if start_ms < trace.timestamp_ms:
        trace.timestamp_ms = trace.moved_to_ms = start_ms
    trace.execution_time_ms = (end_ms if old_end is None else max(old_end, end_ms)) - trace.timestamp_ms


def _apply_root(trace: Trace, part: TracePart) -> None:
    if trace.status in _UNFINISHED and part.root_status:
        trace.status = part.root_status
    if part.run_id:
        trace.run_ids.add(part.run_id)
    with suppress(Exception):  # as MLflow: messages of an odd form have no preview
        if trace.request_preview is None and part.root_inputs:
            trace.request_preview = _preview(part.root_inputs, "user")
        if trace.response_preview is None and part.root_outputs:
            trace.response_preview = _preview(part.root_outputs, "assistant")


def _preview(value: Any, role: str) -> str | None:
    text = _get_truncated_preview(value, role=role)
    return None if text is None else storable(column_text(text), Counter())


def _usage(nodes: Iterable[Node]) -> dict[str, Any]:
    """MLflow's own total over the tree: a parent's figures stand for those of its children."""
    data = [SpanAggregationNode(span_id=node.span_id, parent_id=node.parent_id, data=node.usage) for node in nodes]
    if not any(node.data is not None for node in data):
        return {}
    return aggregate_usage_from_span_nodes(data) or {}


def _cost(nodes: Iterable[Node]) -> dict[str, Any]:
    data = [SpanAggregationNode(span_id=node.span_id, parent_id=node.parent_id, data=node.cost) for node in nodes]
    if not any(node.data is not None for node in data):
        return {}
    return aggregate_cost_from_span_nodes(data) or {}


def _merged(old: list[Any], new: list[Any]) -> list[Any]:
    """Only what the new total tells replaces what is there."""
    return [before if after is None else after for before, after in zip(old, new, strict=True)]
