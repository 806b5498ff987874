"""Rows of the table `spans`, and what the totals of a trace need of a span. No I/O."""

import json
from typing import Any, NamedTuple

import psycopg
from psycopg.adapt import PyFormat, Transformer

from headrace.mlflow.model.voices import Voice

TOKEN_COLUMNS = (
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cache_creation_input_tokens_above_1hr",
)
COST_COLUMNS = ("input_cost", "output_cost", "total_cost")


class SpanRow(NamedTuple):
    """A row of `spans`. Postgres generates `duration_ns`; the writer adds `experiment_id`, which the trace decides."""

    trace_id: str
    span_id: str
    parent_span_id: str | None
    name: str
    type: str | None
    status: str
    start_time_unix_nano: int
    end_time_unix_nano: int
    content: str
    input_cost: float | None
    output_cost: float | None
    total_cost: float | None
    model_name: str | None
    model_provider: str | None


SPAN_TYPES = {
    "trace_id": "text",
    "span_id": "text",
    "parent_span_id": "text",
    "name": "text",
    "type": "text",
    "status": "text",
    "start_time_unix_nano": "int8",
    "end_time_unix_nano": "int8",
    "content": "text",
    "input_cost": "float8",
    "output_cost": "float8",
    "total_cost": "float8",
    "model_name": "text",
    "model_provider": "text",
}
"""Postgres' type of each column of `SpanRow`, for a binary COPY."""


Source = tuple[str, int]
"""What the index keeps of a span that its row does not say: the name of its service, empty where it has none, and its kind. No
class: it is made for each span."""


Named = tuple[str, str]
"""A model and its provider, empty where that is not known."""


class Node(NamedTuple):
    """A span as what is told of a whole tree sees it: its place, its own figures, and whether it speaks for its root."""

    span_id: str
    parent_id: str | None
    usage: dict[str, Any] | None
    cost: dict[str, Any] | None
    voice: Voice | None = None
    model: Named | None = None
    """The model that the span itself states."""
    borrows: bool = False
    """It has tokens and states no model: its model and its cost are those of an ancestor's model."""


def column_text(value: Any) -> str:
    """A value that MLflow hands to a text column whatever its type: the driver writes it in Postgres' own notation.

    A list becomes an array literal, `{a,b}`. A dict, on which MLflow fails, becomes its JSON.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"  # as the cast that MLflow's statement makes
    if isinstance(value, dict):
        return json.dumps(value, default=str, ensure_ascii=False)
    try:
        return bytes(Transformer().get_dumper(value, PyFormat.TEXT).dump(value) or b"").decode()
    except psycopg.Error:  # a list of dicts, on which MLflow fails
        return json.dumps(value, default=str, ensure_ascii=False)
