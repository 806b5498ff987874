"""Log records join their spans: in the transaction that writes the spans, under the lock of their traces.

Each log record waits in `headrace.waiting_log` first (`waiting.py`). Whoever writes a span looks there, and at what is stored
of the span already: a span that is sent again keeps its records. So the end is the same, whatever came first.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from headrace.envelope import envelope_pb2 as pb
from headrace.envelope.limit import Limit
from headrace.mlflow.keys import to_otlp_trace_id
from headrace.mlflow.logs.record import NOTHING_KEPT, Bound, BySpan, Kept, Record
from headrace.mlflow.model import Trace, TracePart
from headrace.mlflow.text import to_object
from headrace.mlflow.translate.note import cut_of, records_in
from headrace.mlflow.write.statements import STATEMENTS, Rows, load_statements
from headrace.telemetry.logging import log_rarely
from headrace.telemetry.waiting import LOGS_EXPIRED, LOGS_JOINED

LOG_STATEMENTS = load_statements("logs.sql")

_WHY = {
    "over_span": "their span has as many as it may (HEADRACE_MAX_LOGS_PER_SPAN, HEADRACE_MAX_LOG_BYTES_PER_SPAN)",
    "foreign": "the API key of their sender may not change the trace that they belong to",
}

Again = Callable[[int, BySpan], Sequence[TracePart]]
"""Translates the delivery with this index in the batch once more, with these log records. Counts no repair: that is done."""

Key = tuple[str, str]
"""Trace id and span id, as MLflow has them."""


class Waiting(NamedTuple):
    """A row of `headrace.waiting_log`."""

    key: Key
    record: Record
    experiment_id: int
    limit: Limit | None


@dataclass(slots=True)
class Joined:
    """How many log records a transaction has taken out of the waiting ones, by what became of them."""

    joined: int = 0
    over: int = 0
    """The span has as many as it may."""
    foreign: int = 0
    """Their sender may not change the trace."""
    traces: set[str] = field(default_factory=set)
    """Those that have spans with log records now."""
    any_came: bool = True
    """Whether, at its beginning, any log record waited for a span or had been joined with one."""


def begin(cursor: Rows) -> bool:
    """The first statement of a transaction; returns `Joined.any_came`.

    If none came, spans of new traces need no look: what is committed later finds them by itself (`waiting.look_again`). Spans
    of traces that are there need one, under the lock: log records may have been joined with them since.
    """
    cursor.execute(STATEMENTS["plan_by_index"], prepare=False)
    while cursor.nextset():
        pass
    ((any_came,),) = cursor.fetchall()
    return bool(any_came)


def join(
    cursor: Rows, traces: Mapping[str, Trace], parts: Sequence[TracePart], bound: Bound, again: Again
) -> tuple[Sequence[TracePart], Joined]:
    """The parts of a batch with the log records that belong to their spans; takes those that waited out of the table.

    `traces`: those of the parts that exist, locked. `again`: translates what the parts were made of once more.
    """
    done = Joined()
    awaited, logged = _look(cursor, sorted({part.trace_id for part in parts}))
    if not (awaited or logged):
        return parts, done
    waiting = _waiting(cursor, _keys(parts, awaited))
    before = _joined_already(cursor, _keys(parts, logged))
    records = defaultdict(list, {key: list(of_span.records) for key, of_span in before.items()})
    allowed = _allowed(cursor, waiting, traces, parts)
    for row in allowed:
        records[row.key].append(row.record)
    kept = {key: bound.keep(of_span, before.get(key, NOTHING_KEPT).cut) for key, of_span in records.items()}
    _take(cursor, waiting)
    done.foreign = len(waiting) - len(allowed)
    done.over = sum(of_span.over for of_span in kept.values())
    digests = {key: {record.digest for record in of_span.records} for key, of_span in kept.items()}
    old = {key: {record.digest for record in of_span.records} for key, of_span in before.items()}
    done.joined = sum(row.record.digest in digests[row.key] - old.get(row.key, set()) for row in allowed)
    done.traces = {trace_id for trace_id, _ in kept}
    by_span = {_otlp_key(key): of_span for key, of_span in kept.items()}
    return _replaced(parts, again, by_span, done.traces), done


def count_joined(done: Joined) -> None:
    """The transaction is committed."""
    LOGS_JOINED.inc(done.joined)
    for reason, count in (("over_span", done.over), ("foreign", done.foreign)):
        if count:
            LOGS_EXPIRED.labels(reason).inc(count)
            log_rarely("log records were not joined with their span", reason, records=count, why=_WHY[reason])


def mark(cursor: Rows, done: Joined) -> None:
    """Remembers which traces have spans with log records, so that who sends these spans again looks for them."""
    if done.traces:
        cursor.execute(LOG_STATEMENTS["mark_logged"], {"ids": sorted(done.traces)})


def _look(cursor: Rows, trace_ids: list[str]) -> tuple[set[str], set[str]]:
    """Those of these traces for whose spans something waits; and those that have spans with log records."""
    cursor.execute(LOG_STATEMENTS["look"], {"ids": trace_ids})
    awaited: set[str] = set()
    logged: set[str] = set()
    for trace_id, waits in cursor:
        (awaited if waits else logged).add(trace_id)
    return awaited, logged


def _keys(parts: Sequence[TracePart], traces: Collection[str]) -> list[Key]:
    """The spans that the parts have of these traces, in order."""
    return sorted({(part.trace_id, span_id) for part in parts if part.trace_id in traces for span_id in part.spans})


def _waiting(cursor: Rows, keys: Sequence[Key]) -> list[Waiting]:
    """What waits for these spans. Of a trace in pieces it may be little of all that waits."""
    if not keys:
        return []
    cursor.execute(LOG_STATEMENTS["read_waiting"], _columns(keys))
    return [
        Waiting((trace_id, span_id), Record.of(record, position), experiment_id, _limit(limit))
        for trace_id, span_id, record, position, experiment_id, limit in cursor
    ]


def _columns(keys: Sequence[Key]) -> dict[str, list[str]]:
    return {"trace_id": [trace_id for trace_id, _ in keys], "span_id": [span_id for _, span_id in keys]}


def _limit(message: bytes | None) -> Limit | None:
    return None if message is None else Limit.from_message(pb.Envelope(limit=pb.Limit.FromString(message)))


def _joined_already(cursor: Rows, keys: Sequence[Key]) -> dict[Key, Kept]:
    """The records that are stored with these spans."""
    found = {}
    for key, content in read_spans(cursor, keys).items():
        parsed = to_object(content) or {}
        if records := records_in(parsed):
            found[key] = Kept(records, cut_of(parsed))
    return found


def read_spans(cursor: Rows, keys: Collection[Key]) -> dict[Key, str]:
    """The content of those of these spans that are stored."""
    if not keys:
        return {}
    cursor.execute(LOG_STATEMENTS["read_spans"], _columns(sorted(keys)))
    return {(trace_id, span_id): content for trace_id, span_id, content in cursor}


def _allowed(
    cursor: Rows, waiting: Sequence[Waiting], traces: Mapping[str, Trace], parts: Sequence[TracePart]
) -> list[Waiting]:
    """Those whose sender may change the trace. A trace that nobody has made yet is that of whoever sends its spans."""
    if all(row.limit is None for row in waiting):
        return list(waiting)
    standing: defaultdict[str, set[int]] = defaultdict(set)
    for part in parts:
        trace = traces.get(part.trace_id)
        standing[part.trace_id].add(part.experiment_id if trace is None else trace.experiment_id)
    names = experiment_names(cursor, set().union(*standing.values()))
    return [row for row in waiting if covers(row.limit, row.experiment_id, standing[row.key[0]], names)]


def covers(limit: Limit | None, own: int, standing: Collection[int], names: Mapping[int, str]) -> bool:
    """Whether a sender whose own traces go to `own` may change what stands in all these experiments. See `Limit.covers`."""
    return limit is None or all(limit.covers(own, experiment, names.get(experiment)) for experiment in standing)


def experiment_names(cursor: Rows, ids: Collection[int]) -> dict[int, str]:
    """The names of experiments in the workspace `default`."""
    cursor.execute(STATEMENTS["read_names"], {"ids": sorted(ids)})
    return dict(cursor.fetchall())


def _otlp_key(key: Key) -> tuple[bytes, bytes]:
    """The ids as OTLP has them."""
    return to_otlp_trace_id(key[0]), bytes.fromhex(key[1])


def _take(cursor: Rows, waiting: Sequence[Waiting]) -> None:
    if waiting:
        rows = sorted((*row.key, row.record.digest, row.record.rank.position) for row in waiting)
        columns = (list(column) for column in zip(*rows, strict=True))
        names = ("trace_id", "span_id", "digest", "position")
        cursor.execute(LOG_STATEMENTS["take_waiting"], dict(zip(names, columns, strict=True)))


def _replaced(parts: Sequence[TracePart], again: Again, records: BySpan, traces: Collection[str]) -> Sequence[TracePart]:
    """The parts, those of these traces translated again."""
    if not records:
        return parts
    made: dict[tuple[int, str, int], TracePart] = {}
    for number in sorted({part.delivery for part in parts if part.trace_id in traces}):
        for part in again(number, records):
            made[number, part.trace_id, part.experiment_id] = part
    return [made[part.delivery, part.trace_id, part.experiment_id] if part.trace_id in traces else part for part in parts]
