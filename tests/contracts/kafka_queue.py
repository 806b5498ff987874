"""The contract of the queue's seam, for the queue in Kafka, whichever road leads to the broker."""

from collections.abc import Iterator

import pytest
from conftest import wait_until

from contracts.queue import MAX_BYTES, QueueContract
from headrace.config.kafka import KafkaUrl
from headrace.queue.kafka.queue import Bounds, KafkaQueue

BOUNDS = Bounds(bytes=MAX_BYTES, record=2 * MAX_BYTES, buffer=4 * MAX_BYTES, timeout_seconds=30)


class KafkaQueueContract(QueueContract):
    """Inherit it in a class whose name begins with Test, and give each test the `url` of a topic of its own: `BOUNDS.record`
    bytes a record, and one partition, so that the order is that of all offers."""

    patience = 20
    url: KafkaUrl

    @pytest.fixture(autouse=True)
    def _opened(self) -> Iterator[None]:
        self.opened: list[KafkaQueue] = []
        yield
        for queue in self.opened:
            queue.close()

    def open_queue(self) -> KafkaQueue:
        queue = KafkaQueue(self.url, BOUNDS, lambda *_: [])
        self.opened.append(queue)
        wait_until(lambda: queue.joined, 60, "the reader joins its group")
        return queue
