"""Folded traces → MLflow's tables, one statement a table (sql/writer.sql). Rows are ordered by key.

`new` traces are created by this transaction: their spans and tags are copied, as nobody else can have them. Those of `old` ones
are upserted.
"""

import time
import uuid
from collections.abc import Sequence
from typing import Any

from headrace.mlflow.model import COST_COLUMNS, TOKEN_COLUMNS, Trace
from headrace.mlflow.write.layout import Layout
from headrace.mlflow.write.statements import STATEMENTS, Rows, array, run_for

_MAX_RUN_ID = 36


class Race(Exception):
    """Another writer created one of our traces between our look and our insert."""


def write_traces(cursor: Rows, layout: Layout, new: Sequence[Trace], old: Sequence[Trace]) -> None:
    """The table `trace_info`, and the times of assessments, which repeat that of their trace. Raises Race."""
    if new:
        cursor.execute(layout.statements["create_traces"], _columns(new))
        if cursor.rowcount != len(new):
            raise Race
    if old:
        cursor.execute(layout.statements["update_traces"], _columns(old))
    if layout.follows_traces and (earlier := [trace for trace in old if trace.begins_earlier]):
        begun = {
            "request_id": array([trace.trace_id for trace in earlier]),
            "timestamp_ms": array([trace.timestamp_ms for trace in earlier]),
        }
        cursor.execute(STATEMENTS["move_assessments"], begun)


def _columns(traces: Sequence[Trace]) -> dict[str, Any]:
    """The parameters of a statement that writes these traces. Previews may be long: they go as lists, in binary."""
    columns: dict[str, Any] = {
        "request_id": array([trace.trace_id for trace in traces]),
        "experiment_id": array([trace.experiment_id for trace in traces]),
        "timestamp_ms": array([trace.timestamp_ms for trace in traces]),
        "execution_time_ms": array([trace.execution_time_ms for trace in traces]),
        "status": array([trace.status for trace in traces]),
        "request_preview": [trace.request_preview for trace in traces],
        "response_preview": [trace.response_preview for trace in traces],
        "trace_name": array([trace.trace_name for trace in traces]),
        "session_id": array([trace.session_id for trace in traces]),
        "generation": array([trace.generation for trace in traces]),
    }
    columns |= {name: array([trace.tokens[i] for trace in traces]) for i, name in enumerate(TOKEN_COLUMNS)}
    columns |= {name: array([trace.costs[i] for trace in traces]) for i, name in enumerate(COST_COLUMNS)}
    return columns


def write_spans(cursor: Rows, layout: Layout, new: Sequence[Trace], old: Sequence[Trace]) -> None:
    """The table `spans`."""
    values_of = layout.span
    if new:
        with cursor.copy(layout.statements["copy_spans"]) as copy:
            copy.set_types([*layout.span_types.values(), "int4"])
            for trace in new:
                for row in trace.spans.values():
                    copy.write_row((*values_of(row), trace.experiment_id))
    rows = [(trace.experiment_id, values_of(row)) for trace in old for row in sorted(trace.spans.values())]
    if rows:
        columns: dict[str, Any] = {
            name: list(values) if name == "content" else array(values)
            for name, values in zip(layout.span_types, zip(*(row for _, row in rows), strict=True), strict=True)
        }
        experiments = array([experiment for experiment, _ in rows])
        cursor.execute(layout.statements["upsert_spans"], columns | {"experiment_id": experiments})


def write_tags(cursor: Rows, new: Sequence[Trace], old: Sequence[Trace]) -> None:
    """The table `trace_tags`. Tags that are there already, as they are, are left alone."""
    if new:
        with cursor.copy(STATEMENTS["copy_tags"]) as copy:
            copy.set_types(["text", "text", "text"])
            for trace in new:
                for key, value in trace.tags.items():
                    copy.write_row((trace.trace_id, key, value))
    rows = [
        (trace.trace_id, key, value) for trace in old for key, value in sorted(trace.tags.items() - trace.stored_tags.items())
    ]
    run_for(cursor, STATEMENTS["upsert_tags"], ("request_id", "key", "value"), rows)


def link_runs(cursor: Rows, traces: Sequence[Trace]) -> int:
    """As MLflow's `link_traces_to_run`, for any number of traces. Returns how many have a run id that no column can hold."""
    links = [(trace.trace_id, run_id) for trace in traces for run_id in sorted(trace.run_ids)]
    good = [(trace_id, run_id) for trace_id, run_id in links if len(run_id) <= _MAX_RUN_ID and "\0" not in run_id]
    if good:
        ids, runs = (list(column) for column in zip(*good, strict=True))
        associations = [uuid.uuid4().hex for _ in good]
        now_ms = time.time_ns() // 1_000_000
        cursor.execute(
            STATEMENTS["link_runs"], {"association_id": associations, "trace_id": ids, "run_id": runs, "now_ms": now_ms}
        )
    return len(links) - len(good)


def link_prompts(cursor: Rows, traces: Sequence[Trace]) -> None:
    """As MLflow's `link_prompts_to_trace`, for any number of traces."""
    links = [(trace.trace_id, prompt_id) for trace in traces for prompt_id in sorted(trace.prompts)]
    if links:
        ids, prompts = (list(column) for column in zip(*links, strict=True))
        associations = [uuid.uuid4().hex for _ in links]
        now_ms = time.time_ns() // 1_000_000
        named = {"association_id": associations, "trace_id": ids, "prompt_id": prompts, "now_ms": now_ms}
        cursor.execute(STATEMENTS["link_prompts"], named)


def move(cursor: Rows, layout: Layout, old: Sequence[Trace]) -> None:
    """What hangs on traces that stand in another experiment now, but for the spans of this batch and the tags."""
    if moved := [trace for trace in old if trace.moved]:
        ids, experiments = [trace.trace_id for trace in moved], [trace.experiment_id for trace in moved]
        for statement in ("move_spans", "move_assessments_to") if layout.follows_traces else ("move_spans",):
            cursor.execute(STATEMENTS[statement], {"request_id": ids, "experiment_id": experiments})
