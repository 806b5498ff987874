"""What MLflow has changed, release by release, as far as the rows show it. Each line was found in MLflow's code."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from parity.values import COST, COSTS, ESCAPES, MODEL, TOKENS, USAGE, Value

_CLAUDE_CODE = {f"{prefix}{name}" for prefix in ("", "claude_code.") for name in ("interaction", "llm_request", "tool")}
_CACHED = {"cache_read_input_tokens", "cache_creation_input_tokens"}


@dataclass(frozen=True, slots=True)
class Change:
    """One change. A difference that it explains is none of Headrace's making."""

    since: str
    """The minor release that has it first. Empty: each release differs from the next."""
    words: str
    explains: Callable[[Value], bool]


@dataclass(frozen=True, slots=True)
class Refused:
    """Requests that a release's own server refuses, and that Headrace writes. Nothing of their scenarios is compared."""

    since: str
    words: str
    scenarios: frozenset[str]


def _is_claude_code(value: Value) -> bool:
    return value.attribute and isinstance(kind := value.span.get("span.type"), str) and kind in _CLAUDE_CODE


def _only_adds(value: Value, prefix: str) -> bool:
    """Whether the newer usage has cached tokens beside what the older has, and the span names them by keys of this prefix."""
    if value.name != USAGE or not isinstance(value.left, dict) or not isinstance(value.right, dict):
        return False
    differs = {key for key in {*value.left, *value.right} if value.left.get(key) != value.right.get(key)}
    return differs <= _CACHED and any(key.startswith(prefix) for key in value.span)


def _is_total(value: Value) -> bool:
    return not value.attribute and (value.name in (TOKENS, COSTS) or value.name.endswith("_tokens"))


def _no_count(value: Any) -> bool:
    """Whether a column of Postgres' type bigint cannot hold it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    return not math.isfinite(value) or value != int(value) or not -(2**63) <= int(value) < 2**63


def _no_cost(value: Any) -> bool:
    if value == 1.0:
        return True  # `true`, as a column of numbers holds it
    return isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value)


def _left_out(value: Value, total: str, suffix: str, unusable: Callable[[Any], bool]) -> bool:
    """Whether all that the newer release says less of is unusable."""
    if value.attribute:
        return False
    if value.name.endswith(suffix) and value.right is None:
        return unusable(value.left)
    if value.name != total or not isinstance(value.left, dict):
        return False
    right = value.right or {}
    return all(key not in right and unusable(value.left[key]) for key in value.left if value.left[key] != right.get(key))


def _model_cut(value: Value) -> bool:
    """Of `dimension_attributes`."""
    if value.name != "dimension_attributes":
        return False
    return bool({key: text[:500] for key, text in (value.left or {}).items()} == value.right)


def _no_preview(value: Value) -> bool:
    """What 3.17 made of one: the text of an array of Postgres, or of JSON."""
    return value.name in ("request_preview", "response_preview") and value.left is None and str(value.right).startswith("{")


CHANGES = (
    Change(
        "3.15",
        "The totals of a trace count once what a span and its parents both say, and what comes again. Before, everything that "
        "came was added up.",
        _is_total,
    ),
    Change(
        "3.16",
        "OpenInference's tokens from and for the cache are counted (`llm.token_count.prompt_details.cache_…`).",
        lambda value: _only_adds(value, "llm.token_count.prompt_details.cache_"),
    ),
    Change("3.17", "Text in `spans.content` is stored as it is, and not as `\\uXXXX`.", lambda value: value.name == ESCAPES),
    Change("3.17", "Spans of Claude Code have types, inputs, outputs and tokens.", _is_claude_code),
    Change(
        "3.17",
        "GenAI's `gen_ai.usage.cache_write.input_tokens` are counted.",
        lambda value: _only_adds(value, "gen_ai.usage.cache_write."),
    ),
    Change(
        "3.17",
        "OpenInference's `llm.request.model_name` and `llm.response.model_name` are read.",
        lambda value: value.name == MODEL and bool({"llm.request.model_name", "llm.response.model_name"} & value.span.keys()),
    ),
    Change(
        "3.17",
        "A session that a span names is written also to a trace that MLflow's client has finished, if that has none.",
        lambda value: value.name == "mlflow.trace.session" and value.left is None,
    ),
    Change(
        "3.17",
        "A count of tokens that is no 64-bit integer is left out of the trace's totals.",
        lambda value: _left_out(value, TOKENS, "_tokens", _no_count),
    ),
    Change(
        "3.17",
        "A cost that is no finite number is left out.",
        lambda value: _left_out(value, COSTS, "_cost", _no_cost),
    ),
    Change("3.17", "Model and provider are cut at 500 characters.", _model_cut),
    Change(
        "3.18",
        "A span's kind stands in its content.",
        lambda value: not value.attribute and value.name == "kind" and str(value.left).startswith("SPAN_KIND_"),
    ),
    Change(
        "3.18",
        "Spans of agents have no cost: their tokens are sums of other spans'.",
        lambda value: value.name == COST and value.left is None and value.span.get("mlflow.spanType") == "AGENT",
    ),
    Change(
        "3.18",
        "A span's type that came as JSON stands without its quotation marks in the column `type`.",
        lambda value: not value.attribute and value.name == "type" and value.right == json.dumps(value.left),
    ),
    Change(
        "3.18",
        "`mlflow.traceTag.` with the name of a tag that MLflow keeps for itself is taken out of a span.",
        lambda value: value.attribute and value.name.startswith("mlflow.traceTag.mlflow.") and value.left is None,
    ),
    Change(
        "3.18",
        "Inputs or outputs of a root that an event holds as a list or an object make no preview.",
        _no_preview,
    ),
    Change(
        "",
        "Each release has its own list of models and their prices.",
        lambda value: value.name == COST and value.left is not None and value.right is not None,
    ),
)

REFUSED = (
    Refused(
        "3.18",
        "Spans of a trace that stands in another experiment are refused. Headrace writes them where the trace stands.",
        frozenset({"one trace, two experiments", "the same trace, linked again"}),
    ),
)
