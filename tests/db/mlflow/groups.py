"""Requests in batches of any size."""

import random
from typing import Any


def cut(items: list[Any], chance: random.Random) -> list[list[Any]]:
    """The same in the same order, in any number of groups."""
    places = sorted(chance.sample(range(1, len(items)), chance.randrange(len(items)))) if len(items) > 1 else []
    return [items[first:last] for first, last in zip([0, *places], [*places, len(items)], strict=True)]
