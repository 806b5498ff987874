"""What differs between the shapes of MLflow's tables as one writes them: the seam `Layout`, and that of 3.17 and later."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from psycopg.sql import SQL

from headrace.mlflow.keys import FINALIZED, USER
from headrace.mlflow.model import SPAN_TYPES, SpanRow, Trace, TraceRow
from headrace.mlflow.write.statements import STATEMENTS, Rows, run_for


class Layout(Protocol):
    """How one shape holds what traces and spans say. `shape/known.py` declares which tables that needs."""

    statements: dict[str, SQL]
    span_types: dict[str, str]
    """Columns of `spans` that are written, in this order, but for the experiment → their types, for a binary COPY."""
    metadata: tuple[str, ...]
    """Keys of a trace's metadata that `complete`, and the fold, have to know."""
    follows_traces: bool
    """Whether assessments repeat time and experiment of their trace, and daily sums are kept."""

    def span(self, row: SpanRow) -> tuple[Any, ...]:
        """A span's values, as `span_types` names them."""

    def complete(self, row: TraceRow, tags: dict[str, str], metadata: Mapping[str, str]) -> TraceRow:
        """A stored trace with what its row does not hold. Takes off the tags what is no tag of ours."""

    def write_beside(self, cursor: Rows, traces: Sequence[Trace]) -> None:
        """Writes what the rows of traces and spans do not hold. Those rows are there, and locked."""


class TotalsInColumns:
    """Each value has a column of its own: MLflow 3.17 and later."""

    statements = STATEMENTS
    span_types = SPAN_TYPES
    metadata: tuple[str, ...] = (FINALIZED, USER)
    follows_traces = True

    def span(self, row: SpanRow) -> tuple[Any, ...]:
        """See `Layout`."""
        return row

    def complete(self, row: TraceRow, tags: dict[str, str], metadata: Mapping[str, str]) -> TraceRow:  # noqa: ARG002
        """See `Layout`: the row holds all."""
        return row

    def write_beside(self, cursor: Rows, traces: Sequence[Trace]) -> None:
        """The users, which stand among the metadata."""
        users = [
            (trace.trace_id, USER, trace.user_id)
            for trace in traces
            if trace.user_id and not (trace.stored and trace.stored.user_id == trace.user_id)
        ]
        set_metadata(cursor, users)


def set_metadata(cursor: Rows, rows: Sequence[tuple[str, str, str]]) -> None:
    """Upserts metadata: trace, key, value; ordered by trace and key."""
    run_for(cursor, STATEMENTS["set_metadata"], ("request_id", "key", "value"), rows)
