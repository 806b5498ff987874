"""Sums of tokens and of costs, and who speaks, kept so that spans can be added to them. No I/O.

Sums are exact, and rounded only when they are read: so they do not depend on the order in which spans come, as sums of
floats do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from headrace.mlflow.model.voices import Voices

_UNIT = 1074
"""Each finite float is a whole multiple of two to the power of minus this."""


class Sum(NamedTuple):
    """A sum of integers, and one of floats in units of 2**-1074; None: no float is among them."""

    integers: int = 0
    floats: int | None = None

    def plus(self, other: "Sum", sign: int = 1) -> "Sum":
        """This sum and the other one; with `sign` -1 without it."""
        integers = self.integers + sign * other.integers
        if other.floats is None:
            return Sum(integers, self.floats)
        return Sum(integers, (self.floats or 0) + sign * other.floats)

    @property
    def figure(self) -> int | float:
        """The sum, rounded if it is a float. Infinite if it is too large for one."""
        if self.floats is None:
            return self.integers
        try:
            return ((self.integers << _UNIT) + self.floats) / (1 << _UNIT)  # Python rounds this right
        except OverflowError:
            return float("inf")


def exact(figure: float) -> Sum:
    """A sum of one figure.

    Raises:
        ValueError, OverflowError: it is not a number, or infinite.
    """
    if isinstance(figure, int):
        return Sum(int(figure))
    numerator, denominator = figure.as_integer_ratio()
    return Sum(0, numerator << (_UNIT + 1 - denominator.bit_length()))


Sums = Mapping[str, Sum]
"""By the name of the figure, `input_tokens` for example."""


CALL = "@"
"""In a figure's name: what follows is the call that it describes, a dot, and the instrumentation that says so."""


def _by_call(sums: Sums) -> dict[tuple[str, str], list[Sum]]:
    """Figures by name and call; without a call there is one for each name."""
    found: dict[tuple[str, str], list[Sum]] = {}
    for key, figure in sums.items():
        name, _, call = key.partition(CALL)
        found.setdefault((name, call.partition(".")[0]), []).append(figure)
    return found


@dataclass(slots=True)
class Tally:
    """The figures of one kind that count in a trace: of a span and of those below it only the upper one counts."""

    seen: bool = False
    """Whether any span has such figures, though they may not count."""
    by_parent: dict[str, dict[str, Sum]] = field(default_factory=dict)
    """What counts below each parent that is not there (yet); below "": what counts below spans without a parent."""

    def add(self, parent_id: str, sums: Sums, sign: int = 1) -> None:
        """Adds to what counts below a parent that is not there; with `sign` -1 takes away."""
        there = self.by_parent.setdefault(parent_id, {})
        for key, figure in sums.items():
            there[key] = there.get(key, Sum()).plus(figure, sign)

    def total(self) -> dict[str, int | float]:
        """All that counts; nothing does if `by_parent` is empty.

        Of what several instrumentations say of one call the most counts.
        """
        found: dict[str, Sum] = {}
        for sums in self.by_parent.values():
            for key, figure in sums.items():
                found[key] = found.get(key, Sum()).plus(figure)
        total: dict[str, Sum] = {}
        for (name, _), described in _by_call(found).items():
            most = max(described, key=lambda figure: figure.figure)
            total[name] = total.get(name, Sum()).plus(most)
        return {name: figure.figure for name, figure in total.items()}


@dataclass(slots=True)
class Totals:
    """Both kinds, and who speaks."""

    usage: Tally = field(default_factory=Tally)
    cost: Tally = field(default_factory=Tally)
    voices: Voices = field(default_factory=Voices)

    def dumped(self) -> list[Any]:
        """As JSON has it, for `loaded`."""
        return [_dumped(self.usage), _dumped(self.cost), self.voices.dumped()]

    @classmethod
    def loaded(cls, dumped: list[Any]) -> "Totals":
        """What `dumped` gave."""
        usage, cost, voices = dumped
        return cls(_loaded(usage), _loaded(cost), Voices.loaded(voices))


_Dumped = tuple[bool, dict[str, dict[str, tuple[str, str | None]]]]
"""Numbers as hexadecimal text: they may have more digits than JSON's readers take."""


def _dumped(tally: Tally) -> _Dumped:
    return tally.seen, {
        parent: {key: (f"{figure.integers:x}", _short(figure.floats)) for key, figure in sums.items()}
        for parent, sums in tally.by_parent.items()
    }


def _short(floats: int | None) -> str | None:
    """Without the zeros at its end, and how many bits they were."""
    if not floats:
        return None if floats is None else "0:0"
    zeros = (floats & -floats).bit_length() - 1
    return f"{floats >> zeros:x}:{zeros:x}"


def _loaded(dumped: _Dumped) -> Tally:
    seen, by_parent = dumped
    return Tally(
        seen,
        {
            parent: {key: Sum(int(integers, 16), _long(floats)) for key, (integers, floats) in sums.items()}
            for parent, sums in by_parent.items()
        },
    )


def _long(short: str | None) -> int | None:
    if short is None:
        return None
    digits, _, zeros = short.partition(":")
    return int(digits, 16) << int(zeros, 16)
