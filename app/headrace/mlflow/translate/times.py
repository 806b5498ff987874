"""Times that no clock has shown: a span without an end, or that ends before it starts. No I/O.

MLflow stores such a span with a negative duration, of up to 57 years, which ruins the averages of its experiment. With
enrichment, the span gets the smallest change that makes its times possible; the note beside the span (`origin.py`) keeps what
was sent. Without enrichment the row is MLflow's own: only an end that no column can hold is changed.
"""

from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from headrace.mlflow.text import Repairs

MAX_TIME = 2**63 - 1
"""The last nanosecond that a column of MLflow's tables can hold, in the year 2262."""


def possible(span: Span) -> bool:
    """Whether the times of a span need no change, with enrichment or without."""
    if not 0 < span.start_time_unix_nano <= span.end_time_unix_nano <= MAX_TIME:
        return False
    return not span.events or all(event.time_unix_nano for event in span.events)


def mended(span: Span, received: int, repaired: Repairs) -> tuple[Span, dict[str, Any]]:
    """A span → a copy with possible times, and the times that were sent in their place: `start`, `end`, and the numbers of
    `events` that had none. A span that has no possible `end` may have been sent while it still ran.

    `received`: when it came, in nanoseconds; the start of a span without any time. Each change is counted in `repaired`.
    """
    copy, sent = _copy(span), dict[str, Any]()
    start, end = span.start_time_unix_nano, span.end_time_unix_nano
    if not start:
        sent["start"] = start
        repaired["start_time_missing"] += 1
        copy.start_time_unix_nano = start = end if 0 < end <= MAX_TIME else received
    if not start <= end <= MAX_TIME:
        sent["end"] = end
        _count_end(end, repaired)
        copy.end_time_unix_nano = start
    if timeless := [number for number, event in enumerate(span.events) if not event.time_unix_nano]:
        sent["events"] = timeless
        repaired["event_time_missing"] += 1
        for number in timeless:
            copy.events[number].time_unix_nano = start
    return copy, sent


def storable_end(span: Span, repaired: Repairs) -> Span:
    """The span itself, or a copy whose end a column can hold."""
    if span.end_time_unix_nano <= MAX_TIME:
        return span
    repaired["end_time_out_of_range"] += 1
    copy = _copy(span)
    copy.end_time_unix_nano = span.start_time_unix_nano
    return copy


def _count_end(end: int, repaired: Repairs) -> None:
    if not end:
        repaired["end_time_missing"] += 1
    elif end > MAX_TIME:
        repaired["end_time_out_of_range"] += 1
    else:
        repaired["end_before_start"] += 1


def _copy(span: Span) -> Span:
    copy = Span()
    copy.CopyFrom(span)
    return copy
