"""Tokens and costs, in whatever way a client writes them down. Pure; no I/O."""

import math
from contextlib import suppress
from typing import Any

from headrace.mlflow.json_text import JsonText, dumps

_MAX = 2**63 - 1
"""What a column of MLflow's tables can hold."""


def count(value: Any) -> int | None:
    """A number of tokens: a whole number, in whatever way it is written. None: it is none."""
    if isinstance(value, str):
        with suppress(ValueError):
            value = int(value) if value.strip().isdecimal() else float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX:
        return None
    return int(value)


def amount(value: Any) -> float | None:
    """A cost. A client that does not know it says 0."""
    if isinstance(value, str):
        with suppress(ValueError):
            value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not (value > 0 and math.isfinite(value)):
        return None
    return float(value)


def as_json(figures: dict[str, Any]) -> str:
    """The JSON of figures. That of whole numbers and finite floats is their `repr`."""
    if not all(type(figure) is int or (type(figure) is float and math.isfinite(figure)) for figure in figures.values()):
        return JsonText.of(dumps(figures), figures)
    return JsonText.of("{" + ", ".join([f'"{key}": {figure!r}' for key, figure in figures.items()]) + "}", figures)
