"""The bulk writer: any number of requests → one Postgres transaction of a handful of statements (sql/writer.sql).

    requests ─ translate ─► parts ─► lock the traces that exist, fold the parts into them ─► write each table once

Rows are ordered by key, traces are locked before what hangs on them; the spans of a trace that this transaction creates are
copied, as nobody else can have them, and those of one that exists are upserted.
"""

import json
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from mlflow.store.tracking.utils.sql_trace_rollups import (
    RollupFamily,
    enqueue_rollup_rebuild_partitions,
    rollups_enabled,
)
from psycopg import Cursor
from psycopg.sql import SQL
from sqlalchemy.orm import Session

from app.database import Database
from app.errors import PermanentExportError
from app.exporter import Delivery
from app.exporter.fold import TRACKING_STORE, apply, create, needs_stored_nodes
from app.exporter.rows import COST_COLUMNS, TOKEN_COLUMNS, SpanRow, Trace, TracePart
from app.exporter.tags import SPANS_LOCATION, stored_root
from app.exporter.text import to_object
from app.exporter.translate import to_node, to_parts
from app.telemetry import RUN_LINKS_FAILED, SPANS_REPAIRED

_MAX_RUN_ID = 36
_RACES = 10
_MAX_ORIGINS = 100_000

_SPAN_TYPES = ["text", "int4", *["text"] * 5, "int8", "int8", "text", *["float8"] * 3, "text", "text"]


def _load_statements() -> dict[str, SQL]:
    """`-- name: x` and what follows it, from sql/writer.sql."""
    statements = {}
    for block in files("app.exporter").joinpath("sql/writer.sql").read_text().split("-- name: ")[1:]:
        name, _, text = block.partition("\n")
        lines = [line for line in text.splitlines() if not line.startswith("--")]
        statements[name.strip()] = SQL("\n".join(lines).strip())
    return statements


_SQL = _load_statements()

Rows = Cursor[tuple[Any, ...]]


class _Race(Exception):
    """Another writer created one of our traces between our look and our insert."""


class BulkWriter:
    """A `Writer` for the schema revisions of `schema.REVISIONS`."""

    def __init__(self, database: Database, enrich: bool = False) -> None:
        self._database = database
        self._enrich = enrich
        self._artifact_roots: dict[int, str] = {}
        self._origins_stored: set[str] = set()

    def translate(self, deliveries: Sequence[Delivery]) -> Sequence[TracePart]:
        """See `Writer.translate`."""
        repaired: Counter[str] = Counter()
        parts = [part for delivery in deliveries for part in to_parts(delivery, repaired, self._enrich)]
        for rule, count in repaired.items():
            SPANS_REPAIRED.labels(rule).inc(count)
        return parts

    def write(self, translated: Sequence[TracePart]) -> None:
        """See `Writer.write`. One transaction."""
        for _ in range(_RACES):
            try:
                self._write_parts(translated)
                return
            except _Race:
                continue
            except PermanentExportError:
                self._artifact_roots.clear()  # one of the experiments may be gone: the next look tells which
                raise
        raise PermanentExportError("Its traces are created again and again by somebody else.")

    def _write_parts(self, parts: Sequence[TracePart]) -> None:
        with self._database.begin() as connection:
            driver = connection.connection.driver_connection
            with driver.cursor() as cursor:  # type: ignore[union-attr]
                if rollups_enabled():  # before any lock on a trace: MLflow's order
                    enqueue_rollup_rebuild_partitions(Session(bind=connection), _rollup_partitions(cursor, parts))
                traces = self._fold(cursor, parts)
                new = [trace for trace in traces if trace.created]
                old = [trace for trace in traces if not trace.created]
                self._add_artifact_locations(cursor, [trace for trace in traces if trace.created or trace.moved])
                _write_traces(cursor, new, old)
                _write_spans(cursor, new, old)
                _write_tags(cursor, new, old)
                _write_users(cursor, traces)
                _link_runs(cursor, traces)
                _keep_movable(cursor, traces)
                origins = {digest: data for part in parts for digest, data in part.origins.items()}
                self._add_origins(cursor, origins)
        self._origins_stored |= origins.keys()

    def _add_origins(self, cursor: Rows, origins: dict[str, bytes]) -> None:
        """Resources and scopes that this writer has not stored yet; the same few come with every request."""
        if len(self._origins_stored) > _MAX_ORIGINS:
            self._origins_stored.clear()
        if new := sorted(origins.keys() - self._origins_stored):
            cursor.execute(_SQL["add_origins"], {"digest": new, "origin": [origins[digest] for digest in new]})

    def _fold(self, cursor: Rows, parts: Sequence[TracePart]) -> list[Trace]:
        """Existing traces and parts → the traces as they shall be, ordered by id."""
        traces = _lock_traces(cursor, sorted({part.trace_id for part in parts}))
        _check_locations(traces, parts)
        if self._enrich and traces:
            _read_roots(cursor, traces)
        stored = [(traces[part.trace_id], part) for part in parts if part.trace_id in traces]
        need = {part.trace_id for trace, part in stored if needs_stored_nodes(trace, part, self._enrich)}
        _read_nodes(cursor, sorted(need), traces)
        for part in parts:
            if trace := traces.get(part.trace_id):
                apply(trace, part, self._enrich)
            else:
                traces[part.trace_id] = create(part, self._enrich)
        return [traces[trace_id] for trace_id in sorted(traces)]

    def _add_artifact_locations(self, cursor: Rows, traces: Sequence[Trace]) -> None:
        """The tag that MLflow gives each new trace: `<experiment's artifact location>/traces/<id>/artifacts`."""
        if unknown := sorted({trace.experiment_id for trace in traces} - set(self._artifact_roots)):
            cursor.execute(_SQL["read_artifact_roots"], {"ids": unknown})
            self._artifact_roots |= {id_: location or "" for id_, location in cursor}
        _refuse(
            {
                (trace.trace_id, str(trace.experiment_id)): f"MLflow has no experiment with id {trace.experiment_id}."
                for trace in traces
                if trace.experiment_id not in self._artifact_roots
            }
        )
        for trace in traces:
            root, mark, query = self._artifact_roots[trace.experiment_id].partition("?")
            location = f"{root.rstrip('/')}/traces/{trace.trace_id}/artifacts{mark}{query}"
            if "mlflow.artifactLocation" not in trace.tags:
                trace.tags["mlflow.artifactLocation"] = location


def _rollup_partitions(cursor: Rows, parts: Sequence[TracePart]) -> list[tuple[Any, int, list[int]]]:
    """The days whose rollups these parts make stale, as `enqueue_span_write_rollup_partitions` of MLflow's `log_spans`."""
    ids = sorted({part.trace_id for part in parts})
    cursor.execute(_SQL["read_rollup_snapshots"], {"ids": ids})
    stored = {id_: (experiment, timestamp, finalized) for id_, experiment, timestamp, finalized in cursor}
    keys = {(part.trace_id, span_id) for part in parts for span_id in part.spans}
    cursor.execute(_SQL["read_span_starts"], {"ids": ids, "span_ids": sorted({span_id for _, span_id in keys})})
    partitions = [
        (RollupFamily.SPAN_COST, experiment, [start // 1_000_000])
        for trace_id, span_id, experiment, start in cursor
        if (trace_id, span_id) in keys
    ]
    first: dict[str, int] = {}
    for part in parts:
        unknown = (first.setdefault(part.trace_id, part.experiment_id), part.start_ms, False)
        experiment, timestamp, finalized = stored.get(part.trace_id, unknown)
        times = [timestamp] if finalized else [timestamp, part.start_ms]
        partitions += [(family, experiment, times) for family in (RollupFamily.TRACE_METRIC, RollupFamily.ASSESSMENT)]
        partitions += [
            (RollupFamily.SPAN_COST, experiment, [row.start_time_unix_nano // 1_000_000]) for row in part.spans.values()
        ]
    return partitions


def _lock_traces(cursor: Rows, trace_ids: list[str]) -> dict[str, Trace]:
    cursor.execute(_SQL["lock_traces"], {"ids": trace_ids})
    traces = {}
    for id_, experiment, timestamp, duration, status, request, response, name, session, tokens, costs in cursor:
        traces[id_] = Trace(id_, experiment, timestamp, duration, status, request, response, name, session, tokens, costs)
    if traces:
        cursor.execute(_SQL["read_marks"], {"ids": sorted(traces)})
        for kind, id_, key, value in cursor:
            _mark(traces[id_], kind, key, value)
    return traces


def _mark(trace: Trace, kind: str, key: str, value: str) -> None:
    """One row of `read_marks`."""
    if kind == "tag":
        trace.stored_tags[key] = value
    elif kind == "movable":
        trace.movable = trace.was_movable = True
    elif key == "mlflow.trace.infoFinalized":
        trace.finalized = True
    else:
        trace.user_id = trace.user_stored = value


def _check_locations(traces: Mapping[str, Trace], parts: Sequence[TracePart]) -> None:
    """Traces whose spans MLflow has moved to an archive take no more of them."""
    places = {id_: trace.stored_tags.get(SPANS_LOCATION, TRACKING_STORE) for id_, trace in traces.items()}
    moved = {
        id_: f"The spans of trace {id_} are not in the tracking store any more ({place})."
        for id_, place in places.items()
        if place != TRACKING_STORE
    }
    _refuse({(part.trace_id, str(part.experiment_id)): moved[part.trace_id] for part in parts if part.trace_id in moved})


def _refuse(reasons: Mapping[tuple[str, str], str]) -> None:
    if reasons:
        raise PermanentExportError(next(iter(reasons.values())), reasons)


def _read_roots(cursor: Rows, traces: dict[str, Trace]) -> None:
    """What the root spans that are there already have decided."""
    cursor.execute(_SQL["read_roots"], {"ids": sorted(traces)})
    found = [(trace_id, span_id, start, json.loads(content)) for trace_id, span_id, start, content in cursor]
    digests = {content["otlp"]["origin"] for *_, content in found if "otlp" in content}
    cursor.execute(_SQL["read_origins"], {"digests": sorted(digests)})
    origins = {digest: bytes(data) for digest, data in cursor}
    for trace_id, span_id, start, content in found:
        origin = origins.get(content.get("otlp", {}).get("origin", ""), b"")
        root = stored_root(span_id, start, content.get("attributes") or {}, origin)
        trace = traces[trace_id]
        if trace.root is None or root[:2] < trace.root[:2]:
            trace.root = root


def _keep_movable(cursor: Rows, traces: list[Trace]) -> None:
    """Remembers the traces whose root may yet move them, and forgets those whose root has come."""
    if movable := [trace.trace_id for trace in traces if trace.movable and not trace.was_movable]:
        cursor.execute(_SQL["add_movable"], {"ids": movable})
    if settled := [trace.trace_id for trace in traces if trace.was_movable and not trace.movable]:
        cursor.execute(_SQL["remove_movable"], {"ids": settled})
    if moved := [trace for trace in traces if trace.moved and not trace.created]:
        ids, experiments = [trace.trace_id for trace in moved], [trace.experiment_id for trace in moved]
        for statement in ("move_spans", "move_assessments_to"):
            cursor.execute(_SQL[statement], {"request_id": ids, "experiment_id": experiments})


def _read_nodes(cursor: Rows, trace_ids: list[str], traces: dict[str, Trace]) -> None:
    if not trace_ids:
        return
    cursor.execute(_SQL["read_nodes"], {"ids": trace_ids})
    for trace_id, span_id, parent_id, content in cursor:
        attributes = (to_object(content) or {}).get("attributes") or {} if content else {}
        traces[trace_id].nodes[span_id] = to_node(span_id, parent_id, attributes)


def _write_traces(cursor: Rows, new: list[Trace], old: list[Trace]) -> None:
    if new:
        cursor.execute(_SQL["create_traces"], _columns(new))
        if cursor.rowcount != len(new):
            raise _Race
    if old:
        cursor.execute(_SQL["update_traces"], _columns(old))
    if moved := [trace for trace in old if trace.moved_to_ms is not None]:
        cursor.execute(
            _SQL["move_assessments"],
            {"request_id": [trace.trace_id for trace in moved], "timestamp_ms": [trace.moved_to_ms for trace in moved]},
        )


def _columns(traces: list[Trace]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {
        "request_id": [trace.trace_id for trace in traces],
        "experiment_id": [trace.experiment_id for trace in traces],
        "timestamp_ms": [trace.timestamp_ms for trace in traces],
        "execution_time_ms": [trace.execution_time_ms for trace in traces],
        "status": [trace.status for trace in traces],
        "request_preview": [trace.request_preview for trace in traces],
        "response_preview": [trace.response_preview for trace in traces],
        "trace_name": [trace.trace_name for trace in traces],
        "session_id": [trace.session_id for trace in traces],
        "generation": [trace.generation for trace in traces],
    }
    columns |= {name: [trace.tokens[i] for trace in traces] for i, name in enumerate(TOKEN_COLUMNS)}
    columns |= {name: [trace.costs[i] for trace in traces] for i, name in enumerate(COST_COLUMNS)}
    return columns


def _write_spans(cursor: Rows, new: list[Trace], old: list[Trace]) -> None:
    if new:
        with cursor.copy(_SQL["copy_spans"]) as copy:
            copy.set_types(_SPAN_TYPES)
            for trace in new:
                for row in trace.spans.values():
                    copy.write_row((row.trace_id, trace.experiment_id, *row[1:]))
    rows = [(trace.experiment_id, row) for trace in old for row in sorted(trace.spans.values())]
    if rows:
        columns: dict[str, list[Any]] = {
            name: list(values)
            for name, values in zip(SpanRow._fields, zip(*(row for _, row in rows), strict=True), strict=True)
        }
        cursor.execute(_SQL["upsert_spans"], columns | {"experiment_id": [experiment for experiment, _ in rows]})


def _write_tags(cursor: Rows, new: list[Trace], old: list[Trace]) -> None:
    if new:
        with cursor.copy(_SQL["copy_tags"]) as copy:
            copy.set_types(["text", "text", "text"])
            for trace in new:
                for key, value in trace.tags.items():
                    copy.write_row((trace.trace_id, key, value))
    rows = [(trace.trace_id, key, value) for trace in old for key, value in sorted(trace.tags.items())]
    if rows:
        ids, keys, values = (list(column) for column in zip(*rows, strict=True))
        cursor.execute(_SQL["upsert_tags"], {"request_id": ids, "key": keys, "value": values})


def _write_users(cursor: Rows, traces: list[Trace]) -> None:
    if users := [(trace.trace_id, trace.user_id) for trace in traces if trace.user_id and trace.user_id != trace.user_stored]:
        ids, names = (list(column) for column in zip(*users, strict=True))
        cursor.execute(_SQL["set_users"], {"request_id": ids, "value": names})


def _link_runs(cursor: Rows, traces: list[Trace]) -> None:
    """As MLflow's `link_traces_to_run`, for any number of traces; a run id that no column can hold is counted, not an error."""
    links = [(trace.trace_id, run_id) for trace in traces for run_id in sorted(trace.run_ids)]
    good = [(trace_id, run_id) for trace_id, run_id in links if len(run_id) <= _MAX_RUN_ID and "\0" not in run_id]
    RUN_LINKS_FAILED.inc(len(links) - len(good))
    if good:
        ids, runs = (list(column) for column in zip(*good, strict=True))
        associations = [uuid.uuid4().hex for _ in good]
        now_ms = time.time_ns() // 1_000_000
        cursor.execute(_SQL["link_runs"], {"association_id": associations, "trace_id": ids, "run_id": runs, "now_ms": now_ms})
