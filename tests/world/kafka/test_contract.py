"""The contract of the queue's seam, held by the queue in a real Kafka."""

import pytest
from brokers import Cluster
from contracts.kafka_queue import BOUNDS, KafkaQueueContract

from headrace.config.kafka import KafkaUrl


class TestKafkaQueue(KafkaQueueContract):
    """Without TLS and passwords."""

    @pytest.fixture(autouse=True)
    def _topic(self, broker: Cluster) -> None:
        self.url = KafkaUrl.parse(broker.url(broker.new_topic(max_message_bytes=BOUNDS.record), group="contract"))
