"""Spans of one trace → a forest. Whatever was sent, each span stands in it once."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

CLIENT, PRODUCER, CONSUMER = 3, 4, 5
"""Kinds of spans, as in OTLP's `Span.SpanKind`."""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A span, as the analysis sees it. Ids are texts; any will do. An empty `parent_id`: it is a root."""

    span_id: str
    parent_id: str
    service: str
    operation: str
    start: int
    """In nanoseconds, as `end`. A span that ends before it starts counts as one of no length."""
    end: int
    kind: int = 0
    error: bool = False
    peer: str = ""
    """The service that it calls, by its own account: `peer.service`."""
    links: tuple[tuple[str, str], ...] = ()
    """Trace id and span id of the spans that it links to."""

    @property
    def duration(self) -> int:
        """In nanoseconds."""
        return self.end - self.start

    @property
    def age(self) -> tuple[int, int, str]:
        """The smallest comes first: the earlier, then the longer, then by id."""
        return self.start, -self.end, self.span_id


@dataclass(frozen=True, slots=True)
class Trace:
    """Spans as a forest. Make it with `Trace.of`.

    A span whose parent is missing is a root. Of spans that name each other in a circle, the first is a root. Of two spans with
    one id, the greater counts, so that the order in which spans come does not matter.
    """

    trace_id: str
    spans: Mapping[str, Span]
    """By span id, oldest first."""
    roots: Sequence[Span]
    """Those that were sent as roots first, then those whose parent is missing; of each the oldest first."""
    _children: Mapping[str, Sequence[Span]]

    @classmethod
    def of(cls, trace_id: str, spans: Iterable[Span]) -> "Trace":
        """Makes the forest of these spans, in any order."""
        unique: dict[str, Span] = {}
        for span in spans:
            possible = replace(span, end=span.start) if span.end < span.start else span
            unique[span.span_id] = max(possible, unique.get(span.span_id, possible))
        known = {span.span_id: span for span in sorted(unique.values(), key=lambda span: span.age)}
        cut = _first_of_circles(known)
        children: dict[str, list[Span]] = {}
        roots = []
        for span in known.values():
            if span.parent_id in known and span.span_id not in cut:
                children.setdefault(span.parent_id, []).append(span)
            else:
                roots.append(span)
        roots.sort(key=lambda span: bool(span.parent_id))
        return cls(trace_id, known, roots, children)

    @property
    def root(self) -> Span | None:
        """The root that stands for the trace. None: the trace has no span."""
        return self.roots[0] if self.roots else None

    def children(self, span: Span) -> Sequence[Span]:
        """The children of a span, oldest first."""
        return self._children.get(span.span_id, ())

    def awaited(self, span: Span) -> list[Span]:
        """The children that a span waits for: all but consumers of what it has produced, which work when they like."""
        return [child for child in self.children(span) if not (span.kind == PRODUCER and child.kind == CONSUMER)]

    def walk(self) -> Iterator[tuple[int, Span]]:
        """Each span with its depth, parents before their children, as a waterfall shows them."""
        stack = [(0, root) for root in reversed(self.roots)]
        while stack:
            depth, span = stack.pop()
            yield depth, span
            stack.extend((depth + 1, child) for child in reversed(self.children(span)))


def _first_of_circles(spans: Mapping[str, Span]) -> set[str]:
    """Of spans that are their own ancestors, the oldest of each circle."""
    first: set[str] = set()
    visited: dict[str, int] = {}
    for number, begun in enumerate(spans):
        at = begun
        while at in spans and at not in visited:
            visited[at] = number
            at = spans[at].parent_id
        if visited.get(at) == number:  # this very walk has been here before
            first.add(_oldest_of_circle(spans, at))
    return first


def _oldest_of_circle(spans: Mapping[str, Span], begun: str) -> str:
    circle = [spans[begun]]
    while circle[-1].parent_id != begun:
        circle.append(spans[circle[-1].parent_id])
    return min(circle, key=lambda span: span.age).span_id
