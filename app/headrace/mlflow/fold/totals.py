"""Tokens and costs of a trace out of those of its spans, and the previews of its root: MLflow's own functions. No I/O."""

from collections.abc import Collection, Sequence
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

from headrace.mlflow.model import Node, Totals, column_text
from headrace.mlflow.text import UNCOUNTED, storable
from headrace.mlflow.translate.chat.preview import is_silent, words_of

TOKEN_KEYS = tuple(TOKEN_COLUMN_BY_KEY)
COST_KEYS = tuple(COST_COLUMN_BY_KEY)
_ALWAYS = 3
"""So many of the token counts are there where any is: input, output, total. Those of caches are only where a span has some."""
_MAX_PREVIEW = 1000


def usage_of(nodes: Collection[Node]) -> dict[str, Any]:
    """The token usage of a tree of spans: a parent's figures stand for those of its children. Empty: there is none."""
    if all(node.usage is None for node in nodes):  # most traces: nothing to build a tree for
        return {}
    return (
        aggregate_usage_from_span_nodes([SpanAggregationNode(node.span_id, node.parent_id, node.usage) for node in nodes]) or {}
    )


def cost_of(nodes: Collection[Node]) -> dict[str, Any]:
    """The same of the costs."""
    if all(node.cost is None for node in nodes):
        return {}
    return (
        aggregate_cost_from_span_nodes([SpanAggregationNode(node.span_id, node.parent_id, node.cost) for node in nodes]) or {}
    )


def token_columns(nodes: Collection[Node]) -> list[int | None]:
    """`usage_of` as the columns `TOKEN_COLUMNS`."""
    figures = usage_of(nodes)
    return [token_count_or_none(figures.get(key)) for key in TOKEN_KEYS]


def cost_columns(nodes: Collection[Node]) -> list[float | None]:
    """`cost_of` as the columns `COST_COLUMNS`."""
    figures = cost_of(nodes)
    return [finite_float_or_none(figures.get(key)) for key in COST_KEYS]


def columns_of(totals: Totals) -> tuple[list[int | None], list[float | None]]:
    """`token_columns` and `cost_columns` of totals that are kept."""
    usage: dict[str, Any] = dict.fromkeys(TOKEN_KEYS[:_ALWAYS], 0) | totals.usage.total() if totals.usage.by_parent else {}
    cost: dict[str, Any] = dict.fromkeys(COST_KEYS, 0.0) | totals.cost.total() if totals.cost.by_parent else {}
    tokens = [token_count_or_none(usage.get(key)) for key in TOKEN_KEYS]
    return tokens, [finite_float_or_none(cost.get(key)) for key in COST_KEYS]


def is_known(columns: Sequence[object]) -> bool:
    """Whether a trace has any of these totals."""
    return columns.count(None) != len(columns)


def merged(old: list[Any], new: list[Any]) -> list[Any]:
    """The old columns, with those that the new ones tell in their place."""
    return [before if after is None else after for before, after in zip(old, new, strict=True)]


def preview(value: Any, role: str) -> str | None:
    """MLflow's preview of a root's inputs or outputs, bounded. Raises whatever MLflow does on messages of an odd form."""
    text = _get_truncated_preview(value, role=role)
    return None if text is None else storable(column_text(text), UNCOUNTED)[:_MAX_PREVIEW]  # MLflow cuts strings only


def preview_or(value: Any, role: str, otherwise: str) -> str:
    """What was asked (`role`: `user`) or answered (`assistant`) in words; else MLflow's preview; else `otherwise`."""
    with suppress(Exception):
        if text := words(value, role) if value else "":
            return text
        if value and not is_silent(value, role):
            return preview(value, role) or otherwise
    return otherwise


def words(value: Any, role: str) -> str:
    """A root's inputs or outputs in words, bounded. Empty: they have none."""
    text = words_of(value, role)
    return storable(text if len(text) <= _MAX_PREVIEW else f"{text[: _MAX_PREVIEW - 3]}...", UNCOUNTED)
