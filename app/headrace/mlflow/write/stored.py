"""What Postgres holds of the traces of a batch: rows → `Trace`, for the fold."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

from headrace.mlflow.fold.policy import FoldPolicy, S, V
from headrace.mlflow.keys import FINALIZED, USER
from headrace.mlflow.model import Precedence, Root, Spoken, StoredTrace, Totals, Trace, TracePart, TraceRow
from headrace.mlflow.model.voices import SPEAKERS
from headrace.mlflow.text import UNCOUNTED, to_object
from headrace.mlflow.translate.origin import CHOSEN_BY_RULE
from headrace.mlflow.translate.readback import is_unfinished, to_span
from headrace.mlflow.translate.speaks import stored_root_says
from headrace.mlflow.translate.tags import resource_tags, root_tags, session_and_user
from headrace.mlflow.translate.values import to_root
from headrace.mlflow.write.figures import read_nodes
from headrace.mlflow.write.layout import Layout
from headrace.mlflow.write.remembered import recalled
from headrace.mlflow.write.statements import STATEMENTS, Rows


def read_traces(cursor: Rows, layout: Layout, parts: Sequence[TracePart[V]], policy: FoldPolicy[V, S]) -> dict[str, Trace[S]]:
    """The traces of these parts that exist, locked until the end of the transaction, with what the fold needs of them."""
    stored = _lock_traces(cursor, layout, sorted({part.trace_id for part in parts}))
    traces = {trace_id: policy.open(trace) for trace_id, trace in stored.items()}
    known = [(traces[part.trace_id], part) for part in parts if part.trace_id in traces]
    _take_roots(cursor, known, policy)
    _read_whole(cursor, _unfinished(known), traces, policy)
    read_nodes(cursor, {trace.trace_id: trace for trace, part in known if policy.needs_nodes(trace, part)})
    return traces


def _take_roots(cursor: Rows, known: Sequence[tuple[Trace[S], TracePart[V]]], policy: FoldPolicy[V, S]) -> None:
    """Gives the policy the stored roots that it asks for: the one that is remembered, or else those that the spans tell."""
    coming: dict[str, set[str]] = {}
    for _, part in known:
        coming.setdefault(part.trace_id, set()).update(part.spans)
    traces = {trace.trace_id: trace for trace, _ in known}
    wanted = {trace_id: most for trace_id in sorted(traces) if (most := policy.roots_wanted(len(coming[trace_id])))}
    roots: dict[str, Mapping[str, Root]] = {}
    for trace_id in wanted:
        stored = traces[trace_id].stored
        if stored and stored.roots is not None and stored.roots.keys().isdisjoint(coming[trace_id]):
            roots[trace_id] = stored.roots  # it does not come again, perhaps as something else: no other can decide
    roots |= _read_roots(cursor, {trace_id: most for trace_id, most in wanted.items() if trace_id not in roots})
    for trace_id in wanted:
        policy.take_stored_roots(traces[trace_id], roots.get(trace_id, {}))


def _unfinished(known: Sequence[tuple[Trace[S], TracePart[V]]]) -> dict[str, set[str]]:
    """The spans of this batch that came without an end, by trace."""
    found: dict[str, set[str]] = {}
    for _, part in known:
        if part.unfinished:
            found.setdefault(part.trace_id, set()).update(part.unfinished)
    return found


def _read_whole(
    cursor: Rows, unfinished: Mapping[str, Collection[str]], traces: Mapping[str, Trace[S]], policy: FoldPolicy[V, S]
) -> None:
    """Tells the policy which of these spans are there already, with an end."""
    if not unfinished:
        return
    span_ids = sorted({span_id for ids in unfinished.values() for span_id in ids})
    for trace_id, span_id, content in cursor.stream(STATEMENTS["read_ends"], {"ids": sorted(unfinished), "span_ids": span_ids}):
        doubtful = to_object(content)
        if span_id in unfinished[trace_id] and not (doubtful and is_unfinished(doubtful)):
            policy.take_whole(traces[trace_id], span_id)


@dataclass(slots=True)
class _Marks:
    """What `read_marks` finds of one trace."""

    tags: dict[str, str] = field(default_factory=dict)
    user_id: str | None = None
    finalized: bool = False
    precedence: Precedence | None = None
    noted_unfinished: bool = False
    noted_just_now: bool = False
    roots: Mapping[str, Root] | None = None
    totals: Totals | None = None
    spoken: Spoken | None = None
    has_voices: bool = False
    lenders: frozenset[str] | None = None
    metadata: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, key: str, value: str) -> None:
        """One row."""
        if kind == "tag":
            self.tags[key] = value
        elif kind == "precedence":
            rank, start = value.split()
            self.precedence = Precedence(int(rank), int(start), key)
        elif kind == "unfinished":
            self.noted_unfinished, self.noted_just_now = True, value == "now"
        elif kind == "speaker":
            self.has_voices = True
        elif kind == "root":
            if found := recalled(key, value):
                self.roots, self.totals, self.spoken, self.lenders = found
        elif key == FINALIZED:
            self.finalized = True
        elif key == USER:
            self.user_id = value
        else:
            self.metadata[key] = value


def _lock_traces(cursor: Rows, layout: Layout, trace_ids: list[str]) -> dict[str, StoredTrace]:
    cursor.execute(layout.statements["lock_traces"], {"ids": trace_ids})
    found = [TraceRow(*row) for row in cursor]
    if not found:
        return {}
    marks = {row.trace_id: _Marks() for row in found}
    cursor.execute(
        STATEMENTS["read_marks"], {"ids": sorted(marks), "metadata": list(layout.metadata), "speakers": sorted(SPEAKERS)}
    )
    for kind, trace_id, key, value in cursor:
        marks[trace_id].add(kind, key, value)
    return {row.trace_id: _stored(row, marks[row.trace_id], layout) for row in found}


def _stored(row: TraceRow, marks: _Marks, layout: Layout) -> StoredTrace:
    return StoredTrace(
        row=layout.complete(row, marks.tags, marks.metadata),
        tags=marks.tags,
        user_id=marks.user_id,
        finalized=marks.finalized,
        precedence=marks.precedence,
        noted_unfinished=marks.noted_unfinished,
        noted_just_now=marks.noted_just_now,
        roots=marks.roots,
        totals=marks.totals,
        spoken=marks.spoken,
        has_voices=marks.has_voices,
        lenders=marks.lenders,
    )


class _RootSpan(NamedTuple):
    """A root span as Postgres holds it."""

    trace_id: str
    span_id: str
    start: int
    content: dict[str, Any]


def _read_roots(cursor: Rows, most: Mapping[str, int]) -> Mapping[str, Mapping[str, Root]]:
    """The earliest root spans that are there already, by trace and span id: of each trace as many as `most` says."""
    if not most:
        return {}
    cursor.execute(STATEMENTS["read_roots"], {"ids": list(most), "most": list(most.values())})
    found = [_RootSpan(trace_id, span_id, start, to_object(text) or {}) for trace_id, span_id, start, text in cursor]
    tags = _read_tags(cursor, {_origin(root.content) for root in found})
    roots: dict[str, dict[str, Root]] = {}
    for root in found:
        of_trace = roots.setdefault(root.trace_id, {})
        make = _root_that_may_decide if of_trace else _root_that_decided
        of_trace[root.span_id] = make(root, tags.get(_origin(root.content)))
    return roots


def _root_that_decided(root: _RootSpan, tags: dict[str, str] | None) -> Root:
    """The first of a trace. Its previews and its status stand in the trace's row, so nobody asks for them again: without
    them it is made in a tenth of the time."""
    attributes = root.content.get("attributes") or {}
    own, _ = root_tags(attributes, UNCOUNTED)
    session, user = session_and_user(attributes, UNCOUNTED, null=False)
    return Root.that_decided(
        start=root.start,
        span_id=root.span_id,
        session_id=session or None,
        user_id=user or None,
        tags=(tags or {}) | own,
        chosen_by_rule=CHOSEN_BY_RULE in (root.content.get("otlp") or {}),
        says=stored_root_says(root.content),
    )


def _root_that_may_decide(root: _RootSpan, tags: dict[str, str] | None) -> Root:
    """Another one. If the first comes again as something else, this decides, with all that it says."""
    attributes, note = root.content.get("attributes") or {}, root.content.get("otlp") or {}
    span = to_span(root.content) if note else Span(span_id=bytes.fromhex(root.span_id), start_time_unix_nano=root.start)
    return to_root(span, attributes, tags, CHOSEN_BY_RULE in note)._replace(start=root.start)  # it may not be as it was sent


def read_others(cursor: Rows, traces: Mapping[str, Trace[S]], policy: FoldPolicy[V, S]) -> None:
    """What all spans say that are there already, of traces in which that counts again.

    The root that decides is among them: what it says comes first anyway.
    """
    if not traces:
        return
    origins = set()
    for trace_id, is_root, text in cursor.stream(STATEMENTS["read_others"], {"ids": sorted(traces)}):
        content = to_object(text) or {}
        attributes = content.get("attributes") or {}
        own = root_tags(attributes, UNCOUNTED)[0] if is_root else {}
        policy.take_other(traces[trace_id], own, *session_and_user(attributes, UNCOUNTED, null=False))
        origins.add((trace_id, _origin(content)))
    tags = _read_tags(cursor, {digest for _, digest in origins})
    for trace_id, digest in origins:
        policy.take_other(traces[trace_id], tags.get(digest, {}), None, None)


def read_words(cursor: Rows, traces: Sequence[Trace[S]], policy: FoldPolicy[V, S]) -> None:
    """What the spans say that are there already and speak for their roots, as far as the policy asks for it."""
    if failed := {trace.trace_id: trace for trace in traces if policy.failures_wanted(trace)}:
        cursor.execute(STATEMENTS["read_failures"], {"ids": sorted(failed)})
        for trace_id, end, span_id in cursor:
            policy.take_failure(failed[trace_id], (-end, span_id) if span_id else (0, ""))
    asked = [(trace, span_id) for trace in traces for span_id in sorted(policy.words_wanted(trace))]
    if asked:
        by_id = {trace.trace_id: trace for trace, _ in asked}
        columns = {"trace_id": [trace.trace_id for trace, _ in asked], "span_id": [span_id for _, span_id in asked]}
        for trace_id, span_id, content in cursor.stream(STATEMENTS["read_words"], columns):
            policy.take_words(by_id[trace_id], span_id, content)


def _origin(content: dict[str, Any]) -> str:
    """The digest of what a stored span came with; empty where enrichment was off."""
    return str((content.get("otlp") or {}).get("origin", ""))


def _read_tags(cursor: Rows, digests: Collection[str]) -> dict[str, dict[str, str]]:
    """The tags that the resources of these origins give."""
    cursor.execute(STATEMENTS["read_origins"], {"digests": sorted(digests)})
    return {
        digest: resource_tags(ResourceSpans.FromString(data).resource, UNCOUNTED, null=False) or {} for digest, data in cursor
    }
