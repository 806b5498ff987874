"""`make bench-fleet`: 1, 2 and 4 receivers before Kafka, and as many writers behind it, side by side. See docs/scale.md.

    PYTHONPATH=tests python -m bench.kafka --members 1,2,4 --seconds 8
    PYTHONPATH=tests python -m bench.kafka --brokers host:9092      # brokers that are there; it makes topics of its own

Each round fills a topic through so many receivers, a load generator each, and then has so many writers write it into a fresh
database. All of that shares this machine. So the rates say where it bends here; the CPU a span says what a machine costs.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.lab import Lab, count_spans, cpu_of
from bench.load import Outcome, Plan, generate
from bench.servers import free_port
from rich.console import Console
from rich.markdown import Markdown

from headrace.config import MLFLOW_DEFAULTS
from headrace.config.kafka import KafkaUrl
from headrace.errors import QueueUnavailable
from headrace.local.postgres import EmbeddedPostgres
from headrace.queue.kafka.topic import Brokers

PARTITIONS = 12
_WAIT_SECONDS = 600
console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)


@dataclass(frozen=True, slots=True)
class Round:
    """So many receivers and writers: spans a second, and microseconds of CPU a span."""

    members: int
    spans: int
    acknowledged: float
    written: float
    receiver: float
    generator: float
    writer: float
    postgres: float
    brokers: float
    """While the receivers sent to them."""
    wal: float
    """Bytes of Postgres' write-ahead log a span."""


@dataclass(frozen=True, slots=True)
class Kafka:
    """Brokers. `pids`: of those that run here, else none."""

    addresses: str
    pids: Sequence[int]

    def topic(self, name: str) -> str:
        """Makes a topic, and returns its HEADRACE_QUEUE_URL."""
        from confluent_kafka.admin import AdminClient, NewTopic

        admin = AdminClient({"bootstrap.servers": self.addresses})
        replicas = min(3, len(admin.list_topics(timeout=60).brokers))
        config = {"min.insync.replicas": str(max(1, replicas - 1))}
        admin.create_topics([NewTopic(name, PARTITIONS, replicas, config=config)])[name].result(60)
        return f"kafka://{self.addresses}/{name}"

    def cpu(self) -> float:
        """Seconds of all brokers so far."""
        return sum(map(cpu_of, self.pids))


def main() -> int:
    """The exit status: 1 if a span that was acknowledged is not in its table."""
    parser = argparse.ArgumentParser(prog="python -m bench.kafka", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--members", default="1,2,4", help="receivers, and writers, of each round [%(default)s]")
    parser.add_argument("--seconds", type=float, default=8.0, help="that each round sends [%(default)s]")
    parser.add_argument(
        "--warm", type=float, default=20.0, help="that the brokers are sent before the first round [%(default)s]"
    )
    parser.add_argument("--shape", default="10x10", help="as in `python -m bench` [%(default)s]")
    parser.add_argument("--connections", type=int, default=8, help="of all generators together [%(default)s]")
    parser.add_argument("--brokers", default="", help="host:port,… of a Kafka that is there [three brokers are started]")
    options = parser.parse_args()
    os.environ.update(MLFLOW_DEFAULTS)
    with (
        _kafka(options.brokers) as kafka,
        tempfile.TemporaryDirectory(prefix="headrace-bench-") as directory,
        EmbeddedPostgres(Path(directory, "postgres")) as postgres,
    ):
        lab = Lab(Path(directory), postgres.url)
        _warm_up(kafka, lab, options)
        rounds: list[Round] = []
        for number in options.members.split(","):
            rounds.append(_round(kafka, lab, int(number), options))
            console.print(Markdown("\n".join(_table(rounds))))  # so far: a run may be ended before its last round
    return int(any(each.written == 0 for each in rounds))


@contextmanager
def _kafka(addresses: str) -> Iterator[Kafka]:
    if addresses:
        yield Kafka(addresses, ())
        return
    from brokers import cluster  # of tests/

    with cluster(3) as made:
        yield Kafka(made.addresses, [node.process.pid for node in made.nodes if node.process])


def _warm_up(kafka: Kafka, lab: Lab, options: argparse.Namespace) -> None:
    """Brokers that have just started compile themselves for some seconds, and take twice the CPU meanwhile."""
    console.print(f"warming up the brokers for {options.warm:.0f} s …")
    plan = Plan(options.shape, options.connections, options.warm, requests=1_000_000)
    with lab.database() as database:
        _receive(kafka, kafka.topic(f"bench-{os.getpid()}-warm"), database, plan, 1, lab.directory)


def _round(kafka: Kafka, lab: Lab, members: int, options: argparse.Namespace) -> Round:
    console.print(f"{members} receivers, then {members} writers …")
    url = kafka.topic(f"bench-{os.getpid()}-{members}")
    plan = Plan(options.shape, max(1, options.connections // members), options.seconds, requests=1_000_000)
    with lab.database() as database:
        sent, receiver, brokers = _receive(kafka, url, database, plan, members, lab.directory)
        spans = sum(each.spans for each in sent)
        seconds = max(each.last for each in sent) - min(each.first for each in sent)
        before, wal = lab.cpu(), lab.wal()
        with _members("write", url, database, members, lab.directory) as writers:
            written = spans * _share_a_second(url)
            writer = sum(cpu_of(pid) - start for pid, start, _ in writers)
        found, micro = count_spans(database), 1e6 / spans
        generator = sum(each.cpu for each in sent)
        cpu = (receiver * micro, generator * micro, writer * micro, (lab.cpu() - before) * micro, brokers * micro)
        log = (lab.wal() - wal) / spans
        return Round(members, spans, spans / seconds, written if found >= spans else 0.0, *cpu, log)


def _receive(
    kafka: Kafka, url: str, database: str, plan: Plan, members: int, directory: Path
) -> tuple[list[Outcome], float, float]:
    """Fills the topic. Returns what came of each generator, and the seconds of CPU of the receivers and of the brokers."""
    with _members("receive", url, database, members, directory) as receivers, ThreadPoolExecutor(members) as pool:
        before = [cpu_of(pid) for pid, *_ in receivers], kafka.cpu()
        plans = [Plan(**{name: getattr(plan, name) for name in plan.__slots__} | {"port": port}) for *_, port in receivers]
        sent = list(pool.map(generate, plans))
        used = sum(cpu_of(pid) for pid, *_ in receivers) - sum(before[0])
        return sent, used, kafka.cpu() - before[1]


@contextmanager
def _members(role: str, url: str, database: str, members: int, directory: Path) -> Iterator[list[tuple[int, float, int]]]:
    """So many processes of a role that answer: the id of each, its seconds of CPU until then, and its port."""
    with ExitStack() as stack:
        ports = [free_port() for _ in range(members)]
        started = [stack.enter_context(_process(role, url, database, port, directory / f"{role}-{port}")) for port in ports]
        for port in ports:
            _wait_until_healthy(port)
        yield [(process.pid, cpu_of(process.pid), port) for process, port in zip(started, ports, strict=True)]


@contextmanager
def _process(role: str, url: str, database: str, port: int, directory: Path) -> Iterator["subprocess.Popen[bytes]"]:
    directory.mkdir()
    settings: dict[str, Any] = {
        "QUEUE_URL": url, "DATABASE_URL": database, "DATA_DIR": directory, "HTTP_PORT": port, "GRPC_PORT": free_port(),
    }  # fmt: skip
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    environment = kept | {f"HEADRACE_{name}": str(value) for name, value in settings.items()}
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "headrace", role], env=environment, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def _wait_until_healthy(port: int) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).close()
            return
        time.sleep(0.05)
    raise RuntimeError(f"nothing answers at port {port}")


def _share_a_second(url: str) -> float:
    """Waits until the writers have committed all that the topic has. Which share of it have they written in a second? Their
    start does not count: the clock runs from the first commit that is seen."""
    brokers, deadline = Brokers(KafkaUrl.parse(url)), time.monotonic() + _WAIT_SECONDS
    first: tuple[float, int] | None = None
    while time.monotonic() < deadline:
        with suppress(QueueUnavailable):
            found = brokers.lag()
            total, left = sum(each.end - each.first for each in found), sum(each.records for each in found)
            if not left:
                brokers.close()
                since, then = first or (time.monotonic(), 0)
                return then / total / max(1e-9, time.monotonic() - since)
            if left < total and first is None:
                first = time.monotonic(), left
        time.sleep(0.1)
    raise RuntimeError("the writers do not come to an end")


def _table(rounds: Sequence[Round]) -> list[str]:
    """Markdown."""
    first = rounds[0]
    head = (
        "receivers, writers",
        "spans",
        "acked/s",
        "×",
        "written/s",
        "×",
        "receiver",
        "brokers",
        "writer",
        "Postgres",
        "load",
        "log",
    )
    rows = [
        (
            *(f"{r.members}", f"{r.spans:,}"),
            *(f"{r.acknowledged:,.0f}", f"{r.acknowledged / first.acknowledged:.2f}"),
            *(f"{r.written:,.0f}", f"{r.written / first.written:.2f}" if first.written else "–"),
            *(f"{micro:.0f} µs" for micro in (r.receiver, r.brokers, r.writer, r.postgres, r.generator)),
            f"{r.wal:,.0f} B",
        )
        for r in rounds
    ]
    return [f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows)]


if __name__ == "__main__":
    sys.exit(main())
