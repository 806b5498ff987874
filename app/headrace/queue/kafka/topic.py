"""What the brokers say of the topic: whether it is there, how durable it is, and how far the writers are."""

from collections.abc import Iterator, Mapping
from concurrent.futures import TimeoutError as FutureTimeout  # in Python 3.10 a class of its own
from dataclasses import dataclass
from typing import Any

from headrace.config.kafka import KafkaUrl
from headrace.errors import QueueUnavailable, StartError
from headrace.queue.kafka.client import client_log, library, properties, renew_password
from headrace.queue.kafka.handshake import wants_tls, why_no_tls
from headrace.queue.kafka.words import Said, explain

DEFAULT_RECORD = 1_000_000
_GOOD_REPLICAS = 3
_GOOD_IN_SYNC = 2


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as the brokers describe it. `replicas`: of the partition with the fewest."""

    name: str
    partitions: int
    replicas: int
    min_in_sync: int
    retention_ms: int
    retention_bytes: int
    max_record: int
    compacted: bool
    unclean: bool
    flushes_each: bool

    def problems(self, outage_hours: float) -> Iterator[tuple[str, str]]:
        """What may lose acknowledged requests, or stop the way; each with what to do."""
        yield from self._of_replicas()
        yield from self._of_retention(outage_hours)
        if self.partitions == 1:
            yield "one partition: only one process can write", "as many partitions as there may be writers, 12 for a start"

    def _of_replicas(self) -> Iterator[tuple[str, str]]:
        alone = self.replicas == 1 and not self.flushes_each
        if alone or (self.replicas > 1 and self.min_in_sync < _GOOD_IN_SYNC):
            yield (
                f"{self.replicas} replicas, min.insync.replicas {self.min_in_sync}: a record may be acknowledged while one "
                "broker has it in memory only",
                "three replicas and min.insync.replicas=2; or, on a single broker, flush.messages=1",
            )
        if self.replicas > 1 and self.min_in_sync >= self.replicas:
            yield (
                f"min.insync.replicas {self.min_in_sync} of {self.replicas}: nothing is taken while one broker is away",
                f"min.insync.replicas={max(1, self.replicas - 1)}, or more replicas",
            )
        if self.unclean:
            yield "unclean.leader.election.enable is true: acknowledged records may be lost", "set it to false"

    def _of_retention(self, outage_hours: float) -> Iterator[tuple[str, str]]:
        if 0 <= self.retention_ms < outage_hours * 3_600_000:
            yield (
                f"records are kept for {self.retention_ms / 3_600_000:.1f} hours, less than HEADRACE_OUTAGE_HOURS",
                f"retention.ms={int(outage_hours * 3_600_000)} or more",
            )
        if self.retention_bytes >= 0:
            yield (
                f"a partition keeps {self.retention_bytes} bytes: what does not fit is deleted, written or not",
                "retention.bytes=-1, and disks for the longest outage",
            )


@dataclass(frozen=True, slots=True)
class Lag:
    """A partition: the offset that the group has committed (-1: none), and the first and the last offset that there are."""

    partition: int
    committed: int
    first: int
    end: int

    @property
    def records(self) -> int:
        """How many records wait."""
        return max(0, self.end - max(self.committed, self.first))


class Brokers:
    """Asks the brokers. Every question may raise QueueUnavailable: they do not answer, or refuse."""

    def __init__(self, url: KafkaUrl, timeout: float = 10) -> None:
        self._library, self._url, self._timeout = library(), url, timeout
        from confluent_kafka.admin import AdminClient

        self._refused: Said | None = None
        self._admin = AdminClient(properties(url) | {"error_cb": self._note}, logger=client_log())
        self._consumer: Any = None

    def partitions(self) -> Mapping[int, Any]:
        """The topic's partitions, with `replicas` and `isrs`.

        Raises:
            StartError: there is no such topic.
        """
        try:
            found = self._admin.list_topics(self._url.topic, timeout=self._timeout).topics[self._url.topic]
        except self._library.KafkaException as error:
            raise self._unavailable(error) from None
        if found.error is not None and found.error.code() == self._library.KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise StartError(no_topic(self._url))
        if found.error is not None:
            raise self._unavailable(found.error)
        if not found.partitions:
            raise QueueUnavailable(f"Kafka says of the topic {self._url.topic} no partition.")
        if self._refused is not None and not self._refused.is_of_group:
            self._refused = None
        partitions: Mapping[int, Any] = found.partitions
        return partitions

    def topic(self) -> Topic:
        """The topic and its settings. Raises StartError if it is not there."""
        partitions = self.partitions()
        resource = self._resource()
        try:
            settings = self._admin.describe_configs([resource], request_timeout=self._timeout)[resource].result(self._timeout)
        except (self._library.KafkaException, TimeoutError, FutureTimeout) as error:
            raise self._unavailable(error) from None
        said = {name: entry.value for name, entry in settings.items()}
        return Topic(
            name=self._url.topic,
            partitions=len(partitions),
            replicas=min(len(each.replicas) for each in partitions.values()),
            min_in_sync=int(said["min.insync.replicas"]),
            retention_ms=int(said["retention.ms"]),
            retention_bytes=int(said["retention.bytes"]),
            max_record=int(said["max.message.bytes"]),
            compacted="compact" in said["cleanup.policy"],
            unclean=said["unclean.leader.election.enable"] == "true",
            flushes_each=said["flush.messages"] == "1",
        )

    def lag(self) -> list[Lag]:
        """How far the group is in each partition."""
        from confluent_kafka.admin import OffsetSpec

        places = [self._library.TopicPartition(self._url.topic, number) for number in sorted(self.partitions())]
        try:
            # AdminClient.list_consumer_group_offsets ends the process with a segmentation fault (librdkafka 2.16.0) if the
            # group's coordinator has just moved. A consumer that has not subscribed asks the same, and joins nothing.
            committed = {each.partition: each.offset for each in self._member().committed(places, timeout=self._timeout)}
            earliest = self._admin.list_offsets(dict.fromkeys(places, OffsetSpec.earliest()), request_timeout=self._timeout)
            latest = self._admin.list_offsets(dict.fromkeys(places, OffsetSpec.latest()), request_timeout=self._timeout)
            first, end = ({p.partition: f.result(self._timeout).offset for p, f in each.items()} for each in (earliest, latest))
        except (self._library.KafkaException, TimeoutError, FutureTimeout) as error:
            raise self._unavailable(error) from None
        self._refused = None
        return [Lag(number, max(-1, committed[number]), first[number], end[number]) for number in sorted(committed)]

    def close(self) -> None:
        """Ends the client that has to be told."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _member(self) -> Any:
        if self._consumer is None:
            settings = properties(self._url) | {
                "group.id": self._url.group,
                "enable.auto.commit": False,
                "error_cb": self._note,
            }
            self._consumer = self._library.Consumer(settings, logger=client_log())
        return self._consumer

    def _resource(self) -> Any:
        from confluent_kafka.admin import ConfigResource, ResourceType

        return ConfigResource(ResourceType.TOPIC, self._url.topic)

    def _note(self, error: Any) -> None:
        """librdkafka's callback, from within a call of ours: of a question that fails it says only that nobody answers."""
        said = Said.of(error)
        if said.is_refusal:
            self._refused = said

    def _unavailable(self, error: Any) -> QueueUnavailable:
        said = Said.of(error)
        self._listen()
        said = said if said.is_refusal else self._refused or said
        if said.name == "_AUTHENTICATION":
            renew_password(self._admin, self._url)
            self.close()  # the consumer is made anew, with the new password
        return QueueUnavailable(explain(self._url, said, self._of_tls(said)))

    def _of_tls(self, said: Said) -> str:
        """See `explain`."""
        if said.name == "_SSL":
            return why_no_tls(self._url, self._timeout)
        return "wanted" if not self._url.tls and not said.is_refusal and wants_tls(self._url, self._timeout) else ""

    def _listen(self) -> None:
        """Takes what the clients have to say beside their answers."""
        self._admin.poll(0)
        for message in self._consumer.consume(10, 0) if self._consumer is not None else ():
            if message.error() is not None:
                self._note(message.error())


def no_topic(url: KafkaUrl) -> str:
    """What to do where the topic is missing."""
    return (
        f"Kafka has no topic {url.topic}, and Headrace makes none: kafka-topics.sh --bootstrap-server {url.brokers} --create "
        f"--topic {url.topic} --partitions 12 --replication-factor 3 --config min.insync.replicas=2"
    )
