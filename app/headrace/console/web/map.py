"""The dependency map as a drawing: boxes in layers, and curves between them. Pure; no I/O."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headrace.analysis.layers import layers
from headrace.reader import Edge

MOST = 80
"""Edges that are drawn, those with the most calls; the table has more."""
IN_TABLE = 200
BOX, TALL, GAP, ROOM = 176, 44, 116, 26
"""Width and height of a box, and the room between boxes, across and down."""
_MARGIN = 16
_FEW = 0.05
"""From this share of errors on, an edge is coloured as failing."""


@dataclass(frozen=True, slots=True)
class Box:
    """A service."""

    name: str
    x: float
    y: float
    calls: int
    """That others make of it."""
    errors: int


@dataclass(frozen=True, slots=True)
class Line:
    """An edge."""

    edge: Edge
    path: str
    width: float
    trouble: str
    """`none`, `some` or `many` errors."""
    label_x: float
    label_y: float


@dataclass(frozen=True, slots=True)
class Drawing:
    """The whole map."""

    width: float
    height: float
    boxes: Sequence[Box]
    lines: Sequence[Line]


def trouble(edge: Edge) -> str:
    """`none`, `some` or `many`."""
    return "none" if not edge.errors else "many" if edge.errors >= _FEW * edge.calls else "some"


def drawing(edges: Sequence[Edge]) -> Drawing:
    """The edges with the most calls → their drawing."""
    drawn = sorted(edges, key=lambda edge: (-edge.calls, edge))[:MOST]
    ordered = layers((edge.caller, edge.callee) for edge in drawn)
    tallest = max(map(len, ordered), default=1)
    height = tallest * (TALL + ROOM) - ROOM + 2 * _MARGIN
    places: dict[str, tuple[float, float]] = {}
    for column, layer in enumerate(ordered):
        top = (height - len(layer) * (TALL + ROOM) + ROOM) / 2
        places |= {name: (_MARGIN + column * (BOX + GAP), top + row * (TALL + ROOM)) for row, name in enumerate(layer)}
    most = max((edge.calls for edge in drawn), default=1)
    width = len(ordered) * (BOX + GAP) - GAP + 2 * _MARGIN
    return Drawing(max(width, BOX), height, _boxes(places, drawn), [_line(edge, places, most) for edge in drawn])


def _boxes(places: Mapping[str, tuple[float, float]], edges: Sequence[Edge]) -> list[Box]:
    sums = {name: [0, 0] for name in places}
    for edge in edges:
        sums[edge.callee][0] += edge.calls
        sums[edge.callee][1] += edge.errors
    return [Box(name, x, y, *sums[name]) for name, (x, y) in places.items()]


def _line(edge: Edge, places: Mapping[str, tuple[float, float]], most: int) -> Line:
    """From the right of the caller to the left of the callee; one that leads back goes below, from left to right."""
    (from_x, from_y), (to_x, to_y) = places[edge.caller], places[edge.callee]
    back = from_x >= to_x
    begin, end = (from_x, to_x + BOX) if back else (from_x + BOX, to_x)
    start_y, end_y = (from_y + TALL * (0.75 if back else 0.5), to_y + TALL * (0.75 if back else 0.5))
    bend = (-1 if back else 1) * max(GAP / 2, abs(end - begin) / 2)
    path = f"M{begin:.1f} {start_y:.1f}C{begin + bend:.1f} {start_y:.1f} {end - bend:.1f} {end_y:.1f} {end:.1f} {end_y:.1f}"
    width = 1.5 + 5 * math.log1p(edge.calls) / math.log1p(max(most, 2))
    return Line(edge, path, round(width, 2), trouble(edge), (begin + end) / 2, (start_y + end_y) / 2 - 6)
