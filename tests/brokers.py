"""Real Kafka brokers (KRaft) for the tests, from the jars of Maven Central: one, or three that keep copies of each other."""

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from conftest import database_directory, free_port, wait_until

VERSION = "4.4.0"
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion><groupId>headrace</groupId><artifactId>brokers</artifactId><version>1</version>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{VERSION}</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
"""


def skip_without_kafka() -> None:
    """Skips the test where Kafka's client, Java or Maven is missing."""
    pytest.importorskip("confluent_kafka", reason="Kafka's client, confluent-kafka, is not installed")
    for tool in ("java", "mvn"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")


def jars() -> Path:
    """The directory of Kafka's jars. They are fetched once, and kept for later runs."""
    kept = Path(tempfile.gettempdir()) / f"headrace-kafka-{hashlib.sha256(_POM.encode()).hexdigest()[:16]}"
    if not kept.exists():
        with tempfile.TemporaryDirectory(dir=kept.parent) as directory:
            (Path(directory) / "pom.xml").write_text(_POM)
            command = ["mvn", "-q", "dependency:copy-dependencies", "-DoutputDirectory=libs", "-DincludeScope=runtime"]
            done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=600, check=False)
            assert done.returncode == 0, done.stdout[-2000:]
            try:
                (Path(directory) / "libs").rename(kept)
            except OSError:  # another process was quicker
                assert kept.exists()
    return kept


@dataclass
class Node:
    """One broker, which is a controller, too. It may be killed, stopped, and started again on the same disk and ports."""

    directory: Path
    number: int
    port: int
    controller_port: int
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it, and returns at once."""
        with (self.directory / "log").open("ab") as output:
            heap = ["-Xms96m", "-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
            command = ["java", *heap, "-cp", f"{jars()}/*", "kafka.Kafka", str(self.directory / "server.properties")]
            environment = {**os.environ, "LOG_DIR": str(self.directory)}
            self.process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Sends the signal, and waits for the end."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(60)

    def answers(self) -> bool:
        """Whether its port is open."""
        assert self.process is not None
        assert self.process.poll() is None, (self.directory / "log").read_text()[-3000:]
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@dataclass
class Cluster:
    """Brokers that run. `admin` is a client of theirs."""

    nodes: list[Node]
    made: int = field(default=0)

    @property
    def addresses(self) -> str:
        return ",".join(node.address for node in self.nodes)

    def url(self, topic: str, **parameters: object) -> str:
        """HEADRACE_QUEUE_URL for a topic."""
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        return f"kafka://{self.addresses}/{topic}{'?' if query else ''}{query}"

    def admin(self) -> Any:
        """A client that administers."""
        from confluent_kafka.admin import AdminClient

        return AdminClient({"bootstrap.servers": self.addresses, "log_level": 0})  # it is made anew while brokers are away

    def new_topic(self, partitions: int = 1, **settings: object) -> str:
        """Makes a topic, and returns its name. Settings have `_` in place of `.`."""
        from confluent_kafka.admin import NewTopic

        self.made += 1
        name = f"spans-{os.getpid()}-{self.made}"
        replicas = min(3, len(self.nodes))
        config = {"min.insync.replicas": str(max(1, replicas - 1))}
        config |= {key.replace("_", "."): str(value) for key, value in settings.items()}
        admin = self.admin()
        wait_until(lambda: len(admin.list_topics(timeout=30).brokers) >= replicas, 90, "the brokers know each other")
        admin.create_topics([NewTopic(name, partitions, replicas, config=config)])[name].result(60)
        wait_until(lambda: self._has_leaders(admin, name, partitions), 60, "the topic has leaders")
        return name

    @staticmethod
    def _has_leaders(admin: Any, name: str, partitions: int) -> bool:
        found = admin.list_topics(name, timeout=30).topics[name].partitions
        return len(found) == partitions and all(each.leader >= 0 for each in found.values())


@contextmanager
def cluster(size: int = 1, more: Mapping[str, object] | None = None) -> Iterator[Cluster]:
    """So many brokers, one or three; ended with the block. `more`: settings beside those that all have; `,…` is appended."""
    skip_without_kafka()
    with database_directory() as directory:
        nodes = [Node(directory / str(n), n, free_port(), free_port()) for n in range(1, size + 1)]
        _format(nodes, more or {})
        try:
            for node in nodes:
                node.start()
            for node in nodes:
                wait_until(node.answers, 120, "a broker does not answer")
            yield Cluster(nodes)
        finally:
            for node in nodes:
                node.kill()


def _format(nodes: Sequence[Node], more: Mapping[str, object]) -> None:
    """Writes each node's settings, and makes its disk."""
    tool = ["java", "-cp", f"{jars()}/*", "-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool"]
    ids = [urlsafe_b64encode(uuid4().bytes).decode().rstrip("=") for _ in range(len(nodes) + 1)]  # as `random-uuid` makes them
    initial = ",".join(
        f"{node.number}@127.0.0.1:{node.controller_port}:{id_}" for node, id_ in zip(nodes, ids[1:], strict=True)
    )
    replicas = min(3, len(nodes))
    for node in nodes:
        node.directory.mkdir()
        settings: dict[str, object] = {
            "process.roles": "broker,controller",
            "node.id": node.number,
            "listeners": f"PLAINTEXT://127.0.0.1:{node.port},CONTROLLER://127.0.0.1:{node.controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{node.port}",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.bootstrap.servers": ",".join(f"127.0.0.1:{each.controller_port}" for each in nodes),
            "log.dirs": node.directory / "data",
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": replicas,
            "offsets.topic.num.partitions": 3,
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": max(1, replicas - 1),
            "min.insync.replicas": max(1, replicas - 1),
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 1000,
            "message.max.bytes": 4_000_000,
            "broker.session.timeout.ms": 3000,
            "broker.heartbeat.interval.ms": 500,
            "log.cleaner.dedupe.buffer.size": 8_000_000,
        }
        for name, value in more.items():
            settings[name] = f"{settings[name]}{value}" if str(value).startswith(",") else value
        file = node.directory / "server.properties"
        file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        _run([*tool, "format", "--initial-controllers", initial, f"--cluster-id={ids[0]}", "-c", str(file)])


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
