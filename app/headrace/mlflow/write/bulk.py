"""The bulk writer: any number of requests → one Postgres transaction of a handful of statements (sql/writer.sql).

    requests ─ translate ─► parts ─► lock the traces that exist, fold the parts into them ─► write each table once

Rows are ordered by key, traces are locked before what hangs on them.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from cachetools import LRUCache

from headrace.envelope import Delivery
from headrace.errors import PermanentExportError, RejectedSpans
from headrace.mlflow.fold.arrival_order import ArrivalOrder
from headrace.mlflow.fold.policy import FoldPolicy
from headrace.mlflow.fold.root_decides import RootDecides
from headrace.mlflow.keys import ARTIFACT_LOCATION, SPANS_LOCATION, TRACKING_STORE, to_otlp_trace_id
from headrace.mlflow.logs.record import Bound, BySpan
from headrace.mlflow.model import Trace, TracePart
from headrace.mlflow.shape import Schema
from headrace.mlflow.shape.watch import Watch
from headrace.mlflow.text import UNCOUNTED, Repairs
from headrace.mlflow.translate.dialects.engine import Dialects
from headrace.mlflow.translate.parts import to_parts
from headrace.mlflow.translate.tags import MAX_TAGS, bounded
from headrace.mlflow.write import TooMuch, Translated
from headrace.mlflow.write.authority import Authority
from headrace.mlflow.write.borrowers import read_borrowers
from headrace.mlflow.write.cover import service_of
from headrace.mlflow.write.figures import read_totals
from headrace.mlflow.write.index import Index, look
from headrace.mlflow.write.joining import Joined, Key, begin, count_joined, join, mark, read_spans
from headrace.mlflow.write.layouts import layout_of
from headrace.mlflow.write.remembered import keep_precedences, keep_traces, keep_unfinished
from headrace.mlflow.write.rollups import mark_stale
from headrace.mlflow.write.sent_again import read_stored_spans
from headrace.mlflow.write.statements import STATEMENTS, Rows, transaction
from headrace.mlflow.write.stored import read_others, read_traces, read_words
from headrace.mlflow.write.tables import Race, link_prompts, link_runs, move, write_spans, write_tags, write_traces
from headrace.store.database import Database
from headrace.telemetry.metrics import RUN_LINKS_FAILED

_RACES = 10
_MAX_ORIGINS = 100_000
"""Digests that a writer remembers, some 10 MB. The one not used for longest goes first, and is stored again."""
_MAX_ORIGIN_BYTES = 8 * 1024 * 1024
"""Bytes of origins that one statement stores. psycopg holds some four copies of what a statement sends."""


class _TakenBack(Exception):
    """All went well in a rehearsal."""


@dataclass(slots=True)
class _Written:
    """What is to be counted once the transaction is committed."""

    repairs: Repairs = field(default_factory=Counter)
    links_failed: int = 0
    logs: Joined = field(default_factory=Joined)

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
        self._artifact_roots: dict[int, str] = {}
        self._index = Index() if index else None
        self._origins_used: MutableMapping[str, int] = LRUCache(_MAX_ORIGINS)

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
                self._artifact_roots.clear()  # one of the experiments may be gone: the next look tells which
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
            traces = self._fold(cursor, parts, deliveries, stored or {}, written)
            plan = look(cursor, traces) if self._index else None
            written.links_failed = self._write_traces(cursor, traces)
            used = self._add_origins(cursor, origins)
            keep_traces(cursor, traces)
            keep_precedences(cursor, traces)
            keep_unfinished(cursor, traces, self._note_unfinished)
            mark(cursor, written.logs)
            if self._index and plan:
                kept = self._index.keep(cursor, plan, {digest: service_of(origins[digest][0]) for digest in used})
            self._watch.check(connection)
            if rehearsed_until is not None:
                cursor.execute("SELECT pg_sleep(%s)", [max(0.0, rehearsed_until - time.monotonic())])
                raise _TakenBack
        self._origins_used.update(used)
        if self._index and plan:
            self._index.remember(kept)
        return written

    def _write_traces(self, cursor: Rows, traces: Sequence[Trace]) -> int:
        """Writes MLflow's tables; returns how many traces could not be linked to their run."""
        new = [trace for trace in traces if trace.stored is None]
        old = [trace for trace in traces if trace.stored is not None]
        self._add_artifact_locations(cursor, [trace for trace in traces if trace.stored is None or trace.moved])
        write_traces(cursor, self._layout, new, old)
        write_spans(cursor, self._layout, new, old)
        write_tags(cursor, new, old)
        self._layout.write_beside(cursor, traces)
        links_failed = link_runs(cursor, traces)
        link_prompts(cursor, traces)
        move(cursor, self._layout, old)
        return links_failed

    def _add_origins(self, cursor: Rows, origins: Mapping[str, tuple[bytes, str]]) -> dict[str, int]:
        """Stores resources and scopes, each with a trace that has them, unless this writer did so today: the same few come
        with every request. Returns those that it stored, with the day, to be remembered after the commit."""
        today = int(time.time() // 86_400)
        new = sorted(digest for digest in origins if self._origins_used.get(digest) != today)
        for digests in _within(_MAX_ORIGIN_BYTES, new, lambda digest: len(origins[digest][0])):
            data, traces = zip(*(origins[digest] for digest in digests), strict=True)
            cursor.execute(STATEMENTS["add_origins"], {"digest": digests, "origin": list(data), "trace_id": list(traces)})
        return dict.fromkeys(new, today)

    def _fold(
        self,
        cursor: Rows,
        parts: Sequence[TracePart],
        deliveries: Sequence[Delivery],
        stored: Mapping[Key, str],
        written: _Written,
    ) -> list[Trace]:
        """Existing traces and parts → the traces as they shall be, ordered by id."""
        policy, repaired = self._policy, written.repairs
        traces = read_traces(cursor, self._layout, parts, policy)
        _check_locations(traces, parts)
        if stored and read_spans(cursor, stored) != stored:
            raise Race
        if policy.enriches and traces and (again := read_borrowers(cursor, traces, parts)):
            parts, deliveries = self._with(again, parts, deliveries)
        if policy.enriches and (traces or written.logs.any_came):
            parts, written.logs = join(cursor, traces, parts, self._bound, partial(self._again, deliveries))
        _apply(cursor, traces, parts, policy)
        folded = [traces[trace_id] for trace_id in sorted(traces)]
        read_totals(cursor, [trace for trace in folded if trace.stored and policy.totals_wanted(trace)])
        read_others(cursor, {trace.trace_id: trace for trace in folded if policy.needs_others(trace)}, policy)
        read_words(cursor, folded, policy)
        for trace in folded:
            trace.verdict = policy.decide(trace)
            if trace.superseded:
                repaired["unfinished_superseded"] += trace.superseded
            _bound_tags(trace, repaired)
        return folded

    def _with(
        self, again: Sequence[Delivery], parts: Sequence[TracePart], deliveries: Sequence[Delivery]
    ) -> tuple[Sequence[TracePart], Sequence[Delivery]]:
        """The batch, and after it these deliveries, whose spans are stored already."""
        deliveries = [*deliveries, *again]
        parts = list(parts)
        for number in range(len(deliveries) - len(again), len(deliveries)):
            parts += to_parts(deliveries[number], UNCOUNTED, self._policy, self._max_tags, number, self._dialects)
        return parts, deliveries

    def _again(self, deliveries: Sequence[Delivery], number: int, records: BySpan) -> Sequence[TracePart]:
        """See `joining.Again`."""
        return to_parts(deliveries[number], UNCOUNTED, self._policy, self._max_tags, number, self._dialects, records)

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
            trace.tags[ARTIFACT_LOCATION] = location


def _apply(cursor: Rows, traces: dict[str, Trace], parts: Sequence[TracePart], policy: FoldPolicy[Any, Any]) -> None:
    """Applies the parts one by one to the traces that there are; adds those that they create.

    Raises:
        PermanentExportError: names the parts whose senders may not change the trace, as the parts before them have left it.
    """
    authority = Authority(cursor, parts, traces.values())
    refused = []
    for part in parts:
        trace = traces.get(part.trace_id)
        if reason := authority.refusal(part, trace):
            refused.append(_rejected(part, reason, part.delivery))
        elif trace is not None:
            policy.apply(trace, part)
        else:
            traces[part.trace_id] = policy.create(part)
    _refuse(refused)


def _within(most: int, items: Iterable[str], size: Callable[[str], int]) -> Iterator[list[str]]:
    """The items in groups whose sizes add up to `most` at most; a larger item is a group of its own."""
    group: list[str] = []
    total = 0
    for item in items:
        total += size(item)
        if group and total > most:
            yield group
            group, total = [], size(item)
        group.append(item)
    if group:
        yield group


def _size(part: TracePart) -> int:
    """Bytes of the contents and origins of a part, about: text counts by its characters."""
    return sum(len(row.content) for row in part.spans.values()) + sum(map(len, part.origins.values()))


def _bound_tags(trace: Trace, repaired: Repairs) -> None:
    """However many requests bring tags, the trace has no more than it may."""
    if len(trace.tags) + len(trace.stored_tags) > trace.max_tags:
        decided = trace.verdict.root.tags if trace.verdict and trace.verdict.root else ()
        tags = bounded(trace.tags, trace.stored_tags, decided, trace.max_tags)
        if len(tags) < len(trace.tags):
            repaired["tags_over_limit"] += len(trace.spans)
            trace.tags = tags


def _check_locations(traces: Mapping[str, Trace], parts: Sequence[TracePart]) -> None:
    """Traces whose spans MLflow has moved to an archive take no more of them."""
    places = {id_: trace.stored_tags.get(SPANS_LOCATION, TRACKING_STORE) for id_, trace in traces.items()}
    moved = {
        id_: f"The spans of trace {id_} are not in the tracking store any more ({place})."
        for id_, place in places.items()
        if place != TRACKING_STORE
    }
    _refuse([_rejected(part, moved[part.trace_id]) for part in parts if part.trace_id in moved])


def _rejected(spans_of: Trace | TracePart, reason: str, delivery: int | None = None) -> RejectedSpans:
    return RejectedSpans(to_otlp_trace_id(spans_of.trace_id), str(spans_of.experiment_id), reason, delivery)


def _refuse(rejected: Sequence[RejectedSpans]) -> None:
    if rejected:
        raise PermanentExportError(rejected[0].reason, rejected)
