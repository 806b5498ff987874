"""Sends records, and tells when all replicas have acknowledged them."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from headrace.config.kafka import KafkaUrl
from headrace.errors import QueueUnavailable
from headrace.parts import PartThread
from headrace.queue.kafka.client import client_log, library, renew_password, sender_properties
from headrace.queue.kafka.records import Record
from headrace.queue.kafka.words import Said, explain
from headrace.telemetry.kafka import KAFKA_RECORDS

_POLL_SECONDS = 0.1
_AGAIN_SECONDS = 1.0
"""Before a producer that has failed for good is made anew."""
_REPORTS = 5
"""How often a failed producer is asked for its last reports, at the most."""

Acknowledged = Callable[[int, int, int], None]
"""Told of each record that is acknowledged: its partition, its offset, the bytes of its envelope."""


class Sending:
    """The records of one offer that are on their way. Its future is done when the last one is acknowledged or has failed."""

    __slots__ = ("_error", "_finished", "_left", "_lock", "future")

    def __init__(self, records: int, finished: Callable[[str], None]) -> None:
        """`finished` is called once, before the future is done, with the first error, or with nothing."""
        self.future: Future[None] = Future()
        self._left, self._error, self._finished, self._lock = records, "", finished, threading.Lock()

    def done(self, records: int, error: str = "") -> None:
        """So many of its records are acknowledged or, with an error, have failed."""
        with self._lock:
            self._left -= records
            self._error = self._error or error
            if self._left:
                return
        self._finished(self._error)
        if self.future.set_running_or_notify_cancel():
            if self._error:
                self.future.set_exception(QueueUnavailable(f"Kafka has not acknowledged the request: {self._error}."))
            else:
                self.future.set_result(None)


class Sender:
    """A producer of librdkafka, and the thread that serves its reports. A producer that has failed for good is made anew;
    `refused` is told why."""

    def __init__(
        self, url: KafkaUrl, timeout_seconds: float, max_record: int, max_buffered: int, refused: Callable[[str], None]
    ) -> None:
        self._library = library()
        self._url, self._topic = url, url.topic
        # A fatal error is raised by whichever call serves it, and not given to error_cb; the callbacks of that call then fail
        # with a SystemError.
        self._fatal = (self._library.KafkaException, SystemError)
        self._properties = sender_properties(url, timeout_seconds, max_record, max_buffered)
        self._timeout = timeout_seconds
        self._refused = refused
        self._locked_out = False
        self._producer = self._new()
        self._thread = PartThread("kafka-sender", self._serve, takes_requests=True)
        self._thread.start()

    def send(self, records: Sequence[Record], acknowledged: Acknowledged, finished: Callable[[str], None]) -> "Future[None]":
        """Sends these records. The future is done once all are acknowledged; else it has a `QueueUnavailable`."""
        sending = Sending(len(records), finished)
        for number, record in enumerate(records):
            try:
                self._produce(record, sending, acknowledged)
            except (BufferError, self._library.KafkaException) as error:
                said = "too much waits for its brokers" if isinstance(error, BufferError) else Said.of(error).text
                KAFKA_RECORDS.labels("failed").inc(len(records) - number)
                sending.done(len(records) - number, said)
                break
        return sending.future

    def _produce(self, record: Record, sending: Sending, acknowledged: Acknowledged) -> None:
        size = record.bytes

        def report(error: Any, message: Any) -> None:
            if error is None:
                KAFKA_RECORDS.labels("acknowledged").inc()
                acknowledged(message.partition(), message.offset(), size)
                sending.done(1)
            else:
                KAFKA_RECORDS.labels("failed").inc()
                sending.done(1, str(error.str()))

        self._producer.produce(self._topic, record.value, record.key, headers=list(record.headers), on_delivery=report)

    def close(self) -> None:
        """Sends what waits, and ends. What is not acknowledged in time has failed."""
        self._thread.stop()
        with suppress(*self._fatal):
            self._producer.flush(self._timeout + 1)
        self._end(self._producer)

    def _serve(self) -> None:
        while not self._thread.stopping.is_set():
            try:
                self._producer.poll(_POLL_SECONDS)
                if self._locked_out:
                    self._locked_out = False
                    renew_password(self._producer, self._url)
            except self._fatal as error:  # librdkafka sends nothing with this producer any more
                said = Said.of(error.__cause__ or error)
                self._refused(explain(self._url, said))
                self._thread.stopping.wait(_AGAIN_SECONDS)
                failed, self._producer = self._producer, self._new()
                self._end(failed)

    def _end(self, producer: Any) -> None:
        """Reports what a producer has not sent."""
        with suppress(*self._fatal):
            producer.purge()
        for _ in range(_REPORTS):
            with suppress(*self._fatal):
                producer.flush(1)
                break

    def _new(self) -> Any:
        return self._library.Producer(self._properties | {"error_cb": self._note}, logger=client_log())

    def _note(self, error: Any) -> None:
        self._locked_out = self._locked_out or Said.of(error).name == "_AUTHENTICATION"
