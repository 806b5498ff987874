"""Sums of intervals (delta temporality) → running sums, as a chart of MLflow wants them. Idempotent, in any order.

Each interval is kept in `headrace.metric_delta`, once: what is sent again is there already. A running sum is the sum of all
intervals of its metric that end no later; those that end alike follow each other by their steps. An interval that comes late
changes the sums after it, so their rows are replaced.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from headrace.mlflow.metrics.translate import Delta, Row, row
from headrace.mlflow.write.statements import Rows

_NS = 1_000_000

_ADD = """
    INSERT INTO headrace.metric_delta (run_uuid, key, ends_ns, stream, step, value)
    SELECT * FROM unnest(%s::text[], %s::text[], %s::int8[], %s::int8[], %s::int8[], %s::float8[])
    ON CONFLICT DO NOTHING RETURNING run_uuid, key, ends_ns
"""
_BEFORE = """
    SELECT t.run_uuid, t.key, d.total FROM unnest(%s::text[], %s::text[], %s::int8[]) AS t (run_uuid, key, since)
    CROSS JOIN LATERAL (
        SELECT d.total FROM headrace.metric_delta d WHERE d.run_uuid = t.run_uuid AND d.key = t.key AND d.ends_ns < t.since
        ORDER BY d.ends_ns DESC, d.step DESC, d.stream DESC LIMIT 1
    ) d
"""
_SINCE = """
    SELECT d.run_uuid, d.key, d.ends_ns, d.stream, d.step, d.value, d.total
    FROM unnest(%s::text[], %s::text[], %s::int8[]) AS t (run_uuid, key, since)
    JOIN headrace.metric_delta d ON d.run_uuid = t.run_uuid AND d.key = t.key AND d.ends_ns >= t.since
    ORDER BY d.run_uuid, d.key, d.ends_ns, d.step, d.stream
"""
_KEEP = """
    UPDATE headrace.metric_delta d SET total = t.total
    FROM unnest(%s::text[], %s::text[], %s::int8[], %s::int8[], %s::float8[]) AS t (run_uuid, key, ends_ns, stream, total)
    WHERE (d.run_uuid, d.key, d.ends_ns, d.stream) = (t.run_uuid, t.key, t.ends_ns, t.stream)
"""

_Metric = tuple[str, str]
"""A run's id and a key."""


class _Interval(NamedTuple):
    """A stored interval. `total`: the running sum that was written for it, None if none was."""

    ends: int
    stream: int
    step: int
    value: float
    total: float | None


@dataclass(slots=True)
class Sums:
    """What running sums change in `metrics`."""

    rows: dict[_Metric, list[Row]] = field(default_factory=dict)
    replaced: dict[_Metric, list[Row]] = field(default_factory=dict)
    """Rows that were written before, and are no longer right."""


def add(cursor: Rows, deltas: Mapping[str, Sequence[Delta]]) -> Sums:
    """Stores the intervals of runs, by their ids. Returns the rows of the running sums that are new or have changed."""
    since = _store(cursor, deltas)
    sums = Sums()
    if not since:
        return sums
    where = [[run for run, _ in since], [key for _, key in since], list(since.values())]
    cursor.execute(_BEFORE, where)
    before = {(run, key): total for run, key, total in cursor.fetchall()}
    cursor.execute(_SINCE, where)
    found: defaultdict[_Metric, list[_Interval]] = defaultdict(list)
    for run, key, *interval in cursor.fetchall():
        found[run, key].append(_Interval(*interval))
    kept: list[tuple[str, str, int, int, float]] = []
    for metric, intervals in found.items():
        totals = _totals(before.get(metric, 0.0), intervals)
        kept += [(*metric, each.ends, each.stream, total) for each, total in zip(intervals, totals, strict=True)]
        old, new = _points(metric[1], intervals, [each.total for each in intervals]), _points(metric[1], intervals, totals)
        sums.rows[metric] = list(dict.fromkeys(new).keys() - set(old))
        sums.replaced[metric] = list(dict.fromkeys(old).keys() - set(new))
    cursor.execute(_KEEP, [list(column) for column in zip(*kept, strict=True)])
    return sums


def _store(cursor: Rows, deltas: Mapping[str, Sequence[Delta]]) -> dict[_Metric, int]:
    """Stores intervals. Returns the metrics that got new ones, each with the end of the first."""
    rows = sorted({(run, each.key, each.ends, each.stream, each.step, each.value) for run in deltas for each in deltas[run]})
    if not rows:
        return {}
    cursor.execute(_ADD, [list(column) for column in zip(*rows, strict=True)])
    since: dict[_Metric, int] = {}
    for run, key, ends in cursor.fetchall():
        since[run, key] = min(ends, since.get((run, key), ends))
    return since


def _totals(before: float, intervals: Iterable[_Interval]) -> list[float]:
    totals = []
    for each in intervals:
        before += each.value
        totals.append(before)
    return totals


def _points(key: str, intervals: Sequence[_Interval], totals: Sequence[float | None]) -> list[Row]:
    """The rows of running sums: one for each millisecond and step, the last."""
    last = {(each.ends // _NS, each.step): total for each, total in zip(intervals, totals, strict=True) if total is not None}
    return [row(key, timestamp, step, total) for (timestamp, step), total in last.items()]
