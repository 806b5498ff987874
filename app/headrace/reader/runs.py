"""Runs and their traces, for what compares a model's quality with the time that it takes."""

import json
from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any, NamedTuple

from headrace.config.reading import Reading
from headrace.reader import Run, Runs, RunTrace
from headrace.reader.connections import Rows
from headrace.reader.search import PREFIX, is_otlp_id
from headrace.reader.statements import RUN_METRICS, RUN_TRACES, RUNS

_MS_NS = 1_000_000
_MAX_RUNS = 500


class _Row(NamedTuple):
    """A trace and a run of it, as `RUN_TRACES` names its columns."""

    run_id: str | None
    request_id: str
    timestamp_ms: int
    execution_time_ms: int | None
    status: str
    total_tokens: str | None
    total_cost: str | None
    usage_json: str | None
    cost_json: str | None
    number: int


def read_runs(cursor: Rows, experiment_id: int, config: Reading) -> Runs:
    """The newest traces of an experiment (HEADRACE_SEARCH_MAX_TRACES), and their runs."""
    limits = {"most": config.search_max_traces, "rows": config.read_max_rows}
    cursor.execute(RUN_TRACES, {"experiment": experiment_id, **limits})
    rows = [_Row(*row) for row in cursor]
    ids = list(dict.fromkeys(row.run_id for row in rows if row.run_id))
    runs = _runs(cursor, experiment_id, ids[:_MAX_RUNS], config)
    known = {run.run_id for run in runs}
    traces = [_trace(row.run_id, row) for row in rows if row.run_id in known and row.run_id]
    complete = (not rows or rows[-1].number < config.search_max_traces) and len(ids) <= _MAX_RUNS
    return Runs(runs, [each for each in traces if is_otlp_id(each.trace_id)], complete)


def _runs(cursor: Rows, experiment_id: int, ids: list[str], config: Reading) -> list[Run]:
    cursor.execute(RUNS, {"ids": ids, "experiment": experiment_id})
    found = cursor.fetchall()
    cursor.execute(RUN_METRICS, {"ids": [row[0] for row in found], "rows": config.read_max_rows})
    metrics: dict[str, dict[str, float]] = {}
    for run_id, key, value in cursor:
        if isfinite(value):
            metrics.setdefault(run_id, {})[key] = value
    return [Run(run_id, name or run_id, (start or 0) * _MS_NS, metrics.get(run_id, {})) for run_id, name, start in found]


def _trace(run_id: str, row: _Row) -> RunTrace:
    tokens = next(_numbers(row.total_tokens, row.usage_json, "total_tokens"), None)
    return RunTrace(
        run_id,
        row.request_id.removeprefix(PREFIX),
        row.timestamp_ms * _MS_NS,
        (row.execution_time_ms or 0) * _MS_NS,
        row.status == "ERROR",
        None if tokens is None else int(tokens),
        next(_numbers(row.total_cost, row.cost_json, "total_cost"), None),
    )


def _numbers(column: str | None, text: str | None, key: str) -> Iterator[float]:
    """The column's number, then that of the metadata; what is no number is left out."""
    for value in (column, _of_json(text, key)):
        try:
            number = float(value) if value is not None else float("nan")
        except (TypeError, ValueError, OverflowError):
            continue
        if isfinite(number):
            yield number


def _of_json(text: str | None, key: str) -> Any:
    try:
        read = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return None
    return read.get(key) if isinstance(read, Mapping) else None
