"""Reads records as a member of the writers' group: ahead of the writer, bounded. It commits the offsets that are settled.

One thread talks to Kafka (`_fetch`). All else is what is shared with it, under one lock.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from headrace.config.kafka import KafkaUrl
from headrace.parts import PartThread
from headrace.queue.kafka.client import client_log, library, reader_properties, renew_password
from headrace.queue.kafka.fetched import Fetched, to_fetched
from headrace.queue.kafka.progress import Progress, to_text
from headrace.queue.kafka.start import committed_of, start_of
from headrace.queue.kafka.words import Said, explain
from headrace.telemetry.kafka import KAFKA_REBALANCES
from headrace.telemetry.logging import log

_FETCH_SECONDS = 0.1
_FETCH_RECORDS = 500
_COMMIT_SECONDS = 0.2
"""How often offsets are committed. So much is written once more, at the most, after a crash."""


class Reader:
    """A member of the group. `changed` is the lock that its owner shares with it, and is notified of every change.

    `settled` is told of each record that is settled here, or that is no longer read here: its partition and its offset.
    `refused` is told why the brokers do not let us read.
    """

    def __init__(
        self,
        url: KafkaUrl,
        max_buffered: int,
        changed: threading.Condition,
        settled: Callable[[int, int], None],
        refused: Callable[[str], None],
    ) -> None:
        self._library = library()
        self._url, self._changed, self._settled, self._refused = url, changed, settled, refused
        self._most = max_buffered
        self._properties = reader_properties(url, max_buffered)
        self.partitions: dict[int, Progress] = {}
        self.buffer: deque[Fetched] = deque()
        self.buffered = 0
        self.paused = False
        self.joined = False
        self._locked_out = False
        self._epoch = 0
        self._committed: dict[int, tuple[int, str]] = {}
        self._next_commit = 0.0
        self._thread = PartThread("kafka-reader", self._fetch)
        self._thread.start()

    def close(self) -> None:
        """Commits what is settled, leaves the group, and ends."""
        self._thread.stop()

    def take(self, max_bytes: int) -> list[Fetched]:
        """The next records that were fetched, up to `max_bytes`, but at least one if there is one. The lock is held."""
        taken: list[Fetched] = []
        total = 0
        while self.buffer and (not taken or total + self.buffer[0].bytes <= max_bytes):
            taken.append(self.buffer.popleft())
            total += taken[-1].bytes
        self.buffered -= total
        return taken

    def settle(self, partition: int, offset: int, epoch: int) -> None:
        """Settles one part of a record. One of a partition that was taken away meanwhile is left to its new reader. The lock is
        held."""
        progress = self.partitions.get(partition)
        if progress is not None and progress.epoch == epoch and progress.settle(offset):
            self._settled(partition, offset)

    def has_parts(self, record: Fetched, parts: int) -> None:
        """Says of how many parts a record is that was taken. The lock is held."""
        progress = self.partitions.get(record.partition)
        if progress is not None and progress.epoch == record.epoch and (pending := progress.pending.get(record.offset)):
            pending.parts = max(1, parts)
            if parts == 0:
                self.settle(record.partition, record.offset, record.epoch)

    def _fetch(self) -> None:
        callbacks = {"on_commit": self._note_commit, "error_cb": self._note}
        consumer = self._library.Consumer(self._properties | callbacks, logger=client_log())
        try:
            consumer.subscribe([self._url.topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)
            while not self._thread.stopping.is_set():
                self._keep(consumer, consumer.consume(_FETCH_RECORDS, _FETCH_SECONDS))
                self._pause(consumer)
                self._commit(consumer)
                if self._locked_out:
                    self._locked_out = False
                    renew_password(consumer, self._url)
        finally:
            with suppress(Exception):  # the brokers may be away: what is not committed comes again
                self._commit(consumer, at_once=True)
            consumer.close()
            self._give_up(list(self.partitions))

    def _note(self, error: Any) -> None:
        self._locked_out = self._locked_out or Said.of(error).name == "_AUTHENTICATION"

    def _keep(self, consumer: Any, messages: Iterable[Any]) -> None:
        found = []
        for message in messages:
            if message.error() is None:
                found.append(message)
            elif (said := Said.of(message.error())).is_refusal:  # the client tries again by itself
                self._refused(explain(self._url, said))
        with self._changed:
            for message in found:
                progress = self.partitions.get(message.partition())
                if progress is not None:
                    self._buffer(progress, to_fetched(message, progress.epoch))
            for number, progress in self.partitions.items():
                _, end = consumer.get_watermark_offsets(self._partition(number), cached=True)
                progress.end = max(progress.end, end)
            if found:
                self._changed.notify_all()

    def _buffer(self, progress: Progress, record: Fetched) -> None:
        if record.offset < progress.position:
            return  # fetched before a pause
        if progress.fetch(record.offset, record.bytes, record.offered_unix_nano):
            self.buffer.append(record)
            self.buffered += record.bytes
        else:
            self._settled(record.partition, record.offset)

    def _pause(self, consumer: Any) -> None:
        """Stops fetching while the writer does not keep up. The membership in the group goes on."""
        with self._changed:
            wanted = self.buffered >= (self._most // 2 if self.paused else self._most)
            numbers = list(self.partitions)
        if wanted != self.paused:
            partitions = [self._partition(number) for number in numbers]
            (consumer.pause if wanted else consumer.resume)(partitions)
            self.paused = wanted

    def _commit(self, consumer: Any, at_once: bool = False) -> None:
        if not at_once and time.monotonic() < self._next_commit:
            return
        self._next_commit = time.monotonic() + _COMMIT_SECONDS
        with self._changed:
            wanted = self._to_commit(list(self.partitions))
        if wanted:
            with suppress(self._library.KafkaException):  # `_note_commit` has been told
                consumer.commit(offsets=[self._partition(n, *place) for n, place in wanted.items()], asynchronous=not at_once)
                self._committed |= wanted

    def _to_commit(self, numbers: Sequence[int]) -> dict[int, tuple[int, str]]:
        places = {n: (p.committable, to_text(p.settled)) for n in numbers if (p := self.partitions.get(n))}
        return {n: place for n, place in places.items() if self._committed.get(n) != place}

    def _note_commit(self, error: Any, _: Any) -> None:
        if error is not None:
            self._committed.clear()  # all is committed again, with the next change or the next turn
            log.warning("kafka does not take the offsets", error=str(error.str() if hasattr(error, "str") else error))

    def _assigned(self, consumer: Any, partitions: Sequence[Any]) -> None:
        numbers = [each.partition for each in partitions]
        wanted = [self._partition(number) for number in numbers]
        found = {each.partition: start_of(consumer, each) for each in committed_of(consumer, wanted, self._thread.stopping)}
        if not found:
            return  # the stop came meanwhile
        with self._changed:
            self._epoch += 1
            for number, (position, end, settled) in found.items():
                self.partitions[number] = Progress(self._epoch, position, end, settled)
            self.joined = True
            self._changed.notify_all()
        consumer.incremental_assign([self._partition(number, found[number][0]) for number in numbers])
        if self.paused:
            self.paused = False  # the new ones are not: the next turn pauses all
        KAFKA_REBALANCES.inc()
        log.info("partitions taken", partitions=numbers, of=self._url.topic)

    def _revoked(self, consumer: Any, partitions: Sequence[Any]) -> None:
        """Commits what is settled of the partitions that go elsewhere, and forgets them."""
        numbers = [each.partition for each in partitions]
        with self._changed:
            wanted = self._to_commit(numbers)
        if wanted:
            try:
                consumer.commit(offsets=[self._partition(n, *place) for n, place in wanted.items()], asynchronous=False)
            except self._library.KafkaException as error:
                log.warning("kafka does not take the offsets", error=str(error))
        self._give_up(numbers)
        KAFKA_REBALANCES.inc()
        log.info("partitions given up", partitions=numbers, of=self._url.topic)

    def _lost(self, _: Any, partitions: Sequence[Any]) -> None:
        """The group took them away because it had not heard of us. Their new readers begin at what was committed."""
        numbers = [each.partition for each in partitions]
        self._give_up(numbers)
        KAFKA_REBALANCES.inc()
        log.warning("partitions lost: the group had not heard of this writer", partitions=numbers, of=self._url.topic)

    def _give_up(self, numbers: Sequence[int]) -> None:
        with self._changed:
            for number in numbers:
                self.partitions.pop(number, None)
                self._committed.pop(number, None)
            kept = [record for record in self.buffer if record.partition in self.partitions]
            self.buffer = deque(kept)
            self.buffered = sum(record.bytes for record in kept)
            self._changed.notify_all()

    def _partition(self, number: int, offset: int | None = None, metadata: str = "") -> Any:
        if offset is None:
            return self._library.TopicPartition(self._url.topic, number)
        return self._library.TopicPartition(self._url.topic, number, offset, metadata)
