"""MLflow 3.14 to 3.16: name, session, tokens and costs of a trace are tags, metadata and rows of `trace_metrics`; a span's
model stands in `dimension_attributes`, its costs in `span_metrics`.

Source: mlflow/store/tracking/sqlalchemy_store.py, `log_spans` (3.16).
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from headrace.mlflow.keys import FINALIZED, MODEL, PROVIDER, TRACE_COST, TRACE_NAME, TRACE_SESSION, TRACE_TOKENS, USER
from headrace.mlflow.model import COST_COLUMNS, SPAN_TYPES, TOKEN_COLUMNS, SpanRow, Trace, TraceRow
from headrace.mlflow.text import to_object
from headrace.mlflow.write.layout import set_metadata
from headrace.mlflow.write.statements import STATEMENTS, Rows, load_statements, run_for

_TOKENS = TOKEN_COLUMNS[:5]
"""Those that MLflow counts before 3.17."""
_IN_COLUMNS = (*COST_COLUMNS, "model_name", "model_provider")


class TotalsInRows:
    """A `Layout`."""

    statements = STATEMENTS | load_statements("totals_in_rows.sql")
    span_types = {name: SPAN_TYPES[name] for name in SPAN_TYPES if name not in _IN_COLUMNS} | {"dimension_attributes": "text"}
    metadata: tuple[str, ...] = (FINALIZED, USER, TRACE_SESSION, TRACE_TOKENS, TRACE_COST)
    follows_traces = False

    def span(self, row: SpanRow) -> tuple[Any, ...]:
        """See `Layout`."""
        return (*row[: -len(_IN_COLUMNS)], _dimensions(row))

    def complete(self, row: TraceRow, tags: dict[str, str], metadata: Mapping[str, str]) -> TraceRow:
        """See `Layout`."""
        tokens, costs = (to_object(metadata.get(key)) or {} for key in (TRACE_TOKENS, TRACE_COST))
        return row._replace(
            trace_name=tags.pop(TRACE_NAME, None),
            session_id=metadata.get(TRACE_SESSION),
            tokens=[_integer(tokens.get(name)) for name in TOKEN_COLUMNS],
            costs=[_number(costs.get(name)) for name in COST_COLUMNS],
        )

    def write_beside(self, cursor: Rows, traces: Sequence[Trace]) -> None:
        """Tags, metadata and metrics, where they are not there already."""
        names = [
            (trace.trace_id, TRACE_NAME, trace.trace_name)
            for trace in traces
            if trace.trace_name is not None and trace.trace_name != (trace.stored and trace.stored.row.trace_name)
        ]
        run_for(cursor, STATEMENTS["upsert_tags"], ("request_id", "key", "value"), names)
        set_metadata(cursor, [row for trace in traces for row in sorted(_metadata(trace))])
        self._write_metrics(cursor, traces)

    def _write_metrics(self, cursor: Rows, traces: Sequence[Trace]) -> None:
        tokens = [
            (trace.trace_id, name, float(value))
            for trace in traces
            if not trace.stored or trace.tokens != trace.stored.row.tokens
            for name, value in sorted(_told(_TOKENS, trace.tokens))
        ]
        run_for(cursor, self.statements["set_trace_metrics"], ("request_id", "key", "value"), tokens)
        costs = [
            (span.trace_id, span.span_id, name, value)
            for trace in traces
            for span in sorted(trace.spans.values(), key=lambda span: span.span_id)
            for name, value in _told(COST_COLUMNS, (span.input_cost, span.output_cost, span.total_cost))
        ]
        run_for(cursor, self.statements["set_span_metrics"], ("trace_id", "span_id", "key", "value"), costs)


def _dimensions(row: SpanRow) -> str:
    """As MLflow's column, which holds JSON's null where there are none."""
    found = {key: value for key, value in ((MODEL, row.model_name), (PROVIDER, row.model_provider)) if value is not None}
    return json.dumps(found) if found else "null"


def _metadata(trace: Trace) -> Iterator[tuple[str, str, str]]:
    """What the trace says and Postgres does not hold yet."""
    before = trace.stored.row if trace.stored else None
    if trace.user_id and not (trace.stored and trace.stored.user_id == trace.user_id):
        yield trace.trace_id, USER, trace.user_id
    if trace.session_id and trace.session_id != (before and before.session_id):
        yield trace.trace_id, TRACE_SESSION, trace.session_id
    tokens, costs = dict(_told(_TOKENS, trace.tokens)), dict(_told(COST_COLUMNS, trace.costs))
    if tokens and (not before or trace.tokens != before.tokens):
        yield trace.trace_id, TRACE_TOKENS, json.dumps(tokens)
    if costs and (not before or trace.costs != before.costs):
        yield trace.trace_id, TRACE_COST, json.dumps(costs)


def _told(names: Sequence[str], values: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in zip(names, values, strict=False) if value is not None)


def _integer(value: Any) -> int | None:
    """A stored count; a client may have put anything there."""
    number = _number(value)
    return None if number is None else value if isinstance(value, int) else int(number)


def _number(value: Any) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if usable else None
