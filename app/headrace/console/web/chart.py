"""A scatter of runs: where its points and its axes are. Pure; no I/O."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headrace.analysis.quality import Point

WIDTH, HEIGHT = 1100, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 16, 40
_TICKS = 5


@dataclass(frozen=True, slots=True)
class Spot:
    """A run in the picture."""

    point: Point
    x: float
    y: float
    number: int
    """The place of its row in the table, from 1 on."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of an axis."""

    at: float
    value: float


@dataclass(frozen=True, slots=True)
class Scatter:
    """The picture: what a run takes from left to right, how good it is from bottom to top."""

    spots: Sequence[Spot]
    across: Sequence[Tick]
    up: Sequence[Tick]
    way: str
    """A path through the runs, in the order of time."""


def scatter(points: Sequence[Point]) -> Scatter:
    """Runs, the oldest first → the picture."""
    across, x = _axis([point.takes for point in points], LEFT, WIDTH - RIGHT)
    up, y = _axis([point.quality for point in points], HEIGHT - BOTTOM, TOP)
    spots = [Spot(point, x(point.takes), y(point.quality), number) for number, point in enumerate(points, 1)]
    way = "M" + "L".join(f"{spot.x} {spot.y}" for spot in spots) if len(spots) > 1 else ""
    return Scatter(spots, across, up, way)


def _axis(values: Sequence[float], begin: int, end: int) -> tuple[list[Tick], Callable[[float], float]]:
    """Round numbers around the values, and the way from a value to its place."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    middle = (high - low) or abs(high) or 1.0
    low, high = low - 0.08 * middle, high + 0.08 * middle
    step = _round_step((high - low) / _TICKS)

    def place(value: float) -> float:
        return round(begin + (end - begin) * (value - low) / (high - low), 1)

    first, last = math.ceil(low / step), math.floor(high / step)
    return [Tick(place(number * step), number * step) for number in range(first, min(last, first + 2 * _TICKS) + 1)], place


def _round_step(rough: float) -> float:
    """1, 2 or 5 times a power of ten, at least as large."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next((power * factor for factor in (1, 2, 5, 10) if power * factor >= rough), power * 10)
