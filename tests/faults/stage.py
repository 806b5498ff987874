"""What the faults break: a Postgres, a proxy before it, and `headrace serve`, each of which can be killed and started again."""

import json
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

import psutil
from conftest import Launcher, Running, free_port, wait_until

from faults.cluster import Cluster
from faults.load import Load
from faults.proxy import Proxy
from faults.signals import Programs, Promised, joined
from faults.table import Row

_RECOVERY_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Usage:
    """Of all processes of one Headrace: resident memory in bytes, and open file descriptors."""

    rss: int
    descriptors: int

    def above(self, before: "Usage") -> bool:
        """Whether it has grown by more than what is chance."""
        return self.rss > before.rss * 1.25 + 2**26 or self.descriptors > before.descriptors + 16

    def __str__(self) -> str:
        return f"{self.rss / 2**20:,.0f} MiB, {self.descriptors} descriptors"


@dataclass
class Stage:
    """`seconds`: how long a fault lasts. `signals`: whether programs send log records and metrics as well."""

    cluster: Cluster
    proxy: Proxy
    launcher: Launcher
    rng: Random
    seconds: float = 1.0
    pause: float = 0.03
    signals: bool = False
    promised: list[Promised] = field(default_factory=list)
    """What those programs were promised."""
    _ports: tuple[int, int] = field(default_factory=lambda: (free_port(), free_port()))

    def start(self, workers: int, direct: bool = False) -> Running:
        """`headrace serve` on the same data directory and ports as ever. Looks experiments up each second: more to go wrong.

        `direct`: past the proxy.
        """
        url = self.cluster.url if direct else self.cluster.url.replace(str(self.cluster.port), str(self.proxy.port))
        http, grpc = self._ports
        self.running = self.launcher(
            "serve", database_url=url, workers=workers, experiment_cache_seconds=1, http_port=http, grpc_port=grpc
        )
        return self.running

    def processes(self) -> list[psutil.Process]:
        """Headrace's, the first one first."""
        parent = psutil.Process(self.running.process.pid)
        return [parent, *parent.children(recursive=True)]

    def workers(self) -> list[psutil.Process]:
        """Its worker processes, and no other child."""
        return workers(self.running)

    def kill(self) -> None:
        """SIGKILL to all processes of Headrace."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.running.process.wait(10)
        self.launcher.started.remove(self.running)

    def wait(self) -> None:
        """Lets the fault last."""
        time.sleep(self.seconds)

    def queue(self) -> dict[str, Any]:
        """What /readyz says of it; empty where nothing answers."""
        with suppress(OSError):
            return dict(json.loads(_get(self.running, "/readyz")).get("queue", {}))
        return {}

    def drained(self) -> None:
        """Returns when nothing waits in the queues any more."""
        wait_until(lambda: self.queue().get("requests") == 0, 600, "an empty queue")
        if self.signals:
            wait_until(lambda: joined(self.cluster.url), 120, "that no log record waits for its span")

    def writes(self) -> None:
        """Returns when writing goes on: what was accepted before this call is written."""
        asked = time.monotonic()

        def written() -> bool:
            queue = self.queue()
            oldest = time.monotonic() - queue.get("oldest_seconds", float("inf"))
            return queue.get("requests") == 0 or oldest > asked

        wait_until(written, _RECOVERY_SECONDS, "that writing goes on")

    def retries(self) -> float:
        """How often Headrace has tried a write again, or in halves, since it was started."""
        return sum(_metric(self.running, f"headrace_{name}_total") for name in ("write_retries", "batches_split"))

    def usage(self) -> Usage:
        """Of what lives now."""
        rss, descriptors = 0, 0
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                rss += process.memory_info().rss
                descriptors += process.num_fds()
        return Usage(rss, descriptors)

    @contextmanager
    def load(self, row: Row, hang_ups: int = 0) -> Iterator[Load]:
        """Clients that send from before the block until after it; what they were promised is noted in the row."""
        seed = f"{self.rng.random()}"
        with ExitStack() as stack:
            if self.signals:
                self.promised += stack.enter_context(Programs(self.running, self.cluster.url, seed)).promised
            load = stack.enter_context(Load(self.running, seed, pause=self.pause, hang_ups=hang_ups))
            before = load.ledger.requests
            wait_until(lambda: load.ledger.requests > before + 10, _RECOVERY_SECONDS, "requests")
            yield load
        row.ledgers.append(load.ledger)


def workers(running: Running) -> list[psutil.Process]:
    """The worker processes of a `headrace serve`, and no other child of it."""
    found = []
    for child in psutil.Process(running.process.pid).children():
        with suppress(psutil.NoSuchProcess):  # or a zombie, not reaped yet
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


def _metric(running: Running, name: str) -> float:
    lines = _get(running, "/metrics").splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(f"{name} ")))


def _get(running: Running, path: str) -> str:
    with urllib.request.urlopen(f"{running.url}{path}", timeout=_RECOVERY_SECONDS) as answer:
        return str(answer.read().decode())
