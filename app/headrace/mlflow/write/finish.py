"""Traces whose root span never comes: after a quiet time they are finished with what is known of them.

MLflow would show them in progress for ever. A root that comes later decides all the same (`fold/root_decides.py`), and the
mark, the tag `headrace.finished`, is taken off. Only traces that the bulk writer has noted in `headrace.unfinished_trace` are
touched, and none that MLflow's own client has reported.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from mlflow.store.tracking.utils.sql_trace_rollups import RollupFamily, enqueue_rollup_rebuild_partitions, rollups_enabled
from psycopg.sql import SQL
from sqlalchemy.orm import Session

from headrace.mlflow.fold.root_decides import take_root
from headrace.mlflow.model import Trace
from headrace.mlflow.reserved import FINISHED
from headrace.mlflow.shape.needs import Shape
from headrace.mlflow.translate.readback import to_span
from headrace.mlflow.translate.values import to_root
from headrace.mlflow.write.layouts import layout_of
from headrace.mlflow.write.statements import STATEMENTS, Rows, load_statements, run_for, transaction
from headrace.store.database import Database
from headrace.telemetry.metrics import TRACES_FINISHED

_STATEMENTS = load_statements("finish.sql")
_LIMIT = 200
"""Traces a transaction."""


def finish_quiet(database: Database, quiet_seconds: float, shape: Shape | None = None) -> bool:
    """Finishes traces of which nothing was written for so long, `_LIMIT` at most in one transaction. True: there may be more.
    `shape`: that of the tables; None: the newest.

    Raises:
        DatabaseUnavailable, PermanentExportError.
    """
    with transaction(database) as (connection, cursor):
        cursor.execute(_STATEMENTS["find_quiet"], {"quiet": quiet_seconds, "limit": _LIMIT})
        found = cursor.fetchall()
        if not found:
            return False
        layout = layout_of(shape)
        if layout.follows_traces and rollups_enabled():  # before any lock on a trace: MLflow's order
            days = [(RollupFamily.TRACE_METRIC, experiment, [start]) for _, experiment, start in found if start is not None]
            enqueue_rollup_rebuild_partitions(Session(bind=connection), days)
        finished = _finish(cursor, _STATEMENTS | layout.statements, sorted(trace_id for trace_id, *_ in found), quiet_seconds)
    TRACES_FINISHED.inc(finished)
    return len(found) == _LIMIT


def _finish(cursor: Rows, statements: Mapping[str, SQL], ids: list[str], quiet_seconds: float) -> int:
    given: dict[str, Any] = {"ids": ids, "quiet": quiet_seconds, "tag": FINISHED}
    cursor.execute(_STATEMENTS["lock_traces"], given)
    cursor.execute(_STATEMENTS["read_unfinished"], given)
    cursor.execute(_STATEMENTS["read_top_spans"], {"ids": sorted(trace_id for (trace_id,) in cursor)})
    traces = _as_if_they_were_roots(cursor)
    if traces:
        columns = {
            "id": [trace.trace_id for trace in traces],
            "status": [trace.status for trace in traces],
            "name": [trace.trace_name for trace in traces],
            "request": [trace.request_preview for trace in traces],
            "response": [trace.response_preview for trace in traces],
        }
        cursor.execute(statements["finish_traces"], columns)
        if "name_traces" in statements:
            cursor.execute(statements["name_traces"], columns)
        marks = [(trace.trace_id, FINISHED, f"no root span within {quiet_seconds:g} s") for trace in traces]
        run_for(cursor, STATEMENTS["upsert_tags"], ("request_id", "key", "value"), marks)
    cursor.execute(_STATEMENTS["forget"], given)
    return len(traces)


def _as_if_they_were_roots(top_spans: Iterable[tuple[str, str, str]]) -> list[Trace]:
    """What traces would be if the earliest of these spans were their roots; one that failed makes its trace a failed one."""
    traces: dict[str, Trace] = {}
    for trace_id, status, text in top_spans:
        trace = traces.get(trace_id)
        if trace is None:
            content = json.loads(text)
            trace = traces[trace_id] = Trace(
                trace_id, experiment_id=0, timestamp_ms=0, execution_time_ms=None, status="IN_PROGRESS", state=None
            )
            take_root(trace, to_root(to_span(content), content.get("attributes") or {}, None, False))
        if status == "ERROR":
            trace.status = "ERROR"
    return list(traces.values())
