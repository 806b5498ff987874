"""A span with tokens that states no model: the model of the nearest span above it that states one is its own. No I/O.

Some frameworks name the model on an agent or on the wrapper of a call, and count the tokens on a span below it. Without a model
MLflow shows tokens and no cost.
"""

import json
from collections.abc import Mapping
from typing import Any

from mlflow.store.tracking.utils.trace_analytics import bounded_model_dimension, finite_float_or_none

from headrace.mlflow.json_text import dumps, quote
from headrace.mlflow.keys import COST, MODEL, PROVIDER, TOKEN_USAGE
from headrace.mlflow.model import Named, SpanRow
from headrace.mlflow.text import UNCOUNTED, Repairs, storable, to_object, unquoted
from headrace.mlflow.translate.dialects.figures import CALLS, PRICED, as_json, computed_cost


def borrows_model(span_type: str | None, attributes: Mapping[str, Any]) -> bool:
    """Whether it is a call of a model, by its type, with tokens and without a model. `attributes`: as MLflow stores them."""
    if TOKEN_USAGE not in attributes or MODEL in attributes or (span_type not in CALLS and span_type not in (None, "UNKNOWN")):
        return False
    usage = to_object(attributes[TOKEN_USAGE]) or {}
    return any(usage.get(key) for key in PRICED)


def stated_model(attributes: Mapping[str, Any]) -> Named | None:
    """The model that a span states, and its provider."""
    if MODEL not in attributes:
        return None
    model, provider = (unquoted(attributes.get(key, "")) for key in (MODEL, PROVIDER))
    return (model, provider) if model and model != "null" else None


def with_model(row: SpanRow, model: Named) -> SpanRow:
    """The row of a span that borrows this model, with what its tokens cost. A provider or a cost that it states stays."""
    content = json.loads(row.content)
    attributes, note = content["attributes"], content["otlp"]
    name, provider = model[0], unquoted(attributes[PROVIDER]) if PROVIDER in attributes else model[1]
    more = {MODEL: quote(name), PROVIDER: quote(provider)}
    if cost := computed_cost(name, to_object(attributes[TOKEN_USAGE]), provider or None):
        more[COST] = as_json(cost)
    more = {key: str(text) for key, text in more.items() if key not in attributes and text != '""'}
    attributes |= more
    if "span" not in note:
        note["added"] = [*note.get("added", ()), *more]
    costs = to_object(attributes.get(COST)) or {}
    return row._replace(
        content=dumps(content),
        input_cost=finite_float_or_none(costs.get("input_cost")),
        output_cost=finite_float_or_none(costs.get("output_cost")),
        total_cost=finite_float_or_none(costs.get("total_cost")),
        model_name=dimension(attributes[MODEL], UNCOUNTED),
        model_provider=dimension(attributes.get(PROVIDER), UNCOUNTED),
    )


def cost_of(row: SpanRow) -> dict[str, float] | None:
    """The cost that a row states."""
    found = {"input_cost": row.input_cost, "output_cost": row.output_cost, "total_cost": row.total_cost}
    return {key: cost for key, cost in found.items() if cost is not None} or None


def dimension(value: Any, repaired: Repairs) -> str | None:
    """A model or a provider, dumped as JSON or not, as its column takes it."""
    text = bounded_model_dimension(None if value is None else unquoted(value))
    return text and storable(text, repaired)
