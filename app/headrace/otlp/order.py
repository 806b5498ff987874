"""In which order a sender told log records of the same time. No I/O."""

from collections import Counter
from collections.abc import Iterable

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord


def time_of(record: LogRecord) -> int:
    """When it happened or, if that is not said, when it was seen; in nanoseconds."""
    return record.time_unix_nano or record.observed_time_unix_nano


def positions_of(records: Iterable[LogRecord]) -> tuple[int, ...]:
    """For each record of a request, in its order: how many records of its span and time stand before it. Empty: all are 0."""
    before: Counter[tuple[bytes, bytes, int]] = Counter()
    found = []
    for record in records:
        key = (record.trace_id, record.span_id, time_of(record))
        found.append(before[key])
        before[key] += 1
    return tuple(found) if any(found) else ()
