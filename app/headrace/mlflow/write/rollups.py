"""MLflow's daily sums (rollups): which days a batch makes stale. As `enqueue_span_write_rollup_partitions` of `log_spans`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mlflow.store.tracking.utils.sql_trace_rollups import RollupFamily, enqueue_rollup_rebuild_partitions, rollups_enabled
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from headrace.mlflow.model import TracePart
from headrace.mlflow.write.statements import STATEMENTS, Rows

Partition = tuple[Any, int, list[int]]
"""A family of sums, an experiment, and the times in it (in milliseconds) whose days are stale."""


class _Known(NamedTuple):
    """What of a trace tells the days."""

    timestamp_ms: int
    finalized: bool


def mark_stale(connection: Connection, cursor: Rows, parts: Sequence[TracePart], may_move: bool) -> None:
    """Marks the days for MLflow's next rebuild, if it keeps such sums. Before any lock on a trace: MLflow's order.

    `may_move`: a trace may end in any of its parts' experiments, so the days are stale in all of them.
    """
    if rollups_enabled():
        enqueue_rollup_rebuild_partitions(Session(bind=connection), _partitions(cursor, parts, may_move))


def _partitions(cursor: Rows, parts: Sequence[TracePart], may_move: bool) -> list[Partition]:
    cursor.execute(STATEMENTS["read_rollup_snapshots"], {"ids": sorted({part.trace_id for part in parts})})
    stored: dict[str, _Known] = {}
    experiments: dict[str, set[int]] = {}
    for trace_id, experiment, timestamp, finalized in cursor:
        stored[trace_id] = _Known(timestamp, finalized)
        experiments[trace_id] = {experiment}
    for part in parts:
        if may_move or part.trace_id not in experiments:
            experiments.setdefault(part.trace_id, set()).add(part.experiment_id)
    moving = {trace_id for trace_id in stored if len(experiments[trace_id]) > 1}
    return [*_of_stored_spans(cursor, parts, moving, experiments), *_of_parts(parts, stored, experiments)]


def _of_stored_spans(
    cursor: Rows, parts: Sequence[TracePart], moving: set[str], experiments: Mapping[str, set[int]]
) -> Iterator[Partition]:
    """Spans that come again or may get a cost, and all spans of traces that may move."""
    keys = {(part.trace_id, span_id) for part in parts for span_id in part.spans}
    wanted = {
        "ids": sorted({part.trace_id for part in parts}),
        "span_ids": sorted({span_id for _, span_id in keys}),
        "may_move": sorted(moving),
    }
    cursor.execute(STATEMENTS["read_span_starts"], wanted)
    for trace_id, span_id, begun_in, start, borrows in cursor:
        if trace_id in moving:
            for experiment in {begun_in, *experiments[trace_id]}:
                yield RollupFamily.SPAN_COST, experiment, [start // 1_000_000]
        elif borrows or (trace_id, span_id) in keys:
            yield RollupFamily.SPAN_COST, begun_in, [start // 1_000_000]


def _of_parts(
    parts: Sequence[TracePart], stored: Mapping[str, _Known], experiments: Mapping[str, set[int]]
) -> Iterator[Partition]:
    for part in parts:
        known = stored.get(part.trace_id, _Known(part.start_ms, False))
        times = [known.timestamp_ms] if known.finalized else [known.timestamp_ms, part.start_ms]
        starts = sorted({row.start_time_unix_nano // 1_000_000 for row in part.spans.values()})
        for experiment in sorted(experiments[part.trace_id]):
            yield RollupFamily.TRACE_METRIC, experiment, times
            yield RollupFamily.ASSESSMENT, experiment, times
            yield RollupFamily.SPAN_COST, experiment, starts
