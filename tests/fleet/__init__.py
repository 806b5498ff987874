"""A fleet: three brokers, receivers and writers, all of which are killed at random while clients send."""

import random
import signal
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from brokers import Cluster, Node
from conftest import Launcher, Running, free_port, wait_until
from faults.load import Load, Tally, verify

PARTITIONS = 6
SESSION_SECONDS = 6
CALM_SECONDS = 1.0
"""Between two kills, at the least."""

WEIGHTS = {
    "receiver killed": 3,
    "writer killed": 4,
    "writer leaves": 2,
    "writer paused beyond its session": 1,
    "broker killed": 2,
}
"""What happens → how often, relative to the others."""


@dataclass
class Member:
    """A receiver or a writer: a process of Headrace that is started again with the same settings."""

    command: str
    settings: dict[str, Any]
    running: Running

    def start(self, launch: Launcher) -> None:
        """Starts it again. Does not wait until it answers."""
        self.running = launch(self.command, wait=False, **self.settings)

    def answers(self) -> bool:
        """Whether it does its work."""
        return Launcher._answers(self.running)


@dataclass
class Fleet:
    """Its topic has three replicas. `happened` counts what was done to it."""

    cluster: Cluster
    launch: Launcher
    database_url: str
    receivers: list[Member] = field(default_factory=list)
    writers: list[Member] = field(default_factory=list)
    happened: Counter[str] = field(default_factory=Counter)

    def start(self, receivers: int = 2, writers: int = 2) -> None:
        """Makes the topic, and starts the processes."""
        self.topic = self.cluster.new_topic(PARTITIONS, retention_ms=7 * 86_400_000)
        self.receivers = [self.add("receive") for _ in range(receivers)]
        self.writers = [self.add("write") for _ in range(writers)]

    def add(self, command: str, **more: object) -> Member:
        """Starts one more process, with more settings."""
        number = len(self.launch.started)
        settings: dict[str, Any] = {
            "queue_url": self.cluster.url(self.topic, session_seconds=SESSION_SECONDS),
            "queue_timeout_seconds": 3,
            "database_url": self.database_url,
            "data_dir": self.launch.directory / f"member-{number}",
            "http_port": free_port(),
            "grpc_port": free_port(),
            **more,
        }
        return Member(command, settings, self.launch(command, **settings))

    def run(self, kills: int, seed: int) -> Tally:
        """Kills so many while clients send; then waits until all that was acknowledged is written, and verifies it."""
        rng = random.Random(seed)
        with ExitStack() as stack:
            loads = [
                stack.enter_context(Load(receiver.running, f"fleet/{seed}/{number}", clients=2, pause=0.1))
                for number, receiver in enumerate(self.receivers)
            ]
            while self.happened.total() < kills:
                (what,) = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))
                self._do(what, rng)
                self.happened[what] += 1
                time.sleep(CALM_SECONDS + rng.random())
            for member in (*self.receivers, *self.writers):
                wait_until(member.answers, 120, "it answers")
            time.sleep(CALM_SECONDS)  # so that each client has its last request taken
        wait_until(self._in_sync, 180, "all replicas are in sync")
        self.settle()
        return sum((verify(self.database_url, load.ledger) for load in loads), Tally())

    def _do(self, what: str, rng: random.Random) -> None:
        if what == "broker killed":
            wait_until(self._in_sync, 180, "all replicas are in sync")
            node = rng.choice(self.cluster.nodes)
            node.kill()
            time.sleep(rng.random() * 5)
            node.start()
        elif what == "writer paused beyond its session":
            member = rng.choice(self.writers)
            wait_until(member.answers, 120, "it answers")
            process = member.running.process
            process.send_signal(signal.SIGSTOP)
            time.sleep(SESSION_SECONDS + 3)
            process.send_signal(signal.SIGCONT)
        else:
            member = rng.choice(self.receivers if what == "receiver killed" else self.writers)
            wait_until(member.answers, 120, "it answers")
            if what == "writer leaves":
                assert member.running.stop() == 0
            else:
                member.running.kill()
            member.start(self.launch)

    def bring_back(self, *nodes: Node) -> None:
        """Starts brokers again, and waits until they have caught up."""
        for node in nodes:
            node.start()
        wait_until(self._in_sync, 180, "all replicas are in sync")

    def _in_sync(self) -> bool:
        from confluent_kafka import KafkaException

        try:
            partitions = self.cluster.admin().list_topics(self.topic, timeout=10).topics[self.topic].partitions
        except KafkaException:
            return False
        return bool(partitions) and all(len(each.isrs) == len(self.cluster.nodes) for each in partitions.values())

    def settle(self) -> None:
        """Waits until the writers have committed all that is in the topic."""
        wait_until(lambda: self.lag() == 0, 180, "the writers' lag is 0")

    def lag(self) -> int:
        """How many records wait. -1: the brokers do not say."""
        from headrace.config.kafka import KafkaUrl
        from headrace.errors import QueueUnavailable
        from headrace.queue.kafka.topic import Brokers

        brokers = Brokers(KafkaUrl.parse(self.cluster.url(self.topic)), 10)
        try:
            return sum(each.records for each in brokers.lag())
        except QueueUnavailable:
            return -1
        finally:
            brokers.close()
