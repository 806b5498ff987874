"""Token usage and costs of the spans that are there already, for the totals of their traces."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from headrace.mlflow.fold.lending import lend
from headrace.mlflow.fold.trees import added, starts
from headrace.mlflow.model import Node, Totals, Trace
from headrace.mlflow.model.voices import SPEAKERS
from headrace.mlflow.text import to_object
from headrace.mlflow.translate.origin import BORROWS
from headrace.mlflow.translate.speaks import to_voice
from headrace.mlflow.translate.values import to_node
from headrace.mlflow.write.statements import STATEMENTS, Rows

_SPEAKERS = sorted(SPEAKERS)


def read_totals(cursor: Rows, traces: Sequence[Trace]) -> None:
    """Adds the spans of this batch to the totals that are remembered of their traces, and reads what that takes: the spans
    themselves, where they come again, and their ancestors. Of the other traces it reads the figures of all spans."""
    chains = _read_chains(cursor, traces)
    for trace in traces:
        totals = trace.stored.totals if trace.stored else None
        if totals:
            lend(trace, chains[trace.trace_id])
            trace.totals = totals if _is_added(totals, trace, chains[trace.trace_id]) else None
    read_nodes(cursor, {trace.trace_id: trace for trace in traces if trace.totals is None})


def _is_added(totals: Totals, trace: Trace, stored: Mapping[str, Node]) -> bool:
    with suppress(ValueError, OverflowError):
        return added(totals, trace.nodes, stored)
    return False


def _read_chains(cursor: Rows, traces: Iterable[Trace]) -> dict[str, dict[str, Node]]:
    """Of traces with remembered totals: the spans of this batch that come again, and the ancestors of all, by trace and id."""
    remembered = [(trace, trace.stored.totals) for trace in traces if trace.stored and trace.stored.totals]
    wanted = [(trace.trace_id, span_id) for trace, totals in remembered for span_id in sorted(starts(totals, trace.nodes))]
    chains: dict[str, dict[str, Node]] = {trace.trace_id: {} for trace, _ in remembered}
    if wanted:
        trace_ids, span_ids = (list(column) for column in zip(*wanted, strict=True))
        cursor.execute(STATEMENTS["read_chains"], {"trace_id": trace_ids, "span_id": span_ids, "speakers": _SPEAKERS})
        for trace_id, *columns in cursor:
            node = _node(*columns)
            chains[trace_id][node.span_id] = node
    return chains


def read_nodes(cursor: Rows, traces: Mapping[str, Trace]) -> None:
    """Adds all spans that are there, but for those that come again."""
    if not traces:
        return
    asked = {"ids": sorted(traces), "speakers": _SPEAKERS}
    for trace_id, span_id, *columns in cursor.stream(STATEMENTS["read_nodes"], asked):
        if span_id not in (nodes := traces[trace_id].nodes):
            nodes[span_id] = _node(span_id, *columns)


def _node(span_id: str, parent_id: str | None, content: str | None, speaks: str | None, start: int, end: int) -> Node:
    voice = to_voice(speaks, start, end) if speaks else None
    if not content:
        return Node(span_id, parent_id, None, None, voice)
    parsed = to_object(content) or {}
    attributes: dict[str, Any] = parsed.get("attributes") or {}
    return to_node(span_id, parent_id, attributes, voice, BORROWS in (parsed.get("otlp") or {}))
