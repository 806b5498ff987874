"""The analysis of large traces: twice the spans take about twice the steps, and depth breaks nothing. No clock is asked."""

from collections.abc import Callable

import pytest
from unit.analysis.forests import circle, deep, equal, steps, wide

from headrace.analysis.compare import compare, compare_with_median
from headrace.analysis.operations import slowest_operations
from headrace.analysis.path import critical_path, self_times
from headrace.analysis.services import dependencies
from headrace.analysis.trace import Span, Trace

WORK: dict[str, Callable[[list[Span]], object]] = {
    "forest": lambda spans: list(Trace.of("t", spans).walk()),
    "path": lambda spans: critical_path(Trace.of("t", spans)),
    "self": lambda spans: self_times(Trace.of("t", spans)),
    "compare": lambda spans: compare(Trace.of("t", spans), Trace.of("u", spans[::2])),
    "median": lambda spans: compare_with_median(Trace.of("t", spans), [Trace.of("u", spans), Trace.of("v", spans)]),
    "map": lambda spans: dependencies([Trace.of("t", spans)]),
    "operations": lambda spans: slowest_operations([Trace.of("t", spans)]),
}
SHAPES = {made.__name__: made for made in (deep, wide, equal, circle)}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("work", WORK)
def test_twice_the_spans_take_twice_the_steps(work: str, shape: str) -> None:
    small, large = (SHAPES[shape](number) for number in (400, 800))
    assert steps(lambda: WORK[work](large)) <= 2.2 * steps(lambda: WORK[work](small))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_hundred_thousand_spans(shape: str) -> None:
    made = Trace.of("t", SHAPES[shape](100_000))
    root = made.root
    assert root is not None
    assert sum(part.end - part.start for part in critical_path(made)) == root.duration
    assert len(self_times(made)) == len(list(made.walk())) == len(compare(made, made)) == 100_000
