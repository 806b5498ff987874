"""Traces side by side: which spans they share, and where the time differs.

Two spans stand side by side if their parents do, and they have the same service, the same operation, and the same position
among those siblings: the second query of one trace beside the second query of the other. Jaeger compares how often spans
occur; here durations and self times are compared, too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median_low

from headrace.analysis.path import self_times
from headrace.analysis.trace import Span, Trace


@dataclass(frozen=True, slots=True)
class Side:
    """A span of one trace; or, for a kind of traces, the median of the spans that stand there."""

    duration: int
    self_time: int
    errors: int
    """How many of the spans failed."""
    count: int
    """In how many traces there is such a span."""
    span_id: str = ""
    """Empty for a median of several traces."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a comparison. A side is None where its trace has no such span."""

    depth: int
    service: str
    operation: str
    position: int
    """0 for the first among siblings of this service and operation."""
    left: Side | None
    right: Side | None

    @property
    def slower(self) -> int:
        """By how many nanoseconds the right span itself takes longer. A span that is missing takes no time."""
        return (self.right.self_time if self.right else 0) - (self.left.self_time if self.left else 0)


@dataclass(frozen=True, slots=True)
class _Place:
    """A place in the common structure, and who stands there, by the number of the trace."""

    depth: int
    service: str
    operation: str
    position: int
    members: dict[int, Span]


def compare(left: Trace, right: Trace) -> list[Row]:
    """Two traces side by side, as a waterfall: parents before their children, the oldest first."""
    times = [self_times(left), self_times(right)]
    return [
        _row(place, *(_side(place, times, [number]) if number in place.members else None for number in (0, 1)))
        for place in _places([left, right])
    ]


def compare_with_median(trace: Trace, others: Sequence[Trace]) -> list[Row]:
    """The median of other traces of the same kind on the left, the trace on the right.

    The left side of a row is the median of those that have such a span. Spans that only others have are shown if more than half
    of them do. Of an even number of values, the median is the lower of the two in the middle: integers stay integers.
    """
    traces = [*others, trace]
    times = [self_times(each) for each in traces]
    own, rows = len(others), []
    for place in _places(traces):
        kind = [number for number in place.members if number != own]
        if own in place.members or 2 * len(kind) > len(others):
            left = _side(place, times, kind) if kind else None
            rows.append(_row(place, left, _side(place, times, [own]) if own in place.members else None))
    return rows


def regressions(rows: Sequence[Row], most: int = 10) -> list[Row]:
    """The rows in which the right side itself takes longer, the worst first, at most so many."""
    return sorted((row for row in rows if row.slower > 0), key=lambda row: -row.slower)[:most]


def kind_of(trace: Trace) -> tuple[str, str]:
    """Traces are of one kind if their roots have the same service and operation. Both are empty for a trace without spans."""
    return (trace.root.service, trace.root.operation) if trace.root else ("", "")


def _row(place: _Place, left: Side | None, right: Side | None) -> Row:
    return Row(place.depth, place.service, place.operation, place.position, left, right)


def _side(place: _Place, times: Sequence[dict[str, int]], numbers: Sequence[int]) -> Side:
    spans = [place.members[number] for number in numbers]
    return Side(
        duration=median_low(span.duration for span in spans),
        self_time=median_low(times[number][place.members[number].span_id] for number in numbers),
        errors=sum(span.error for span in spans),
        count=len(spans),
        span_id=spans[0].span_id if len(spans) == 1 else "",
    )


def _places(traces: Sequence[Trace]) -> Iterator[_Place]:
    """The common structure of traces, as a waterfall."""
    begins = {number: trace.root.start for number, trace in enumerate(traces) if trace.root}
    stack = _grouped(0, {number: (begin, traces[number].roots) for number, begin in begins.items()})
    while stack:
        place = stack.pop()
        yield place
        below = {number: (span.start, traces[number].children(span)) for number, span in place.members.items()}
        stack.extend(_grouped(place.depth + 1, below))


def _grouped(depth: int, siblings: dict[int, tuple[int, Sequence[Span]]]) -> list[_Place]:
    """Siblings of several traces → the places that they take; the oldest last. With each trace comes its parent's start."""
    places: dict[tuple[str, str, int], _Place] = {}
    offsets: dict[tuple[str, str, int], int] = {}
    for number, (begin, spans) in siblings.items():
        positions: dict[tuple[str, str], int] = {}
        for span in spans:
            position = positions.get((span.service, span.operation), 0)
            positions[span.service, span.operation] = position + 1
            key = span.service, span.operation, position
            place = places.setdefault(key, _Place(depth, *key, members={}))
            place.members[number] = span
            offsets.setdefault(key, span.start - begin)
    ordered = sorted(places, key=lambda key: (offsets[key], key), reverse=True)
    return [places[key] for key in ordered]
