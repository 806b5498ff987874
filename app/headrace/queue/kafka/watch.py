"""Whether Kafka can take records now, and how far the writers are: asked beside the work, so that nobody waits for it."""

import threading
import time

from headrace.config.kafka import KafkaUrl
from headrace.errors import HeadraceError
from headrace.parts import PartThread
from headrace.queue.kafka.topic import Brokers
from headrace.telemetry.kafka import KAFKA_AWAY, KAFKA_LAG
from headrace.telemetry.logging import log, log_rarely

_EVERY_SECONDS = 5.0
_IN_TROUBLE_SECONDS = 1.0


_BELIEVED_SECONDS = 10.0
"""For so long after a failure, without an acknowledgement since, it counts as the state of things. Then requests are let come
again: nothing else can tell that they are acknowledged. (If two of three brokers are away, the third still says that all is
well.)"""


class Watch:
    """A thread that asks the brokers every few seconds, and what the sender says of its records.

    `reads`: this process is a writer. Only then the group's offsets matter: a receiver needs no right to read them.
    """

    def __init__(self, url: KafkaUrl, timeout: float, reads: bool) -> None:
        self._url, self._timeout, self._reads = url, timeout, reads
        self._found = ""
        self._failed = 0.0, ""
        self._soon = threading.Event()
        self._thread = PartThread("kafka-watch", self._run)
        self._thread.start()

    @property
    def trouble(self) -> str:
        """Why no record can be acknowledged now. Empty: it can."""
        when, said = self._failed
        return self._found or (said if time.monotonic() - when < _BELIEVED_SECONDS else "")

    def failed(self, said: str) -> None:
        """A record was not acknowledged, or cannot be read: why."""
        log_rarely("kafka fails", "kafka fails", reason=said)
        self._failed = time.monotonic(), said
        self._soon.set()

    def is_well(self) -> None:
        """Kafka has just acknowledged a request."""
        self._failed = 0.0, ""
        if self._found:
            self._note("")

    def stop(self) -> None:
        """Ends the thread."""
        self._thread.stopping.set()
        self._soon.set()
        self._thread.stop()

    def _run(self) -> None:
        brokers = Brokers(self._url, self._timeout)
        try:
            self._look(brokers)
        finally:
            brokers.close()

    def _look(self, brokers: Brokers) -> None:
        while not self._thread.stopping.is_set():
            try:
                in_sync = brokers.topic().min_in_sync
                short = self._short(brokers, in_sync)
                if self._reads:
                    KAFKA_LAG.set(sum(each.records for each in brokers.lag()))
                self._note(short)
            except HeadraceError as error:
                self._note(str(error))
            KAFKA_AWAY.set(bool(self.trouble))
            self._soon.wait(_IN_TROUBLE_SECONDS if self.trouble else _EVERY_SECONDS)
            self._soon.clear()

    def _short(self, brokers: Brokers, in_sync: int) -> str:
        """What is missing for an acknowledgement. Empty: nothing."""
        partitions = brokers.partitions()
        short = sum(1 for each in partitions.values() if each.leader < 0 or len(each.isrs) < in_sync)
        if not short:
            return ""
        return (
            f"Kafka cannot acknowledge: {short} of {len(partitions)} partitions of {self._url.topic} have fewer than {in_sync} "
            "replicas in sync (min.insync.replicas)."
        )

    def _note(self, trouble: str) -> None:
        if bool(trouble) != bool(self._found):
            if trouble:
                log.warning("kafka cannot take requests", reason=trouble)
            else:
                log.info("kafka takes requests again")
        self._found = trouble
