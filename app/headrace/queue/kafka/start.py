"""Where the reader begins in a partition that it was given."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from headrace.queue.kafka.client import library
from headrace.queue.kafka.progress import from_text
from headrace.telemetry.kafka import KAFKA_EXPIRED
from headrace.telemetry.logging import log

_ASK_SECONDS = 10.0


def committed_of(consumer: Any, wanted: Sequence[Any], stopping: threading.Event) -> Sequence[Any]:
    """These partitions, each with its committed offset. Asks until Kafka says so; empty if the stop comes first."""
    while not stopping.is_set():
        try:
            return list(consumer.committed(list(wanted), timeout=_ASK_SECONDS))
        except library().KafkaException as error:
            log.warning("kafka does not say which offsets are committed", error=str(error))
    return []


def start_of(consumer: Any, committed: Any) -> tuple[int, int, set[int]]:
    """Where a partition is read from, where it ends now, and what is settled beyond the committed offset."""
    first, end = 0, 0
    with suppress(library().KafkaException):
        first, end = consumer.get_watermark_offsets(committed, timeout=_ASK_SECONDS)
    if committed.offset < 0:
        return first, end, set()
    if committed.offset < first:
        KAFKA_EXPIRED.inc(first - committed.offset)
        log.error(
            "records have expired before they were written",
            partition=committed.partition,
            records=first - committed.offset,
            mend="raise retention.ms and retention.bytes of the topic",
        )
    return max(first, committed.offset), end, from_text(committed.metadata or "")
