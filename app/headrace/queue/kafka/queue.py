"""The queue in Kafka, of one process: its sender, its reader, or both."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from headrace.config.kafka import KafkaUrl
from headrace.envelope import envelope_pb2 as pb
from headrace.errors import QueueFull, QueueUnavailable
from headrace.queue import Item, Size
from headrace.queue.kafka.fetched import Fetched
from headrace.queue.kafka.reader import Reader
from headrace.queue.kafka.records import encode
from headrace.queue.kafka.sender import Sender
from headrace.queue.kafka.watch import Watch

Adopt = Callable[[dict[str, bytes], bytes, int], Sequence[tuple[bytes, str]]]
"""What another program wrote: a record's headers, its value, and when it was written (Unix nanoseconds) → envelopes, each with
the reason why it can never be written, or with nothing. It does not raise."""


@dataclass(frozen=True, slots=True)
class Parts:
    """How a process uses the queue. `sends`: it offers. `reads`: it claims and settles."""

    sends: bool = True
    reads: bool = True


@dataclass(frozen=True, slots=True)
class Bounds:
    """`bytes`: most bytes of envelopes that were offered here and are not acknowledged or, where their partition is read here,
    not settled. `record`: most bytes of a record. `buffer`: most bytes that are read ahead, and that wait to be sent."""

    bytes: int
    record: int
    buffer: int
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class _Token:
    partition: int
    offset: int
    epoch: int
    part: int


class KafkaQueue:
    """A `Queue` in a topic. An envelope becomes a record for each of its traces: more items may be claimed than were offered.

    The order is kept for each trace. After a partition has moved to another process, an item that is in hand here may be handed
    out there as well: two may write it, which changes nothing.

    Raises:
        StartError: Kafka's client is not installed, or the password's file cannot be read.
    """

    def __init__(self, url: KafkaUrl, bounds: Bounds, adopt: Adopt, parts: Parts | None = None) -> None:
        parts = parts or Parts()
        self._bounds, self._adopt = bounds, adopt
        self._changed = threading.Condition()
        self._closed = False
        self._under_way = 0, 0  # items and bytes that are not acknowledged
        self._own: dict[tuple[int, int], tuple[int, int]] = {}  # acknowledged, read here, not settled → bytes, when
        self._held = 0  # bytes of both
        self._watch = watch = Watch(url, bounds.timeout_seconds, parts.reads)
        sent = bounds.timeout_seconds, bounds.record, bounds.buffer, watch.failed
        self._sender = Sender(url, *sent) if parts.sends else None
        self._reader = Reader(url, bounds.buffer, self._changed, self._settled, watch.failed) if parts.reads else None

    @property
    def joined(self) -> bool:
        """Whether the reader is a member of the group. True where there is none."""
        return self._reader is None or self._reader.joined

    @property
    def max_record(self) -> int:
        """The most bytes of a record."""
        return self._bounds.record

    def offer(self, envelope: bytes) -> "Future[None]":
        """See `Queue.offer`.

        Raises:
            BodyTooLarge: a single span does not fit into a record. `RecordSize` takes such spans out before.
        """
        if self._sender is None:
            raise QueueUnavailable("This process only writes.")
        if len(envelope) > self._bounds.bytes:
            raise self._full(len(envelope))
        records = encode(envelope, self._bounds.record, time.time_ns())
        size = sum(record.bytes for record in records)
        self._take_in(len(records), size)
        left = [len(records), size]

        def acknowledged(partition: int, offset: int, bytes_: int) -> None:
            left[0], left[1] = left[0] - 1, left[1] - bytes_
            self._acknowledged(partition, offset, bytes_)

        def finished(error: str) -> None:
            self._finished(left[0], left[1], error)

        return self._sender.send(records, acknowledged, finished)

    def claim(self, max_bytes: int, timeout: float) -> list[Item]:
        """See `Queue.claim`. What this process has offered, and reads itself, is waited for."""
        if self._reader is None:
            raise QueueUnavailable("This process only receives.")
        with self._changed:
            wanted = self._offered_up_to()
            self._changed.wait_for(lambda: self._has_enough(max_bytes, wanted), timeout)
            records = [] if self._closed else self._reader.take(max_bytes)
        return [item for record in records for item in self._items(record)]

    def settle(self, items: Sequence[Item]) -> None:
        """See `Queue.settle`."""
        with self._changed:
            for item in items:
                token = item.token
                if self._reader is not None and isinstance(token, _Token):
                    self._reader.settle(token.partition, token.offset, token.epoch)
            self._changed.notify_all()

    def size(self) -> Size:
        """See `Queue.size`. It knows what this process sends, and the partitions that it reads; `headrace queue status` knows
        all of them."""
        with self._changed:
            partitions = self._reader.partitions.values() if self._reader else ()
            ahead = {place: own for place, own in self._own.items() if self._is_ahead(*place)}
            known = sum(len(each.pending) for each in partitions) + len(ahead)
            known_bytes = sum(each.bytes for each in partitions) + sum(size for size, _ in ahead.values())
            items = sum(each.items for each in partitions)
            unknown = max(0, items - known) * (known_bytes // known if known else 0)
            times = [each.oldest_unix_nano for each in partitions] + [offered for _, offered in ahead.values()]
            refusal = "Headrace is stopping." if self._closed else self._watch.trouble
            return Size(
                max(items, known) + self._under_way[0],
                known_bytes + unknown + self._under_way[1],
                self._bounds.bytes,
                min(filter(None, times), default=0),
                refusal,
            )

    def drain(self, timeout: float) -> bool:
        """See `Queue.drain`. Of the partitions that this process reads."""
        with self._changed:
            return self._changed.wait_for(self._is_drained, timeout)

    def close(self) -> None:
        """See `Queue.close`."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        self._watch.stop()
        if self._sender is not None:
            self._sender.close()
        if self._reader is not None:
            self._reader.close()

    def _take_in(self, items: int, size: int) -> None:
        """Counts the records of an offer as under way, if there is room for them."""
        with self._changed:
            if self._closed:
                raise QueueUnavailable("Headrace is stopping: send the batch again, to another one or later.")
            if self._held + size > self._bounds.bytes:
                raise self._full(size)
            self._held += size
            self._under_way = self._under_way[0] + items, self._under_way[1] + size

    def _full(self, size: int) -> QueueFull:
        return QueueFull(
            f"{self._held} bytes wait for Kafka or Postgres, and {size} more are over {self._bounds.bytes} "
            "(HEADRACE_QUEUE_MAX_BYTES). Send the batch again later."
        )

    def _acknowledged(self, partition: int, offset: int, size: int) -> None:
        with self._changed:
            self._under_way = self._under_way[0] - 1, self._under_way[1] - size
            progress = self._reader.partitions.get(partition) if self._reader else None
            if progress is not None and (offset >= progress.position or offset in progress.pending):
                self._own[partition, offset] = size, time.time_ns()
                progress.end = max(progress.end, offset + 1)
            else:
                self._held -= size
            self._changed.notify_all()

    def _finished(self, items: int, size: int, error: str) -> None:
        """An offer is done. `items` and `size`: of its records that were not acknowledged."""
        with self._changed:
            self._under_way = self._under_way[0] - items, self._under_way[1] - size
            self._held -= size
            self._changed.notify_all()
        if error:
            self._watch.failed(f"Kafka has not acknowledged a request in time: {error}.")
        else:
            self._watch.is_well()

    def _settled(self, partition: int, offset: int) -> None:
        """The reader has settled a record. The lock is held."""
        size, _ = self._own.pop((partition, offset), (0, 0))
        self._held -= size

    def _offered_up_to(self) -> dict[int, int]:
        """The last offset of each partition that was offered and is read here."""
        last: dict[int, int] = {}
        for partition, offset in self._own:
            last[partition] = max(offset, last.get(partition, -1))
        return last

    def _has_enough(self, max_bytes: int, wanted: dict[int, int]) -> bool:
        reader = self._reader
        if self._closed or reader is None or reader.paused or reader.buffered >= max_bytes:
            return True
        return bool(reader.buffer) and not any(self._is_ahead(partition, offset) for partition, offset in wanted.items())

    def _is_ahead(self, partition: int, offset: int) -> bool:
        """Whether a record of a partition that is read here was not fetched yet."""
        progress = self._reader.partitions.get(partition) if self._reader else None
        return progress is not None and offset >= progress.position

    def _is_drained(self) -> bool:
        partitions = self._reader.partitions.values() if self._reader else ()
        return self._under_way[0] == 0 and not any(each.items for each in partitions)

    def _items(self, record: Fetched) -> list[Item]:
        """A record → an item for each envelope that it holds."""
        envelopes: Sequence[tuple[bytes, str]] = [(record.value, "")]
        if not record.ours:
            try:
                envelopes = self._adopt(record.headers, record.value, record.offered_unix_nano)
            except Exception as error:  # the partition goes on
                letter = pb.Envelope(received_unix_nano=record.offered_unix_nano, request=record.value).SerializeToString()
                envelopes = [(letter, f"unreadable record: {type(error).__name__}: {error}")]
            assert self._reader is not None  # noqa: S101 - what else has fetched it
            with self._changed:
                self._reader.has_parts(record, len(envelopes))
        place = record.partition, record.offset, record.epoch
        return [Item(_Token(*place, part), *envelope) for part, envelope in enumerate(envelopes)]
