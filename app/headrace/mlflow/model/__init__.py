"""The rows of MLflow's tables that Headrace writes, as values. No I/O.

Source: mlflow/store/tracking/dbmodels/models.py (3.17): `SqlTraceInfo`, `SqlSpan`, `SqlTraceTag`, `SqlTraceMetadata`.
"""

from headrace.mlflow.model.roots import NAMED, NOBODY, OF_A_ROOT, OF_ANOTHER, NonRootValues, Precedence, Root, earliest
from headrace.mlflow.model.rows import COST_COLUMNS, SPAN_TYPES, TOKEN_COLUMNS, Named, Node, Source, SpanRow, column_text
from headrace.mlflow.model.totals import Totals
from headrace.mlflow.model.trace import State, StoredTrace, Trace, TracePart, TraceRow, Values, Verdict
from headrace.mlflow.model.voices import Spoken, Voice, Voices

__all__ = [
    "COST_COLUMNS",
    "NAMED",
    "NOBODY",
    "OF_ANOTHER",
    "OF_A_ROOT",
    "SPAN_TYPES",
    "TOKEN_COLUMNS",
    "Named",
    "Node",
    "NonRootValues",
    "Precedence",
    "Root",
    "Source",
    "SpanRow",
    "Spoken",
    "State",
    "StoredTrace",
    "Totals",
    "Trace",
    "TracePart",
    "TraceRow",
    "Values",
    "Verdict",
    "Voice",
    "Voices",
    "column_text",
    "earliest",
]
