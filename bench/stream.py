"""Which request follows which: those of many traces in turn, as a server gets them from many clients."""

import os
import random
from collections import deque
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import NamedTuple

from bench.shapes import Shape
from bench.templates import templates

_MOST_OPEN = 128
"""Groups of traces that have begun and not ended, at most. Two requests of one trace are about as many requests apart."""
_BUNDLES = 8
"""Of long traces: each request adds to one of them, in turn."""
_AHEAD_BYTES = 256 * 2**20
"""Of compressed bodies, made before the clock starts."""


class Request(NamedTuple):
    """One request of the load, serialized and encoded."""

    body: bytes
    spans: int
    group: int
    """Of the traces that it belongs to, which are whole when all their requests are acknowledged."""
    traces: int
    """How many the group has."""
    opens: bool
    """May be left out when the time is over: it begins a group, or adds to traces that need no more."""
    signal: str = "traces"
    """Or `logs`."""


class Stream:
    """The requests of one measurement, about `requests` of them, each made when it is asked for.

    `encode` turns an OTLP message into a body.
    """

    def __init__(self, shape: Shape, requests: int, encode: Callable[[bytes], bytes] | None = None) -> None:
        self._shape, self._encode = shape, encode
        self._templates = cycle(templates(shape))
        self._stopped = False
        self._begun: set[int] = set()
        self._first = False
        self._made = self._long(requests) if shape.long else self._groups(max(1, round(requests / shape.requests)))
        self._ahead: deque[Request] = deque()

    def make_ahead(self) -> None:
        """Makes requests before the clock starts, so that compressing them takes nothing from the server."""
        size = 0
        while size < _AHEAD_BYTES and (request := next(self._made, None)):
            self._ahead.append(request)
            size += len(request.body)

    def stop(self) -> None:
        """From now on only what is needed to make the traces whole that have begun."""
        self._stopped = True

    def next(self) -> Request | None:
        """The next request; None at the end."""
        while request := self._ahead.popleft() if self._ahead else next(self._made, None):
            if self._stopped and (request.opens or request.group not in self._begun):
                continue
            self._first = request.group not in self._begun
            self._begun.add(request.group)
            return request
        return None

    def take_back(self, request: Request) -> None:
        """The request that `next` gave last is not sent. If it was the first of its group, the group has not begun."""
        if self._first:
            self._begun.discard(request.group)

    def _groups(self, groups: int) -> Iterator[Request]:
        """Groups whose requests take turns: at each time some have just begun, and others are about to end."""
        rng, most = random.Random(23), min(_MOST_OPEN, max(1, groups // 8))
        number, turns = 0, deque[deque[Request]]()
        while (more := number < groups and not self._stopped) or turns:
            if more and len(turns) < most and (not turns or rng.random() < 0.5):
                group, number = self._group(number), number + 1
            else:
                group = turns.popleft()
            yield group.popleft()
            if group:
                turns.append(group)

    def _group(self, number: int) -> deque[Request]:
        template = next(self._templates)
        bodies = zip(template.fill(), template.spans, template.signals, strict=True)
        return deque(
            self._request(body, spans, number, opens=not part)._replace(signal=signal)
            for part, (body, spans, signal) in enumerate(bodies)
        )

    def _long(self, requests: int) -> Iterator[Request]:
        """Half of the long traces have their root from the start, as a session whose first call is over; the others get it
        at the end."""
        pins = [os.urandom(next(self._templates).pins) for _ in range(_BUNDLES)]
        for bundle in range(0, _BUNDLES, 2):
            yield self._roots(bundle, pins[bundle], opens=True)
        for number in range(max(_BUNDLES, requests - _BUNDLES)):
            if self._stopped:
                break
            template, bundle = next(self._templates), number % _BUNDLES
            yield self._request(template.fill(pins[bundle])[0], template.spans[0], bundle, opens=number >= _BUNDLES)
        for bundle in range(1, _BUNDLES, 2):
            yield self._roots(bundle, pins[bundle], opens=False)

    def _roots(self, bundle: int, pins: bytes, *, opens: bool) -> Request:
        template = next(self._templates)
        return self._request(template.fill(pins)[1], template.spans[1], bundle, opens=opens)

    def _request(self, body: bytes, spans: int, group: int, *, opens: bool) -> Request:
        encoded = self._encode(body) if self._encode else body
        return Request(encoded, spans, group, self._shape.traces, opens)
