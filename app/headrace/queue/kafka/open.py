"""Opens the queue in Kafka as the settings ask for it, and says at the start what is not durable."""

from headrace.config import MIB, Config
from headrace.config.kafka import KafkaUrl
from headrace.errors import QueueUnavailable, StartError
from headrace.queue.kafka.client import library
from headrace.queue.kafka.queue import Adopt, Bounds, KafkaQueue, Parts
from headrace.queue.kafka.topic import DEFAULT_RECORD, Brokers
from headrace.telemetry.logging import log

_START_SECONDS = 10.0


def open_kafka(config: Config, url: KafkaUrl, adopt: Adopt, parts: Parts) -> KafkaQueue:
    """Opens the queue, after `check_topic`.

    Raises:
        StartError: the topic is not there, or cannot be a queue; Kafka's client is not installed.
    """
    bounds = Bounds(
        bytes=config.queue_max_bytes,
        record=check_topic(url, config.outage_hours),
        buffer=max(2 * config.batch_max_bytes, 16 * MIB),
        timeout_seconds=config.queue_timeout_seconds,
    )
    return KafkaQueue(url, bounds, adopt, parts)


def check_topic(url: KafkaUrl, outage_hours: float) -> int:
    """Returns the most bytes of a record. Warns of what is not durable. If the brokers do not answer, says so and returns the
    default: requests are refused, or spilled, until they do.

    Raises:
        StartError: there is no such topic, or it is compacted.
    """
    library()
    try:
        topic = Brokers(url, _START_SECONDS).topic()
    except QueueUnavailable as error:
        log.warning("kafka is away: the start goes on, its topic is not checked", error=str(error))
        return DEFAULT_RECORD
    if topic.compacted:
        raise StartError(f"The topic {url.topic} has cleanup.policy=compact, which deletes spans: set it to delete.")
    for problem, mend in topic.problems(outage_hours):
        log.warning("KAFKA'S TOPIC IS NOT SAFE", topic=url.topic, problem=problem, mend=mend)
    log.info("kafka topic", topic=url.topic, partitions=topic.partitions, replicas=topic.replicas, in_sync=topic.min_in_sync)
    return topic.max_record
