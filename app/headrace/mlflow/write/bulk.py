"""The bulk writer: any number of requests → one Postgres transaction of a handful of statements (sql/writer.sql).

    requests ─ translate ─► parts ─► lock the traces that exist, fold the parts into them ─► write each table once

Rows are ordered by key, traces are locked before what hangs on them; the spans of a trace that this transaction creates are
copied, as nobody else can have them, and those of one that exists are upserted.
"""

import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from mlflow.store.tracking.utils.sql_trace_rollups import (
    RollupFamily,
    enqueue_rollup_rebuild_partitions,
    rollups_enabled,
)
from sqlalchemy.orm import Session

from headrace.envelope import Delivery
from headrace.errors import PermanentExportError, RejectedSpans
from headrace.mlflow.fold.fold import TRACKING_STORE, apply, create, decide, is_reopened
from headrace.mlflow.model import COST_COLUMNS, TOKEN_COLUMNS, SpanRow, Trace, TracePart
from headrace.mlflow.text import Repairs
from headrace.mlflow.translate.spans import to_parts
from headrace.mlflow.translate.tags import ARTIFACT_LOCATION, FINISHED, MAX_TAGS, SPANS_LOCATION, bounded
from headrace.mlflow.write import Translated
from headrace.mlflow.write.stored import STATEMENTS, Rows, read_others, read_traces, transaction
from headrace.store.database import Database
from headrace.telemetry.metrics import RUN_LINKS_FAILED

_MAX_RUN_ID = 36
_RACES = 10
_MAX_ORIGINS = 100_000

_SPAN_TYPES = ["text", "int4", *["text"] * 5, "int8", "int8", "text", *["float8"] * 3, "text", "text"]


class _Race(Exception):
    """Another writer created one of our traces between our look and our insert."""


class _TakenBack(Exception):
    """All went well in a rehearsal."""


@dataclass(slots=True)
class _Written:
    """What is to be counted once the transaction is committed."""

    repairs: Repairs = field(default_factory=Counter)
    links_failed: int = 0


class BulkWriter:
    """A `Writer` for the schema revisions of `schema.REVISIONS`."""

    def __init__(
        self, database: Database, enrich: bool = False, note_unfinished: bool = False, max_tags: int = MAX_TAGS
    ) -> None:
        self._database = database
        self._enrich = enrich
        self._note_unfinished = enrich and note_unfinished
        self._max_tags = max_tags
        self._artifact_roots: dict[int, str] = {}
        self._origins_stored: set[str] = set()

    def translate(self, deliveries: Sequence[Delivery]) -> Translated[Sequence[TracePart]]:
        """See `Writer.translate`."""
        repaired: Repairs = Counter()
        parts = [part for delivery in deliveries for part in to_parts(delivery, repaired, self._enrich, self._max_tags)]
        return Translated(deliveries, parts, repaired)

    def write(self, translated: Translated[Sequence[TracePart]]) -> Repairs:
        """See `Writer.write`. One transaction."""
        for _ in range(_RACES):
            try:
                written = self._write_parts(translated.rows)
                RUN_LINKS_FAILED.inc(written.links_failed)
                return translated.repairs + written.repairs
            except _Race:
                continue
            except PermanentExportError:
                self._artifact_roots.clear()  # one of the experiments may be gone: the next look tells which
                raise
        raise PermanentExportError("Its traces are created again and again by somebody else.")

    def rehearse(self, delivery: Delivery, seconds: float) -> None:
        """See `Writer.rehearse`."""
        until = time.monotonic() + seconds
        with suppress(_TakenBack):
            self._write_parts(self.translate([delivery]).rows, until)

    def _write_parts(self, parts: Sequence[TracePart], rehearsed_until: float | None = None) -> _Written:
        written = _Written()
        with transaction(self._database) as (connection, cursor):
            if rollups_enabled():  # before any lock on a trace: MLflow's order
                partitions = _rollup_partitions(cursor, parts, self._enrich)
                enqueue_rollup_rebuild_partitions(Session(bind=connection), partitions)
            traces = self._fold(cursor, parts, written.repairs)
            new = [trace for trace in traces if trace.created]
            old = [trace for trace in traces if not trace.created]
            self._add_artifact_locations(cursor, [trace for trace in traces if trace.created or trace.moved])
            _write_traces(cursor, new, old)
            _write_spans(cursor, new, old)
            _write_tags(cursor, new, old)
            _write_users(cursor, traces)
            written.links_failed = _link_runs(cursor, traces)
            _move(cursor, old)
            origins = {digest: data for part in parts for digest, data in part.origins.items()}
            self._add_origins(cursor, origins)
            if self._enrich:
                _keep_claims(cursor, traces)
                _keep_unfinished(cursor, traces, self._note_unfinished)
            if rehearsed_until is not None:
                cursor.execute("SELECT pg_sleep(%s)", [max(0.0, rehearsed_until - time.monotonic())])
                raise _TakenBack
        self._origins_stored |= origins.keys()
        return written

    def _add_origins(self, cursor: Rows, origins: dict[str, bytes]) -> None:
        """Resources and scopes that this writer has not stored yet; the same few come with every request."""
        if len(self._origins_stored) > _MAX_ORIGINS:
            self._origins_stored.clear()
        if new := sorted(origins.keys() - self._origins_stored):
            cursor.execute(STATEMENTS["add_origins"], {"digest": new, "origin": [origins[digest] for digest in new]})

    def _fold(self, cursor: Rows, parts: Sequence[TracePart], repaired: Repairs) -> list[Trace]:
        """Existing traces and parts → the traces as they shall be, ordered by id."""
        traces = read_traces(cursor, parts, self._enrich)
        _check_locations(traces, parts)
        for part in parts:
            if trace := traces.get(part.trace_id):
                apply(trace, part, self._enrich)
            else:
                traces[part.trace_id] = create(part, self._enrich)
        folded = [traces[trace_id] for trace_id in sorted(traces)]
        if self._enrich:
            read_others(cursor, {trace.trace_id: trace for trace in folded if is_reopened(trace)})
            for trace in folded:
                decide(trace)
        for trace in folded:
            _bound_tags(trace, repaired)
        return folded

    def _add_artifact_locations(self, cursor: Rows, traces: Sequence[Trace]) -> None:
        """The tag that MLflow gives each new trace: `<experiment's artifact location>/traces/<id>/artifacts`."""
        if unknown := sorted({trace.experiment_id for trace in traces} - set(self._artifact_roots)):
            cursor.execute(STATEMENTS["read_artifact_roots"], {"ids": unknown})
            self._artifact_roots |= {id_: location or "" for id_, location in cursor}
        _refuse(
            [
                _rejected(trace, f"MLflow has no experiment with id {trace.experiment_id}.")
                for trace in traces
                if trace.experiment_id not in self._artifact_roots
            ]
        )
        for trace in traces:
            root, mark, query = self._artifact_roots[trace.experiment_id].partition("?")
            location = f"{root.rstrip('/')}/traces/{trace.trace_id}/artifacts{mark}{query}"
            trace.tags.setdefault(ARTIFACT_LOCATION, location)


def _bound_tags(trace: Trace, repaired: Repairs) -> None:
    """However many requests bring tags, the trace has no more than it may."""
    if len(trace.tags) + len(trace.stored_tags) > trace.max_tags:
        root = trace.root
        tags = bounded(trace.tags, trace.stored_tags, root.tags if root else (), trace.max_tags)
        if len(tags) < len(trace.tags):
            repaired["tags_over_limit"] += len(trace.spans)
            trace.tags = tags


def _rollup_partitions(cursor: Rows, parts: Sequence[TracePart], enrich: bool) -> list[tuple[Any, int, list[int]]]:
    """The days whose rollups these parts make stale, as `enqueue_span_write_rollup_partitions` of MLflow's `log_spans`.

    With enrichment a trace may end in any of its parts' experiments: the days are stale in all of them.
    """
    ids = sorted({part.trace_id for part in parts})
    cursor.execute(STATEMENTS["read_rollup_snapshots"], {"ids": ids})
    stored = {id_: (timestamp, finalized, {experiment}) for id_, experiment, timestamp, finalized in cursor}
    known = {id_: experiments for id_, (_, _, experiments) in stored.items()}
    for part in parts:
        if enrich or part.trace_id not in known:
            known.setdefault(part.trace_id, set()).add(part.experiment_id)
    keys = {(part.trace_id, span_id) for part in parts for span_id in part.spans}
    span_ids, may_move = {span_id for _, span_id in keys}, {id_ for id_ in stored if len(known[id_]) > 1}
    wanted = {"ids": ids, "span_ids": sorted(span_ids), "may_move": sorted(may_move)}
    cursor.execute(STATEMENTS["read_span_starts"], wanted)
    partitions = [
        (RollupFamily.SPAN_COST, experiment, [start // 1_000_000])
        for trace_id, span_id, begun_in, start in cursor
        for experiment in ({begun_in, *known[trace_id]} if trace_id in may_move else {begun_in})
        if trace_id in may_move or (trace_id, span_id) in keys
    ]
    for part in parts:
        timestamp, finalized, _ = stored.get(part.trace_id, (part.start_ms, False, None))
        times = [timestamp] if finalized else [timestamp, part.start_ms]
        starts = sorted({row.start_time_unix_nano // 1_000_000 for row in part.spans.values()})
        for experiment in sorted(known[part.trace_id]):
            partitions += [(family, experiment, times) for family in (RollupFamily.TRACE_METRIC, RollupFamily.ASSESSMENT)]
            partitions.append((RollupFamily.SPAN_COST, experiment, starts))
    return partitions


def _check_locations(traces: Mapping[str, Trace], parts: Sequence[TracePart]) -> None:
    """Traces whose spans MLflow has moved to an archive take no more of them."""
    places = {id_: trace.stored_tags.get(SPANS_LOCATION, TRACKING_STORE) for id_, trace in traces.items()}
    moved = {
        id_: f"The spans of trace {id_} are not in the tracking store any more ({place})."
        for id_, place in places.items()
        if place != TRACKING_STORE
    }
    _refuse([_rejected(part, moved[part.trace_id]) for part in parts if part.trace_id in moved])


def _rejected(spans_of: Trace | TracePart, reason: str) -> RejectedSpans:
    return RejectedSpans(bytes.fromhex(spans_of.trace_id.removeprefix("tr-")), str(spans_of.experiment_id), reason)


def _refuse(rejected: Sequence[RejectedSpans]) -> None:
    if rejected:
        raise PermanentExportError(rejected[0].reason, rejected)


def _move(cursor: Rows, old: list[Trace]) -> None:
    """What hangs on traces that stand in another experiment now, but for the spans of this batch and the tags."""
    if moved := [trace for trace in old if trace.moved]:
        ids, experiments = [trace.trace_id for trace in moved], [trace.experiment_id for trace in moved]
        for statement in ("move_spans", "move_assessments_to"):
            cursor.execute(STATEMENTS[statement], {"request_id": ids, "experiment_id": experiments})


def _keep_claims(cursor: Rows, traces: list[Trace]) -> None:
    """Remembers by which claims traces stand where they do, so that a better one moves them."""
    if told := [trace.trace_id for trace in traces if trace.stored_claim and trace.claim_to_keep is None]:
        cursor.execute(STATEMENTS["remove_claims"], {"ids": told})
    found = [(trace.trace_id, claim) for trace in traces if (claim := trace.claim_to_keep) not in (None, trace.stored_claim)]
    if found:
        columns = {
            "trace_id": [trace_id for trace_id, _ in found],
            "rank": [claim.rank for _, claim in found],
            "start": [claim.start for _, claim in found],
            "span_id": [claim.span_id for _, claim in found],
        }
        cursor.execute(STATEMENTS["keep_claims"], columns)
        cursor.execute(STATEMENTS["forget_old_claims"], {"limit": 2 * len(found)})


def _keep_unfinished(cursor: Rows, traces: list[Trace], note: bool) -> None:
    """Notes the traces whose root has not come, for `finish.py`, and takes back what that did where it has."""
    if note and (waiting := [trace.trace_id for trace in traces if not trace.root and not trace.finalized]):
        cursor.execute(STATEMENTS["note_unfinished"], {"ids": waiting})
    if come := [trace.trace_id for trace in traces if trace.root and trace.noted_unfinished]:
        cursor.execute(STATEMENTS["forget_unfinished"], {"ids": come})
    if late := [trace.trace_id for trace in traces if trace.root and FINISHED in trace.stored_tags]:
        cursor.execute(STATEMENTS["remove_tag"], {"ids": late, "key": FINISHED})


def _write_traces(cursor: Rows, new: list[Trace], old: list[Trace]) -> None:
    if new:
        cursor.execute(STATEMENTS["create_traces"], _columns(new))
        if cursor.rowcount != len(new):
            raise _Race
    if old:
        cursor.execute(STATEMENTS["update_traces"], _columns(old))
    if moved := [trace for trace in old if trace.moved_to_ms is not None]:
        cursor.execute(
            STATEMENTS["move_assessments"],
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
        with cursor.copy(STATEMENTS["copy_spans"]) as copy:
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
        cursor.execute(STATEMENTS["upsert_spans"], columns | {"experiment_id": [experiment for experiment, _ in rows]})


def _write_tags(cursor: Rows, new: list[Trace], old: list[Trace]) -> None:
    if new:
        with cursor.copy(STATEMENTS["copy_tags"]) as copy:
            copy.set_types(["text", "text", "text"])
            for trace in new:
                for key, value in trace.tags.items():
                    copy.write_row((trace.trace_id, key, value))
    rows = [(trace.trace_id, key, value) for trace in old for key, value in sorted(trace.tags.items())]
    if rows:
        ids, keys, values = (list(column) for column in zip(*rows, strict=True))
        cursor.execute(STATEMENTS["upsert_tags"], {"request_id": ids, "key": keys, "value": values})


def _write_users(cursor: Rows, traces: list[Trace]) -> None:
    if users := [(trace.trace_id, trace.user_id) for trace in traces if trace.user_id and trace.user_id != trace.user_stored]:
        ids, names = (list(column) for column in zip(*users, strict=True))
        cursor.execute(STATEMENTS["set_users"], {"request_id": ids, "value": names})


def _link_runs(cursor: Rows, traces: list[Trace]) -> int:
    """As MLflow's `link_traces_to_run`, for any number of traces. Returns how many have a run id that no column can hold."""
    links = [(trace.trace_id, run_id) for trace in traces for run_id in sorted(trace.run_ids)]
    good = [(trace_id, run_id) for trace_id, run_id in links if len(run_id) <= _MAX_RUN_ID and "\0" not in run_id]
    if good:
        ids, runs = (list(column) for column in zip(*good, strict=True))
        associations = [uuid.uuid4().hex for _ in good]
        now_ms = time.time_ns() // 1_000_000
        cursor.execute(
            STATEMENTS["link_runs"], {"association_id": associations, "trace_id": ids, "run_id": runs, "now_ms": now_ms}
        )
    return len(links) - len(good)
