"""Traces for the tests of the analysis: written down, and made by Hypothesis."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import hypothesis
from hypothesis import strategies as st

from headrace.analysis.trace import Span, Trace


def given(*strategies: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Hypothesis' `given`, without its deadline: no clock decides whether a test passes."""
    number = min(60, hypothesis.settings().max_examples)
    return lambda test: hypothesis.settings(deadline=None, max_examples=number)(hypothesis.given(*strategies)(test))


def span(name: str, start: int, end: int, parent: str = "", **fields: Any) -> Span:
    """`shop.pay` is the operation `pay` of the service `shop`, and the span's id."""
    service, _, operation = name.partition(".")
    named = {"span_id": name, "service": service, "operation": operation} | fields
    return Span(**named, parent_id=parent, start=start, end=end)


def trace(*spans: Span, trace_id: str = "t") -> Trace:
    """A trace of these."""
    return Trace.of(trace_id, spans)


@st.composite
def spans(draw: st.DrawFn, most: int = 12) -> list[Span]:
    """Spans with unique ids and anything else: missing parents, several roots, circles, no length, an end before the start,
    children that lie outside their parents."""
    number = draw(st.integers(0, most))
    times = st.integers(0, 30)
    parents = st.sampled_from(["", "gone", *(str(each) for each in range(number))])
    names = st.sampled_from(["a", "b", "c"])
    return [
        Span(
            str(each),
            draw(parents),
            draw(names),
            draw(names),
            draw(times),
            draw(times),
            draw(st.integers(0, 5)),
            draw(st.booleans()),
            draw(st.sampled_from(["", "a", "d"])),
            tuple(("t", link) for link in draw(st.lists(parents, max_size=2))),
        )
        for each in range(number)
    ]


def deep(number: int) -> list[Span]:
    """A chain: each span is the only child of the one before."""
    return [span(f"s.{each}", each, 2 * number - each, f"s.{each - 1}" if each else "") for each in range(number)]


def wide(number: int) -> list[Span]:
    """One root with so many children, which overlap with each other."""
    return [span("s.root", 0, 3 * number), *(span(f"s.{each}", each, 2 * each + 1, "s.root") for each in range(number - 1))]


def equal(number: int) -> list[Span]:
    """One root with so many children at the very same time."""
    return [span("s.root", 0, 9), *(span(f"s.{each}", 3, 5, "s.root") for each in range(number - 1))]


def circle(number: int) -> list[Span]:
    """Spans that are each other's ancestors."""
    return [span(f"s.{each}", each, each + 9, f"s.{(each + 1) % number}") for each in range(number)]


def steps(work: Callable[[], object]) -> int:
    """How many lines of Python the work runs."""
    count = 0

    def trace_line(frame: FrameType, event: str, _: object) -> Callable[..., Any]:
        nonlocal count
        count += 1
        return trace_line

    before = sys.gettrace()
    sys.settrace(trace_line)
    try:
        work()
    finally:
        sys.settrace(before)
    return count
