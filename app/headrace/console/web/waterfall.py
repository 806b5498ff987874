"""A trace as a waterfall: which rows a page shows, and where their bars are. Pure; no I/O.

A page shows at most `PAGE` rows, and a bounded number of characters of attributes: a trace of 100,000 spans is as many pages.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from headrace.analysis.path import Part, critical_path, path_times, self_times
from headrace.analysis.trace import Span, Trace
from headrace.console.web.details import Budget, Details, SpanParts

PAGE = 200
COLOURS = 12
"""Services have colours `s0` … `s11`; of more services, some share one."""
MAX_DEPTH = 24
"""Deeper rows are indented no further."""
_MAX_PARTS = 40
_LEAST = 0.25
"""The width of the narrowest bar, in per cent."""
TICKS = (0, 25, 50, 75, 100)


@dataclass(frozen=True, slots=True)
class Box:
    """Where a bar is, in per cent of the whole trace."""

    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Row:
    """One span."""

    span: Span
    depth: int
    colour: int
    bar: Box
    self_time: int
    critical: Sequence[Box]
    """Its parts on the critical path."""
    on_path: int
    """Nanoseconds that it has there."""
    details: Details
    number: int
    """Its place in the waterfall, from 0 on."""

    @property
    def indent(self) -> int:
        """How far it is indented."""
        return min(self.depth, MAX_DEPTH)


@dataclass(frozen=True, slots=True)
class Service:
    """A service of the trace, with the time that its spans themselves took."""

    name: str
    colour: int
    spans: int
    errors: int
    self_time: int
    on_path: int


@dataclass(frozen=True, slots=True)
class View:
    """What the page of a trace shows."""

    trace: Trace
    start: int
    length: int
    """From the first span's start to the last one's end, in nanoseconds."""
    depth: int
    errors: int
    services: Sequence[Service]
    path: Sequence[tuple[Span, int, int]]
    """The spans that have most of the critical path: span, nanoseconds, colour."""
    path_length: int
    rows: Sequence[Row]
    first: int
    """The number of the first row that is shown."""
    shown: int
    """How many rows there are on all pages."""
    ticks: Sequence[tuple[int, int]] = field(default=())
    """Per cent, and nanoseconds from the start."""


def view(trace: Trace, parts: Mapping[str, SpanParts], first: int, show: str, chosen: str = "") -> View | None:
    """What a page shows, from the row with this number on. None: the trace has no span.

    `show`: `all`, `critical` or `errors`. `chosen`: the id of a span whose page is shown, and all of whose details.
    """
    if not trace.spans:
        return None
    return _Viewing(trace, parts, chosen).view(first, show)


class _Viewing:
    """One trace, and what is computed of it once."""

    def __init__(self, trace: Trace, parts: Mapping[str, SpanParts], chosen: str) -> None:
        self._trace = trace
        self._parts = parts
        self._chosen = chosen
        self._start = min(span.start for span in trace.spans.values())
        self._length = max(1, max(span.end for span in trace.spans.values()) - self._start)
        path = critical_path(trace)
        self._on_path = path_times(path)
        self._path: dict[str, list[Part]] = {}
        for part in path:
            self._path.setdefault(part.span.span_id, []).append(part)
        self._selfs = self_times(trace)
        self._colours: dict[str, int] = {}
        for span in trace.spans.values():
            self._colours.setdefault(span.service, len(self._colours) % COLOURS)

    def view(self, first: int, show: str) -> View:
        wanted = [pair for pair in self._trace.walk() if self._is_shown(pair[1], show)]
        if self._chosen:
            first = next((n for n, (_, span) in enumerate(wanted) if span.span_id == self._chosen), first)
            first -= first % PAGE
        first = min(first, max(0, len(wanted) - 1) // PAGE * PAGE)
        budget = Budget()
        page = islice(enumerate(wanted), first, first + PAGE)
        return View(
            trace=self._trace,
            start=self._start,
            length=self._length,
            depth=1 + max(depth for depth, _ in self._trace.walk()),
            errors=sum(span.error for span in self._trace.spans.values()),
            services=self._services(),
            path=self._longest(),
            path_length=sum(self._on_path.values()),
            rows=[self._row(number, depth, span, budget) for number, (depth, span) in page],
            first=first,
            shown=len(wanted),
            ticks=[(tick, self._length * tick // 100) for tick in TICKS],
        )

    def _is_shown(self, span: Span, show: str) -> bool:
        return show == "all" or (span.error if show == "errors" else span.span_id in self._on_path)

    def _row(self, number: int, depth: int, span: Span, budget: Budget) -> Row:
        critical = self._path.get(span.span_id, [])[-_MAX_PARTS:]
        return Row(
            span=span,
            depth=depth,
            colour=self._colours[span.service],
            bar=self._box(span.start, span.end),
            self_time=self._selfs[span.span_id],
            critical=[self._box(part.start, part.end) for part in critical],
            on_path=self._on_path.get(span.span_id, 0),
            details=self._parts[span.span_id].details(budget, self._start, whole=span.span_id == self._chosen),
            number=number,
        )

    def _box(self, start: int, end: int) -> Box:
        width = min(100.0, max(_LEAST, 100 * (end - start) / self._length))
        return Box(round(min(100 - width, 100 * (start - self._start) / self._length), 3), round(width, 3))

    def _services(self) -> list[Service]:
        sums: dict[str, list[int]] = {}
        for span in self._trace.spans.values():
            found = sums.setdefault(span.service, [0, 0, 0, 0])
            for place, value in enumerate((1, span.error, self._selfs[span.span_id], self._on_path.get(span.span_id, 0))):
                found[place] += value
        return [Service(name, self._colours[name], *found) for name, found in sums.items()]

    def _longest(self, most: int = 8) -> list[tuple[Span, int, int]]:
        order = sorted(self._on_path.items(), key=lambda pair: (-pair[1], pair[0]))[:most]
        spans = ((self._trace.spans[span_id], time) for span_id, time in order)
        return [(span, time, self._colours[span.service]) for span, time in spans]
