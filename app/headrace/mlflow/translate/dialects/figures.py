"""Tokens and costs, in whatever way a client writes them down. Pure; no I/O."""

import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from mlflow.tracing.utils import calculate_cost_by_model_and_token_usage

import headrace.mlflow.runtime  # noqa: F401 - for what it does to the process: a look at a price is quick
from headrace.mlflow.json_text import JsonText, dumps

_MAX = 2**63 - 1
"""What a column of MLflow's tables can hold."""
_SUMMED = ("input_tokens", "output_tokens")
_PARTS = ("cache_read_input_tokens", "cache_creation_input_tokens", "reasoning_tokens")
"""Parts of those. Where nothing else is known, they are the total."""


PRICED = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
"""The tokens of which a computed cost is made."""
CALLS = frozenset({"LLM", "CHAT_MODEL", "EMBEDDING", "RERANKER", ""})
"""Types of spans that are one call of a model, whose cost can be computed. Without a type it may be one."""


def computed_cost(model: str | None, usage: dict[str, Any] | None, provider: str | None) -> dict[str, float]:
    """What so many tokens of this model cost in US dollars, by MLflow's prices. Empty: it does not know the model."""
    with suppress(Exception):  # whatever MLflow breaks on: then there is no cost
        return calculate_cost_by_model_and_token_usage(model, usage, provider) or {}
    return {}


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


def with_total(stored: Mapping[str, Any], found: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """What MLflow's translation knows of a token usage, and what rules have found → the usage, with a total. Empty: nothing is
    known.

    What is no count is left out: -3 tokens would spoil the sums of a trace. `keys`: all keys that a usage may have.
    """
    there = {key: figure for key, figure in stored.items() if count(figure) is not None}
    usage = {key: figure for key in keys if (figure := there.get(key, found.get(key))) is not None}
    if usage:
        known = sum(usage.get(key, 0) for key in _SUMMED) or sum(usage.get(key, 0) for key in _PARTS)
        usage["total_tokens"] = max(found.get("total_tokens") or usage.get("total_tokens") or 0, known)
    return there | usage


def as_json(figures: dict[str, Any]) -> str:
    """The JSON of figures. That of whole numbers and finite floats is their `repr`."""
    if not all(type(figure) is int or (type(figure) is float and math.isfinite(figure)) for figure in figures.values()):
        return JsonText.of(dumps(figures), figures)
    return JsonText.of("{" + ", ".join([f'"{key}": {figure!r}' for key, figure in figures.items()]) + "}", figures)
