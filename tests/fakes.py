"""Little implementations of Headrace's seams, for unit tests: they do no I/O, and pass the contract suite of their seam."""

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

from headrace.errors import QueueFull, QueueUnavailable, Unroutable
from headrace.mlflow.experiments import Experiments
from headrace.processor.route import Route
from headrace.queue import Item, Size


class MemoryQueue:
    """A `Queue` in memory. `kept` stands for its disk: a queue that is opened on it later hands out what is left there."""

    def __init__(self, max_bytes: int = 1 << 20, kept: dict[int, tuple[int, bytes]] | None = None) -> None:
        self._max_bytes = max_bytes
        self._kept: dict[int, tuple[int, bytes]] = {} if kept is None else kept
        """Number → when it was offered, and its envelope."""
        self._changed = threading.Condition()
        self._next = max(self._kept, default=0) + 1
        self._claimed_up_to = 0
        self._refusal = ""
        self._closed = False
        self.unavailable = ""
        """Not empty: offers fail with this text, as if the disk were gone."""

    def offer(self, envelope: bytes) -> "Future[None]":
        """See `Queue.offer`."""
        future: Future[None] = Future()
        with self._changed:
            if self._closed or self.unavailable:
                raise QueueUnavailable(self.unavailable or "closed")
            if self._bytes() + len(envelope) > self._max_bytes:
                self._refusal = "full"
                raise QueueFull("full")
            self._kept[self._next] = time.time_ns(), envelope
            self._next += 1
            self._changed.notify_all()
        future.set_result(None)
        return future

    def claim(self, max_bytes: int, timeout: float) -> list[Item]:
        """See `Queue.claim`."""
        items: list[Item] = []
        total = 0
        with self._changed:
            self._changed.wait_for(lambda: self._unclaimed() or self._closed, timeout)
            for number in [] if self._closed else self._unclaimed():
                _, envelope = self._kept[number]
                if items and total + len(envelope) > max_bytes:
                    break
                items.append(Item(number, envelope))
                total, self._claimed_up_to = total + len(envelope), number
        return items

    def settle(self, items: Sequence[Item]) -> None:
        """See `Queue.settle`."""
        with self._changed:
            for item in items:
                assert isinstance(item.token, int)
                del self._kept[item.token]
            self._refusal = ""
            self._changed.notify_all()

    def size(self) -> Size:
        """See `Queue.size`."""
        with self._changed:
            oldest = min((offered for offered, _ in self._kept.values()), default=0)
            return Size(len(self._kept), self._bytes(), self._max_bytes, oldest, self.unavailable or self._refusal)

    def drain(self, timeout: float) -> bool:
        """See `Queue.drain`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._kept, timeout)

    def close(self) -> None:
        """See `Queue.close`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _bytes(self) -> int:
        return sum(len(envelope) for _, envelope in self._kept.values())

    def _unclaimed(self) -> list[int]:
        return [number for number in self._kept if number > self._claimed_up_to]


class ReadyExperiments(Experiments):
    """Experiments of a database that MLflow has started on. It knows those of `ids` by name, and asks nobody."""

    def __init__(self, ids: Mapping[str, int] | None = None) -> None:
        self._ids = dict(ids or {})

    def cached(self, route: Route) -> int | None:
        """See `Experiments.cached`."""
        return route.id if route.id is not None else self._ids.get(route.name)

    def look_up(self, route: Route) -> int:
        """See `Experiments.look_up`."""
        raise Unroutable(f"MLflow has no experiment named {route.name!r}.")

    def wait_for_mlflow(self) -> None:
        """See `Experiments.wait_for_mlflow`. It has started."""
