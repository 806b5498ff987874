"""What a page says of one span: attributes, events, links, resource. It is hostile input: each text is cut, each page bounded.

Pure; no I/O.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, TracesData

from headrace.console.web.format import shortened
from headrace.otlp.attributes import to_dict, to_text
from headrace.otlp.readable import ReadablePair

_MAX_KEY, _MAX_VALUE, _MAX_WHOLE = 200, 400, 20_000
"""Characters of a key, of a value, and of a value of the span that was chosen."""
_MAX_PAIRS, _MAX_EVENTS, _MAX_LINKS = 64, 32, 16
_MAX_OF_WHOLE = 4
"""Of the span that was chosen as many times as many pairs, events and links are shown."""
_PAGE_CHARACTERS = 400_000
KINDS = ("", "internal", "server", "client", "producer", "consumer")


class Budget:
    """The characters of details that a page may still have."""

    def __init__(self, left: int = _PAGE_CHARACTERS) -> None:
        self.left = left

    def take(self, pairs: list["Pair"]) -> list["Pair"]:
        """These pairs, or none if the budget is spent."""
        if self.left <= 0:
            return []
        self.left -= sum(len(pair.key) + len(pair.value) for pair in pairs)
        return pairs


@dataclass(frozen=True, slots=True)
class Pair:
    """An attribute, as text."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Event:
    """An event, or a log record that has become one."""

    name: str
    offset: int
    """Nanoseconds from the start of the trace."""
    pairs: Sequence[Pair]


@dataclass(frozen=True, slots=True)
class Link:
    """A span that this span names."""

    trace_id: str
    span_id: str


@dataclass(frozen=True, slots=True)
class Details:
    """Of one span."""

    kind: str
    message: str
    """Of its status."""
    scope: str
    attributes: Sequence[Pair]
    resource: Sequence[Pair]
    events: Sequence[Event]
    links: Sequence[Link]
    cut: bool
    """Whether something is left out. The span's own page has more."""


@dataclass(frozen=True, slots=True)
class SpanParts:
    """A span, as it was sent, with its resource and its scope."""

    span: Span
    scope: ScopeSpans
    resource: ResourceSpans

    def details(self, budget: Budget, start: int, *, whole: bool) -> Details:
        """What a page says of it. `start`: of the trace. `whole`: it was chosen, so the budget does not count."""
        times, most = (_MAX_OF_WHOLE, _MAX_WHOLE) if whole else (1, _MAX_VALUE)
        budget = Budget() if whole else budget
        had = budget.left
        span, scope = self.span, self.scope.scope
        attributes = budget.take(_pairs(span.attributes, times * _MAX_PAIRS, most))
        kept = span.events[: times * _MAX_EVENTS]
        events = [_event(each, start, budget, most) for each in kept if budget.left > 0]
        links = [Link(each.trace_id.hex(), each.span_id.hex()) for each in span.links[: times * _MAX_LINKS]]
        resource = budget.take(_pairs(self.resource.resource.attributes, _MAX_PAIRS, _MAX_VALUE))
        return Details(
            KINDS[span.kind] if 0 < span.kind < len(KINDS) else "",
            shortened(span.status.message, most),
            shortened(f"{scope.name} {scope.version}".strip(), _MAX_VALUE),
            attributes,
            resource,
            events,
            links,
            cut=had <= 0 or self._is_cut(attributes, events, links),
        )

    def _is_cut(self, attributes: Sequence[Pair], events: Sequence[Event], links: Sequence[Link]) -> bool:
        span = self.span
        shown = (len(attributes), len(events), len(links))
        texts = [pair.value for pair in attributes] + [pair.value for event in events for pair in event.pairs]
        return shown != (len(span.attributes), len(span.events), len(span.links)) or any(each.endswith("…") for each in texts)


def parts_of(data: TracesData) -> Mapping[str, SpanParts]:
    """The spans by id, in hex."""
    return {each.span.span_id.hex(): each for each in _parts(data)}


def _parts(data: TracesData) -> Iterator[SpanParts]:
    for resource in data.resource_spans:
        for scope in resource.scope_spans:
            yield from (SpanParts(span, scope, resource) for span in scope.spans)


def _event(event: Span.Event, start: int, budget: Budget, most: int) -> Event:
    """An event as a page shows it. `start`: of the trace. `most`: characters of a value."""
    pairs = budget.take(_pairs(event.attributes, _MAX_PAIRS, most))
    return Event(shortened(event.name, _MAX_VALUE), event.time_unix_nano - start, pairs)


def _pairs(pairs: Iterable[ReadablePair], most: int, characters: int) -> list[Pair]:
    found: list[Pair] = []
    for pair in pairs:
        if len(found) == most:
            break
        found.append(Pair(shortened(pair.key, _MAX_KEY), shortened(to_text(to_dict([pair]).get(pair.key)), characters)))
    return sorted(found, key=lambda each: each.key)
