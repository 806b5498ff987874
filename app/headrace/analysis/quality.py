"""How good a model is beside what it takes: the runs of an experiment, each with a metric and with what its traces say."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median_low

from headrace.reader import Run, Runs, RunTrace

TAKES = ("duration", "tokens", "cost")
"""What a run takes, as `points` names it: nanoseconds, tokens or US dollars a trace."""
_WORSE, _MORE = 0.01, 0.1
"""The metric's change by more than 1 %, and what a run takes by more than 10 %, count; smaller changes are chance."""
_LOWER_IS_BETTER = ("loss", "error", "latency", "perplexity", "mse", "mae", "duration", "time", "cost", "wer", "toxicity")


@dataclass(frozen=True, slots=True)
class Point:
    """A run: what it takes, how good it is, and what its traces say."""

    run: Run
    takes: float
    """The median of its traces' durations, or the mean of their tokens or cost."""
    quality: float
    traces: int
    errors: int
    worst: str
    """The id of the trace that takes most."""
    regressions: tuple[str, ...] = ()
    """What is wrong with it beside the run before it: `worse`, `takes more`."""


def higher_is_better(metric: str) -> bool:
    """A guess from the metric's name: less of a loss or an error is better."""
    return not any(part in metric.lower() for part in _LOWER_IS_BETTER)


def metrics_of(runs: Sequence[Run]) -> list[str]:
    """The names of all metrics of these runs: those that most runs have first, then by name."""
    counted: dict[str, int] = {}
    for run in runs:
        for name in run.metrics:
            counted[name] = counted.get(name, 0) + 1
    return sorted(counted, key=lambda name: (-counted[name], name))


def points(read: Runs, takes: str, metric: str, higher: bool) -> list[Point]:
    """The runs that have this metric and a trace that says what it takes, the oldest first.

    `takes`: one of `TAKES`. `higher`: whether more of the metric is better. A run has regressed if its metric is over 1 % worse
    than that of the run before it, or if it takes over 10 % more.
    """
    by_run: dict[str, list[RunTrace]] = {}
    for trace in read.traces:
        if _taken(trace, takes) is not None:
            by_run.setdefault(trace.run_id, []).append(trace)
    found = [
        _point(run, by_run[run.run_id], takes, metric) for run in read.runs if run.run_id in by_run and metric in run.metrics
    ]
    return [
        replace(after, regressions=_regressions(before, after, higher))
        for before, after in zip([None, *found], found, strict=False)
    ]


def _point(run: Run, traces: Sequence[RunTrace], takes: str, metric: str) -> Point:
    values = [_taken(trace, takes) or 0 for trace in traces]
    middle = median_low(values) if takes == "duration" else fmean(values)
    worst = max(zip(values, traces, strict=True), key=lambda pair: (pair[0], pair[1].trace_id))[1]
    return Point(run, middle, run.metrics[metric], len(traces), sum(trace.error for trace in traces), worst.trace_id)


def _taken(trace: RunTrace, takes: str) -> float | None:
    """What a trace takes. None: not known."""
    if takes == "duration":
        return trace.duration or None
    return trace.tokens if takes == "tokens" else trace.cost


def _regressions(before: Point | None, after: Point, higher: bool) -> tuple[str, ...]:
    if before is None:
        return ()
    lost = (before.quality - after.quality) * (1 if higher else -1)
    worse = lost > _WORSE * abs(before.quality)
    more = after.takes - before.takes > _MORE * abs(before.takes)
    return (("worse",) if worse else ()) + (("takes more",) if more else ())


def regressed(found: Iterable[Point]) -> list[Point]:
    """The runs that have regressed, the newest first."""
    return [point for point in reversed(list(found)) if point.regressions]
