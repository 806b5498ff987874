"""The operations of a service that take most time, over many traces."""

from collections.abc import Iterable
from dataclasses import dataclass

from headrace.analysis.path import self_times
from headrace.analysis.trace import Trace


@dataclass(frozen=True, slots=True)
class Operation:
    """All spans of one service and operation. Times are in nanoseconds."""

    service: str
    operation: str
    calls: int
    errors: int
    duration: int
    """Of all of them together."""
    self_time: int
    """Of all of them together, without what they waited for."""
    median: int
    """Of their durations; the lower one of two."""
    p95: int
    """95 % of them took no longer than this."""
    longest: int


def slowest_operations(traces: Iterable[Trace], most: int = 20) -> list[Operation]:
    """The operations that have the most self time, the worst first, at most so many."""
    durations: dict[tuple[str, str], list[int]] = {}
    sums: dict[tuple[str, str], list[int]] = {}
    for trace in traces:
        times = self_times(trace)
        for span in trace.spans.values():
            key = span.service, span.operation
            durations.setdefault(key, []).append(span.duration)
            errors_and_self = sums.setdefault(key, [0, 0])
            errors_and_self[0] += span.error
            errors_and_self[1] += times[span.span_id]
    found = [_operation(key, durations[key], *sums[key]) for key in durations]
    return sorted(found, key=lambda each: (-each.self_time, each.service, each.operation))[:most]


def _operation(key: tuple[str, str], durations: list[int], errors: int, self_time: int) -> Operation:
    durations.sort()
    number = len(durations)
    return Operation(
        *key,
        calls=number,
        errors=errors,
        duration=sum(durations),
        self_time=self_time,
        median=durations[(number - 1) // 2],
        p95=durations[-(-number * 95 // 100) - 1],
        longest=durations[-1],
    )
