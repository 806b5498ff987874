"""One log record of a span, as it waits for its span and as it is kept beside it. No I/O.

A record is known by what it says: the same one that comes twice is one. Records of a span have an order that does not depend on
which request came first: GenAI content first, then by time, then as their sender put them into one request. (For records of the
same time in several requests that order is fixed, but says nothing.) A span keeps the first of them, so many and so many bytes
as it may: whatever came first, the same ones stay. For that it remembers the first that it did not keep, and keeps none from
there on.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import NamedTuple

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, LogsData, ResourceLogs, ScopeLogs

from headrace.otlp.order import time_of

EVENT_NAME = "event.name"
"""The attribute in which a record without `event_name` may name its event."""

CONTENT_NAMES = frozenset(
    {
        "gen_ai.client.inference.operation.details",
        "gen_ai.system.message",
        "gen_ai.user.message",
        "gen_ai.assistant.message",
        "gen_ai.tool.message",
        "gen_ai.choice",
        "gen_ai.content.prompt",
        "gen_ai.content.completion",
        "gen_ai.prompt",
    }
)
"""Events that hold what was asked of a model, and what it answered: `translate/genai_events.py` reads them."""


class Rank(NamedTuple):
    """The place of a record among those of its span."""

    kind: int
    """0: GenAI content. 1: any other."""
    time: int
    """In nanoseconds."""
    position: int
    """How many records of its span and time stand before it in the request that it came in. Of several requests: the least."""
    digest: str
    """Of what it says: what tells it from all others."""


class Record(NamedTuple):
    """A log record with the resource and scope that it came with."""

    rank: Rank
    data: bytes
    """A serialized `ResourceLogs` that holds this record only."""

    @property
    def digest(self) -> str:
        """See `Rank`."""
        return self.rank.digest

    @classmethod
    def of(cls, data: bytes, position: int = 0) -> "Record":
        """A record, from its `data` and its position."""
        return cls._of(parsed(data), data).at(position)

    @classmethod
    def _of(cls, record: LogRecord, data: bytes) -> "Record":
        digest = hashlib.blake2b(data, digest_size=16).hexdigest()
        return cls(Rank(0 if name_of(record) in CONTENT_NAMES else 1, time_of(record), 0, digest), data)

    def at(self, position: int) -> "Record":
        """The same record at this position."""
        return Record(self.rank._replace(position=position), self.data) if position else self


def parsed(data: bytes) -> LogRecord:
    """The OTLP of a record's `data`."""
    return ResourceLogs.FromString(data).scope_logs[0].log_records[0]


def name_of(record: LogRecord) -> str:
    """The name of its event; empty if it is none."""
    if record.event_name:
        return record.event_name
    for pair in record.attributes:
        if pair.key == EVENT_NAME:
            return pair.value.string_value
    return ""


def is_exception(record: LogRecord) -> bool:
    """Whether it tells of an exception."""
    return any(pair.key in {"exception.type", "exception.message"} for pair in record.attributes)


def records_of(resource_logs: ResourceLogs) -> Iterator[tuple[LogRecord, Record]]:
    """Each record of a resource: as OTLP has it, and as it is kept, at position 0."""
    for scope in resource_logs.scope_logs:
        for record in scope.log_records:
            alone = ResourceLogs(
                resource=resource_logs.resource if resource_logs.HasField("resource") else None,
                schema_url=resource_logs.schema_url,
                scope_logs=[ScopeLogs(schema_url=scope.schema_url, log_records=[record])],
            )
            if scope.HasField("scope"):
                alone.scope_logs[0].scope.CopyFrom(scope.scope)
            yield record, Record._of(record, alone.SerializeToString(deterministic=True))


@dataclass(frozen=True, slots=True)
class Kept:
    """The log records that a span keeps."""

    records: Sequence[Record] = ()
    """In order, each once."""
    cut: Rank | None = None
    """The first that it does not keep, because there were too many. None: there were not."""
    over: int = 0
    """How many records it was given that it does not keep."""


NOTHING_KEPT = Kept()


class Bound(NamedTuple):
    """How much one span keeps of its log records."""

    records: int = 256
    bytes: int = 4 * 1024 * 1024

    def keep(self, records: Iterable[Record], cut: Rank | None = None) -> Kept:
        """What a span keeps of these records. `cut`: that of the records which it has kept before, and which are among these.

        A record that alone is too much is left out; it costs no other. Nothing from the first on that is too much together
        with those before it is kept: so it does not matter which came first.
        """
        ordered = sorted({record.digest: record for record in sorted(records, reverse=True)}.values())  # each at its least
        kept: list[Record] = []
        size = 0
        for record in ordered:
            if cut is not None and record.rank >= cut:
                break
            if len(record.data) > self.bytes:
                continue
            size += len(record.data)
            if size > self.bytes or len(kept) == self.records:
                cut = record.rank
                break
            kept.append(record)
        return Kept(kept, cut, len(ordered) - len(kept))


class Packed(NamedTuple):
    """Records, as they are kept in a span's note."""

    data: bytes
    """A serialized `LogsData`, in which each resource and scope stands once."""
    positions: Sequence[int] = ()
    """Of its records, in its order. Empty: all are 0."""


def packed(records: Sequence[Record]) -> Packed:
    """Packs records that are in order."""
    groups: dict[bytes, ResourceLogs] = {}
    positions: defaultdict[bytes, list[int]] = defaultdict(list)
    for record in records:
        alone = ResourceLogs.FromString(record.data)
        said = alone.scope_logs[0].log_records.pop()
        key = alone.SerializeToString(deterministic=True)
        groups.setdefault(key, alone).scope_logs[0].log_records.append(said)
        positions[key].append(record.rank.position)
    of_all = [position for of_group in positions.values() for position in of_group]
    return Packed(LogsData(resource_logs=groups.values()).SerializeToString(deterministic=True), of_all if any(of_all) else ())


def unpacked(of: Packed) -> list[Record]:
    """The inverse of `packed`."""
    found = (record for resource in LogsData.FromString(of.data).resource_logs for _, record in records_of(resource))
    return sorted(record.at(position) for record, position in zip(found, of.positions or repeat(0), strict=False))


BySpan = Mapping[tuple[bytes, bytes], Kept]
"""What spans keep, by the trace id and span id of their span, as OTLP has them."""
