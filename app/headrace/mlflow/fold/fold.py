"""Folds the parts of a trace into the trace, one request after the other, as MLflow's `_log_spans_once` does. Pure; no I/O.

So a batch of many requests leaves what MLflow leaves after the same requests one by one, and is written once.

Source: mlflow/store/tracking/sqlalchemy_store.py, `_log_spans_once`, phases 2 to 5 (3.17).
"""

from collections import Counter
from collections.abc import Collection
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

from headrace.mlflow.model import NOBODY, Node, Root, Trace, TracePart, column_text
from headrace.mlflow.text import smaller, storable
from headrace.mlflow.translate.tags import SPANS_LOCATION

TRACKING_STORE = "TRACKING_STORE"

_UNFINISHED = ("IN_PROGRESS", "STATE_UNSPECIFIED")
_TOKEN_KEYS = tuple(TOKEN_COLUMN_BY_KEY)
_COST_KEYS = tuple(COST_COLUMN_BY_KEY)
_MAX_PREVIEW = 1000


def create(part: TracePart, enrich: bool = False) -> Trace:
    """A trace that nobody knew before, from the first of its parts."""
    trace = Trace(part.trace_id, part.experiment_id, part.start_ms, None, part.root_status or "IN_PROGRESS", created=True)
    trace.claim = NOBODY
    apply(trace, part, enrich)
    return trace


def apply(trace: Trace, part: TracePart, enrich: bool = False) -> None:
    """Adds one request's part to the trace. With `enrich` the parts only say what they know: `decide` comes after the last."""
    first = trace.created and trace.generation == 0
    trace.generation += 1
    trace.max_tags = max(trace.max_tags, part.max_tags)
    usage, cost = _usage(part.nodes.values()), _cost(part.nodes.values())
    # As MLflow: it looks for the mark of a finished trace only where the request has totals or a session.
    finalized = trace.finalized and (enrich or bool(usage or cost or part.session_id))
    if not finalized:
        _extend(trace, part.start_ms, part.end_ms)
    if part.run_id and part.root_status is not None:
        trace.run_ids.add(part.run_id)
    trace.tags[SPANS_LOCATION] = TRACKING_STORE
    if not enrich:
        _apply_in_order(trace, part)
    if not enrich or trace.finalized:
        others = [] if first else [node for node in trace.nodes.values() if node.span_id not in part.nodes]
        _add_totals(trace, usage, cost, [*part.nodes.values(), *others], finalized, enrich)
    trace.spans |= part.spans
    trace.nodes |= part.nodes
    if enrich:
        trace.has_usage |= bool(usage)
        trace.has_cost |= bool(cost)
        _listen(trace, part)


def needs_stored_nodes(trace: Trace, part: TracePart, enrich: bool) -> bool:
    """Whether totals over the whole tree have to be computed anew when this part comes to a trace that exists."""
    if enrich and any(value is not None for value in (*trace.tokens, *trace.costs)):
        return True
    return any(node.usage is not None or node.cost is not None for node in part.nodes.values())


def is_reopened(trace: Trace) -> bool:
    """Whether its root decides less than the one that has decided before: what all others say, ever, counts again then."""
    before, now = trace.decided_by, trace.root
    if before is None or now is None or now is before:
        return False
    lost_id = (before.session_id and not now.session_id) or (before.user_id and not now.user_id)
    return bool(lost_id) or not before.tags.keys() <= now.tags.keys()


def _listen(trace: Trace, part: TracePart) -> None:
    """Takes the best claim and the roots as they are now, and gathers what the other spans say."""
    if (claim := part.claim) < trace.claim:
        trace.experiment_id, trace.claim = part.experiment_id, claim
    trace.others.add(part.other_tags, part.other_session, part.other_user)
    if trace.roots:
        for span_id in trace.roots.keys() & part.spans.keys():  # it comes again
            _add_to_others(trace, trace.roots.pop(span_id))
    trace.roots |= part.roots


def _add_to_others(trace: Trace, root: Root) -> None:
    trace.others.add(root.tags, root.session_id, root.user_id)


def decide(trace: Trace) -> None:
    """Where spans say different things of their trace, its root decides; of the others the smallest value stands.

    MLflow takes what comes first, or last, so that the same spans give other traces in another order.
    """
    if not trace.finalized:  # once for all parts, as a tree of many spans is walked; a finished trace is added to in order
        _add_totals(trace, trace.has_usage, trace.has_cost, list(trace.nodes.values()), False, True)
    root = trace.root
    if len(trace.roots) > 1:
        for other in trace.roots.values():
            if other is not root:
                _add_to_others(trace, other)
    if root is not None and root is not trace.decided_by:
        take_root(trace, root)
    decided = root.tags if root else {}
    for key, value in trace.others.tags.items():
        if key not in decided:
            trace.tags[key] = min(value, trace.stored_tags.get(key, value))
    if not (root and root.session_id) and not (trace.finalized and trace.session_id):
        trace.session_id = smaller(trace.session_id, trace.others.session_id)
    if not (root and root.user_id) and not (trace.finalized and trace.user_id):
        trace.user_id = smaller(trace.user_id, trace.others.user_id)


def take_root(trace: Trace, root: Root) -> None:
    """What MLflow's own client has reported of a finished trace stands; all else is the root's to say."""
    trace.tags |= root.tags
    if not (trace.finalized and trace.status not in _UNFINISHED):
        trace.status = root.status
    if trace.trace_name is None or not trace.finalized:
        trace.trace_name = root.trace_name or root.name
    if trace.request_preview is None or not trace.finalized:
        trace.request_preview = _preview_or(root.inputs, "user", root.request_preview)
    if trace.response_preview is None or not trace.finalized:
        trace.response_preview = _preview_or(root.outputs, "assistant", root.response_preview)
    if root.session_id and (trace.session_id is None or not trace.finalized):
        trace.session_id = root.session_id
    if root.user_id and (trace.user_id is None or not trace.finalized):
        trace.user_id = root.user_id


def _apply_in_order(trace: Trace, part: TracePart) -> None:
    """As MLflow: the first preview, session and user, the last tags."""
    if part.root_status is not None:
        _apply_root(trace, part)
    if part.trace_name is not None:
        trace.trace_name = part.trace_name
    trace.session_id = trace.session_id if trace.session_id is not None else part.session_id or None
    trace.user_id = trace.user_id if trace.user_id is not None else part.user_id or None
    trace.tags |= (part.resource_tags or {}) | part.trace_tags


def _add_totals(trace: Trace, usage: object, cost: object, nodes: list[Node], finalized: bool, enrich: bool) -> None:
    """Where `usage` or `cost`, totals of the spans that have come, is not empty, the totals over all `nodes` are written.

    With enrichment those are the whole truth: also where the last span of a parent cycle came, of which nothing is counted.
    """
    known_tokens, known_costs = (any(v is not None for v in values) for values in (trace.tokens, trace.costs))
    if enrich and (usage or cost or known_tokens or known_costs):
        nodes.sort()  # sums of floats depend on their order
    if (usage or (enrich and known_tokens)) and not (finalized and known_tokens):
        figures = _usage(nodes)
        tokens = [token_count_or_none(figures.get(key)) for key in _TOKEN_KEYS]
        whole = enrich and any(node.usage is not None for node in nodes)
        trace.tokens = tokens if whole else _merged(trace.tokens, tokens)
    if (cost or (enrich and known_costs)) and not (finalized and known_costs):
        figures = _cost(nodes)
        costs = [finite_float_or_none(figures.get(key)) for key in _COST_KEYS]
        whole = enrich and any(node.cost is not None for node in nodes)
        trace.costs = costs if whole else _merged(trace.costs, costs)


def _extend(trace: Trace, start_ms: int, end_ms: int) -> None:
    old_end = None if trace.execution_time_ms is None else trace.timestamp_ms + trace.execution_time_ms
    if start_ms < trace.timestamp_ms:
        trace.timestamp_ms = trace.moved_to_ms = start_ms
    trace.execution_time_ms = (end_ms if old_end is None else max(old_end, end_ms)) - trace.timestamp_ms


def _apply_root(trace: Trace, part: TracePart) -> None:
    if trace.status in _UNFINISHED and part.root_status:
        trace.status = part.root_status
    with suppress(Exception):  # as MLflow: messages of an odd form have no preview
        if trace.request_preview is None and part.root_inputs:
            trace.request_preview = _preview(part.root_inputs, "user")
        if trace.response_preview is None and part.root_outputs:
            trace.response_preview = _preview(part.root_outputs, "assistant")


def _preview_or(value: Any, role: str, otherwise: str) -> str:
    """MLflow's preview of the root's inputs or outputs, or ours where it has none."""
    with suppress(Exception):
        return _preview(value, role) or otherwise if value else otherwise
    return otherwise


def _preview(value: Any, role: str) -> str | None:
    text = _get_truncated_preview(value, role=role)
    return None if text is None else storable(column_text(text), Counter())[:_MAX_PREVIEW]  # MLflow cuts strings only


def _usage(nodes: Collection[Node]) -> dict[str, Any]:
    """MLflow's own total over the tree: a parent's figures stand for those of its children."""
    if all(node.usage is None for node in nodes):  # most traces: nothing to build a tree for
        return {}
    return (
        aggregate_usage_from_span_nodes([SpanAggregationNode(node.span_id, node.parent_id, node.usage) for node in nodes]) or {}
    )


def _cost(nodes: Collection[Node]) -> dict[str, Any]:
    """The same of the costs."""
    if all(node.cost is None for node in nodes):
        return {}
    return (
        aggregate_cost_from_span_nodes([SpanAggregationNode(node.span_id, node.parent_id, node.cost) for node in nodes]) or {}
    )


def _merged(old: list[Any], new: list[Any]) -> list[Any]:
    """Only what the new total tells replaces what is there."""
    return [before if after is None else after for before, after in zip(old, new, strict=True)]
