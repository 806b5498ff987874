"""How librdkafka is set up: the URL of the queue → the properties of its clients.

Source: https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md
"""

import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

from headrace.config.kafka import KafkaUrl
from headrace.errors import StartError
from headrace.telemetry.logging import log_rarely

_CLIENT = "headrace"


def library() -> Any:
    """The module confluent_kafka.

    Raises:
        StartError: it is not installed.
    """
    try:
        import confluent_kafka
    except ImportError:
        raise StartError("HEADRACE_QUEUE_URL needs Kafka's client: pip install 'headrace[kafka]'.") from None
    return confluent_kafka


def properties(url: KafkaUrl) -> dict[str, Any]:
    """What all clients have in common.

    Raises:
        StartError: the file of the password cannot be read.
    """
    found: dict[str, Any] = {
        "bootstrap.servers": url.brokers,
        "client.id": _CLIENT,
        "allow.auto.create.topics": False,
        "socket.timeout.ms": 10_000,
        "socket.connection.setup.timeout.ms": 5_000,
        "reconnect.backoff.max.ms": 2_000,
        "log.connection.close": False,  # brokers close idle connections, which is no news
        "security.protocol": f"{'SASL_' if url.sasl else ''}{'SSL' if url.tls else 'PLAINTEXT'}",
    }
    files = {"ssl.ca.location": url.ca, "ssl.certificate.location": url.cert, "ssl.key.location": url.key}
    found |= {name: value for name, value in files.items() if value}
    if url.sasl:
        found |= {"sasl.mechanism": url.sasl, "sasl.username": url.username, "sasl.password": _secret(url.password_file)}
    return found


def sender_properties(url: KafkaUrl, timeout_seconds: float, max_record: int, max_buffered: int) -> dict[str, Any]:
    """Those of a client that sends: all replicas acknowledge, no record is sent twice, and the order is kept."""
    milliseconds = int(timeout_seconds * 1000)
    return properties(url) | {
        "acks": "all",
        "enable.idempotence": True,
        "linger.ms": 2,
        "compression.type": "lz4",
        "partitioner": "fnv1a_random",  # as the Collector's: the records of a trace stand in one partition, whoever sends them
        "delivery.timeout.ms": milliseconds,
        "request.timeout.ms": milliseconds,
        "message.max.bytes": max_record,
        "queue.buffering.max.kbytes": max(1024, max_buffered // 1024),
        "queue.buffering.max.messages": 1_000_000,
    }


def reader_properties(url: KafkaUrl, max_buffered: int) -> dict[str, Any]:
    """Those of a client of the writers' group, which commits by itself and moves as few partitions as it can."""
    return properties(url) | {
        "group.id": url.group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": url.session_seconds * 1000,
        "heartbeat.interval.ms": min(3000, url.session_seconds * 1000 // 3),
        "fetch.wait.max.ms": 100,
        "queued.max.messages.kbytes": max(1024, max_buffered // 1024),
        "enable.partition.eof": False,
    }


def renew_password(client: Any, url: KafkaUrl) -> None:
    """Gives a client the password that is in the file now: it was not let in, and somebody may have mended that. Not to be
    called from a callback of the client: that would end the process."""
    with suppress(StartError):  # the file is gone: the old one is tried on
        client.set_sasl_credentials(url.username, _secret(url.password_file))


def client_log() -> logging.Logger:
    """Where librdkafka's own messages go: into our log, at most one a minute of each severity."""
    logger = logging.getLogger("headrace.kafka")
    if not logger.handlers:
        logger.addHandler(_Handler())
        logger.propagate = False
    return logger


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        if record.levelno >= logging.WARNING:
            log_rarely("kafka client", f"kafka {record.levelname}", message=record.getMessage()[:500])


def _secret(path: str) -> str:
    try:
        return Path(path).read_text().rstrip("\r\n")
    except (OSError, ValueError) as error:
        raise StartError(f"The parameter password_file of HEADRACE_QUEUE_URL, {path}, cannot be read: {error}.") from None
