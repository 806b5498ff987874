"""The bulk writer: any number of requests → one Postgres transaction of a handful of statements (sql/writer.sql).

    requests ─ translate ─► parts ─► lock the traces that exist, fold the parts into them ─► write each table once

Rows are ordered by key, traces are locked before what hangs on them.
"""

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from headrace.envelope import Delivery
from headrace.errors import PermanentExportError
from headrace.mlflow.fold.arrival_order import ArrivalOrder
from headrace.mlflow.fold.policy import FoldPolicy
from headrace.mlflow.fold.root_decides import RootDecides
from headrace.mlflow.logs.record import Bound, BySpan
from headrace.mlflow.model import Trace, TracePart
from headrace.mlflow.shape import Schema
from headrace.mlflow.shape.watch import Watch
from headrace.mlflow.text import UNCOUNTED, Repairs
from headrace.mlflow.translate.dialects.engine import Dialects
from headrace.mlflow.translate.parts import to_parts
from headrace.mlflow.translate.tags import MAX_TAGS
from headrace.mlflow.write import TooMuch, Translated
from headrace.mlflow.write.apply import apply_parts, check_locations, decide
from headrace.mlflow.write.artifacts import ArtifactLocations
from headrace.mlflow.write.borrowers import with_borrowers
from headrace.mlflow.write.cover import service_of
from headrace.mlflow.write.index import Index, Kept, look
from headrace.mlflow.write.joining import Joined, Key, begin, count_joined, join, mark, read_spans
from headrace.mlflow.write.layouts import layout_of
from headrace.mlflow.write.origins import Origins
from headrace.mlflow.write.remembered import keep_precedences, keep_traces, keep_unfinished
from headrace.mlflow.write.rollups import mark_stale
from headrace.mlflow.write.sent_again import read_stored_spans
from headrace.mlflow.write.statements import Rows, transaction
from headrace.mlflow.write.stored import read_traces
from headrace.mlflow.write.tables import Race, link_prompts, link_runs, move, write_spans, write_tags, write_traces
from headrace.store.database import Database
from headrace.telemetry.metrics import RUN_LINKS_FAILED

_RACES = 10


class _TakenBack(Exception):
    """All went well in a rehearsal."""


@dataclass(slots=True)
class _Written:
    """What is to be counted or remembered once the transaction is committed."""

    repairs: Repairs = field(default_factory=Counter)
    links_failed: int = 0
    logs: Joined = field(default_factory=Joined)
    origins: Mapping[str, int] = field(default_factory=dict)
    indexed: Kept | None = None

    def count(self) -> None:
        """Counts all but the repairs, which the caller counts."""
        RUN_LINKS_FAILED.inc(self.links_failed)
        count_joined(self.logs)


class BulkWriter:
    """A `Writer` for the shapes of `shape/known.py`."""

    def __init__(  # noqa: PLR0913, PLR0917 - one for each setting
        self,
        database: Database,
        enrich: bool = False,
        note_unfinished: bool = False,
        max_tags: int = MAX_TAGS,
        schema: Schema | None = None,
        index: bool = True,
        dialects: Dialects | None = None,
        bound: Bound | None = None,
    ) -> None:
        """`schema`: MLflow's tables as they were found to fit. None: those of the newest shape, without a look.

        `index`: whether it keeps the index. `dialects`: see `to_parts`. `bound`: how many log records a span keeps, with
        enrichment.
        """
        self._database = database
        self._watch = Watch(database, schema)
        self._layout = layout_of(schema.shape if schema else None)
        self._policy: FoldPolicy[Any, Any] = RootDecides() if enrich else ArrivalOrder()
        self._note_unfinished = note_unfinished
        self._max_tags = max_tags
        self._dialects = dialects
        self._bound = bound or Bound()
        self._artifacts = ArtifactLocations()
        self._index = Index() if index else None
        self._origins = Origins()

    def translate(self, deliveries: Sequence[Delivery], most: int | None = None) -> Translated[Sequence[TracePart]]:
        """See `Writer.translate`."""
        repaired: Repairs = Counter()
        parts: list[TracePart] = []
        size = 0
        for number, delivery in enumerate(deliveries):
            more = to_parts(delivery, repaired, self._policy, self._max_tags, number, self._dialects)
            parts += more
            size += sum(map(_size, more))
            if most is not None and size > most:
                raise TooMuch
        return Translated(deliveries, parts, repaired)

    def write(self, translated: Translated[Sequence[TracePart]]) -> Repairs:
        """See `Writer.write`. One transaction."""
        for _ in range(_RACES):
            try:
                written = self._write_parts(translated.rows, translated.deliveries)
                written.count()
                return translated.repairs + written.repairs
            except Race:
                continue
            except PermanentExportError:
                self._artifacts.forget()  # one of the experiments may be gone
                raise
        raise PermanentExportError("Its traces are created again and again by somebody else.")

    def look_again(self) -> None:
        """See `Writer.look_again`."""
        self._watch.look_again()

    def rehearse(self, delivery: Delivery, seconds: float) -> None:
        """See `Writer.rehearse`."""
        until = time.monotonic() + seconds
        with suppress(_TakenBack):
            self._write_parts(self.translate([delivery]).rows, [delivery], rehearsed_until=until)

    def write_again(self, keys: Collection[Key]) -> None:
        """Writes these spans once more as they are stored, with the log records that wait for them. Spans that are not there,
        or of which it is not known how they were sent, are left alone.

        Raises:
            As `write`.
        """
        for _ in range(_RACES):
            with transaction(self._database) as (_, cursor):
                stored = read_stored_spans(cursor, keys)
            deliveries = [span.delivery for span in stored]
            rows = self.translate(deliveries).rows
            try:
                if rows:
                    self._write_parts(rows, deliveries, {span.key: span.content for span in stored}).count()
                return
            except Race:
                continue
        raise PermanentExportError("Its spans are changed again and again by somebody else.")

    def _write_parts(
        self,
        parts: Sequence[TracePart],
        deliveries: Sequence[Delivery],
        stored: Mapping[Key, str] | None = None,
        rehearsed_until: float | None = None,
    ) -> _Written:
        """`stored`: the contents of which these parts were made, if they must not have changed since."""
        written = _Written()
        origins = {digest: (data, part.trace_id) for part in parts for digest, data in part.origins.items()}
        with transaction(self._database) as (connection, cursor):
            written.logs.any_came = begin(cursor)
            if self._layout.follows_traces:
                mark_stale(connection, cursor, parts, self._policy.may_move)
            self._write_tables(cursor, self._fold(cursor, parts, deliveries, stored or {}, written), origins, written)
            self._watch.check(connection)
            if rehearsed_until is not None:
                cursor.execute("SELECT pg_sleep(%s)", [max(0.0, rehearsed_until - time.monotonic())])
                raise _TakenBack
        self._origins.remember(written.origins)
        if self._index and written.indexed:
            self._index.remember(written.indexed)
        return written

    def _write_tables(
        self, cursor: Rows, traces: Sequence[Trace], origins: Mapping[str, tuple[bytes, str]], written: _Written
    ) -> None:
        """Writes MLflow's tables and ours. `origins`: of all spans, each with a trace that has it."""
        plan = look(cursor, traces) if self._index else None
        written.links_failed = self._write_traces(cursor, traces)
        written.origins = self._origins.add(cursor, origins)
        keep_traces(cursor, traces)
        keep_precedences(cursor, traces)
        keep_unfinished(cursor, traces, self._note_unfinished)
        mark(cursor, written.logs)
        if self._index and plan:
            services = {digest: service_of(origins[digest][0]) for digest in written.origins}
            written.indexed = self._index.keep(cursor, plan, services)

    def _write_traces(self, cursor: Rows, traces: Sequence[Trace]) -> int:
        """Writes MLflow's tables; returns how many traces could not be linked to their run."""
        new = [trace for trace in traces if trace.stored is None]
        old = [trace for trace in traces if trace.stored is not None]
        self._artifacts.add(cursor, [trace for trace in traces if trace.stored is None or trace.moved])
        write_traces(cursor, self._layout, new, old)
        write_spans(cursor, self._layout, new, old)
        write_tags(cursor, new, old)
        self._layout.write_beside(cursor, traces)
        links_failed = link_runs(cursor, traces)
        link_prompts(cursor, traces)
        move(cursor, self._layout, old)
        return links_failed

    def _fold(
        self,
        cursor: Rows,
        parts: Sequence[TracePart],
        deliveries: Sequence[Delivery],
        stored: Mapping[Key, str],
        written: _Written,
    ) -> list[Trace]:
        """Existing traces and parts → the traces as they shall be, ordered by id."""
        policy, came = self._policy, len(deliveries)
        traces = read_traces(cursor, self._layout, parts, policy)
        check_locations(traces, parts)
        if stored and read_spans(cursor, stored) != stored:
            raise Race
        if policy.enriches and traces:
            parts, deliveries = with_borrowers(cursor, traces, parts, deliveries, self._again)
        if policy.enriches and (traces or written.logs.any_came):
            parts, written.logs = join(cursor, traces, parts, self._bound, partial(self._again, deliveries))
        apply_parts(cursor, traces, parts, policy)
        for part in parts:
            traces[part.trace_id].generation += part.delivery < came  # a span that is read back came with no request
        folded = [traces[trace_id] for trace_id in sorted(traces)]
        decide(cursor, folded, policy, written.repairs)
        return folded

    def _again(self, deliveries: Sequence[Delivery], number: int, records: BySpan) -> Sequence[TracePart]:
        """See `joining.Again`."""
        return to_parts(deliveries[number], UNCOUNTED, self._policy, self._max_tags, number, self._dialects, records)


def _size(part: TracePart) -> int:
    """Bytes of the contents and origins of a part, about: text counts by its characters."""
    return sum(len(row.content) for row in part.spans.values()) + sum(map(len, part.origins.values()))
