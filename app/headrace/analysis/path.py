"""The critical path of a trace, and the self time of each span.

The critical path says, for each moment of a root span, which span the root waited for. It is Jaeger's algorithm (and that of
CRISP, USENIX ATC '22): from the end of a span look back for the child that ended last; what lies after it is the span's own;
go on from the child's start. Three things differ. A child that ends just where the next begins is on the path. The walk does
not recurse. It looks at each child once.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from headrace.analysis.trace import Span, Trace


@dataclass(frozen=True, slots=True)
class Part:
    """From `start` to `end`, in nanoseconds, the root waited for this span itself."""

    span: Span
    start: int
    end: int


@dataclass(slots=True)
class _Frame:
    """A span on the way down: its own window, the children still to look at, and how far back the walk has come."""

    span: Span
    start: int
    reached: int
    waiting: list[tuple[int, Span]]
    """The children by their end within the window; the one that ends last is the last of the list."""


def critical_path(trace: Trace, root: Span | None = None) -> list[Part]:
    """The critical path of a root, oldest part first. The parts cover the root from its start to its end, without overlap.

    `root`: any span of the trace; `trace.root` unless given. A child counts as far as it lies within its parent: what runs on
    after its parent has ended, or before it began, keeps nobody waiting. A span of no length has no part; a root of no length
    has no path.
    """
    begun = root or trace.root
    if begun is None or not begun.duration:
        return []
    parts: list[Part] = []
    stack = [_frame(trace, begun, begun.start, begun.end)]
    while stack:
        frame = stack[-1]
        child = _last_before(frame)
        after = min(child.end, frame.reached) if child else frame.start
        if after < frame.reached:
            parts.append(Part(frame.span, after, frame.reached))
        if child is None:
            stack.pop()
            continue
        start = max(child.start, frame.start)
        frame.reached = start
        stack.append(_frame(trace, child, start, after))
    return parts[::-1]


def _frame(trace: Trace, span: Span, start: int, end: int) -> _Frame:
    inside = (child for child in trace.awaited(span) if max(child.start, start) < min(child.end, end))
    waiting = sorted(((min(child.end, end), child) for child in inside), key=_by_end)
    return _Frame(span, start, end, waiting)


def _by_end(child: tuple[int, Span]) -> tuple[int, int, int, str]:
    """Of children that end at the same time, the one that really ended last comes last; then the one that began first."""
    end, span = child
    return end, span.end, -span.start, span.span_id


def _last_before(frame: _Frame) -> Span | None:
    """Takes the child that ended last before the walk's place. Children that overlap with it are left out for good."""
    while frame.waiting:
        end, child = frame.waiting.pop()
        if end <= frame.reached:
            return child
    return None


def self_times(trace: Trace) -> dict[str, int]:
    """Span id → nanoseconds in which the span ran and no child that it waits for did."""
    return {span.span_id: span.duration - sum(_covered(trace, span)) for span in trace.spans.values()}


def _covered(trace: Trace, span: Span) -> Iterator[int]:
    """Lengths of the stretches in which children ran, without overlap."""
    reached = span.start
    for child in trace.awaited(span):  # by start
        start, end = max(child.start, reached), min(child.end, span.end)
        if start < end:
            yield end - start
            reached = end


def path_times(path: list[Part]) -> dict[str, int]:
    """Span id → nanoseconds that it has on a critical path."""
    times: dict[str, int] = {}
    for part in path:
        times[part.span.span_id] = times.get(part.span.span_id, 0) + part.end - part.start
    return times
