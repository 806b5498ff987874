"""The contract of the queue's seam, held by the queue in a real Kafka."""

from collections.abc import Iterator

import pytest
from brokers import Cluster
from conftest import wait_until
from contracts.queue import MAX_BYTES, QueueContract

from headrace.config.kafka import KafkaUrl
from headrace.queue.kafka.queue import Bounds, KafkaQueue

BOUNDS = Bounds(bytes=MAX_BYTES, record=2 * MAX_BYTES, buffer=4 * MAX_BYTES, timeout_seconds=30)


class TestKafkaQueue(QueueContract):
    """A topic of one partition, so that the order is that of all offers."""

    patience = 20

    @pytest.fixture(autouse=True)
    def _topic(self, broker: Cluster) -> Iterator[None]:
        self.url = KafkaUrl.parse(broker.url(broker.new_topic(max_message_bytes=2 * MAX_BYTES), group="contract"))
        self.opened: list[KafkaQueue] = []
        yield
        for queue in self.opened:
            queue.close()

    def open_queue(self) -> KafkaQueue:
        queue = KafkaQueue(self.url, BOUNDS, lambda *_: [])
        self.opened.append(queue)
        wait_until(lambda: queue.joined, 60, "the reader joins its group")
        return queue
