"""Fewer of many cases that are alike, in the inner loop only: `make quick` and `make unit` load `unit.alone`."""

import sys
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")

EACH = 4 if "unit.alone" in sys.modules else 1
"""Of so many cases one is tried."""


def thinned(cases: Iterable[T]) -> list[T]:
    """All cases in a whole run, each fourth in the inner loop."""
    return list(cases)[::EACH]
