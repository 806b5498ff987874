"""Sends records, and tells when all replicas have acknowledged them."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from headrace.config.kafka import KafkaUrl
from headrace.errors import QueueUnavailable
from headrace.parts import PartThread
from headrace.queue.kafka.client import client_log, library, sender_properties
from headrace.queue.kafka.records import Record
from headrace.telemetry.metrics import KAFKA_RECORDS

_POLL_SECONDS = 0.1

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
    """A producer of librdkafka, and the thread that serves its reports. A producer that has failed for good is made anew."""

    def __init__(self, url: KafkaUrl, timeout_seconds: float, max_record: int, max_buffered: int) -> None:
        self._library = library()
        self._topic = url.topic
        self._properties = sender_properties(url, timeout_seconds, max_record, max_buffered)
        self._timeout = timeout_seconds
        self._failed = threading.Event()
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
                said = "too much waits for its brokers" if isinstance(error, BufferError) else _words(error)
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

    def topic(self, timeout: float) -> Any:
        """What the brokers say of the topic now. Raises KafkaException."""
        return self._producer.list_topics(self._topic, timeout).topics[self._topic]

    def flush(self, timeout: float) -> None:
        """Waits until all reports have come, for `timeout` seconds at most."""
        self._producer.flush(timeout)

    def close(self) -> None:
        """Sends what waits, and ends. What is not acknowledged in time has failed."""
        self._thread.stop()
        self._producer.flush(self._timeout + 1)
        self._producer.purge()
        self._producer.flush(1)

    def _serve(self) -> None:
        while not self._thread.stopping.is_set():
            self._producer.poll(_POLL_SECONDS)
            if self._failed.is_set():
                self._failed.clear()
                failed, self._producer = self._producer, self._new()
                failed.purge()
                failed.flush(1)

    def _new(self) -> Any:
        return self._library.Producer(self._properties | {"error_cb": self._note}, logger=client_log())

    def _note(self, error: Any) -> None:
        with suppress(AttributeError):
            if error.fatal():  # librdkafka sends nothing with this producer any more
                self._failed.set()


def _words(error: Exception) -> str:
    first = error.args[0] if error.args else error
    return str(first.str()) if hasattr(first, "str") else str(first)
