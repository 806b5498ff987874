"""The parts of this process that must not end by themselves: its servers, threads and tasks.

A part that ends without being asked is counted, logged and run again after a pause. Until it runs steadily again, `down()`
names it. `/healthz` then answers 503 with its name; so does `/readyz` if the part is needed to take requests.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from headrace.telemetry.logging import log
from headrace.telemetry.metrics import PART_RESTARTS


@dataclass(frozen=True, slots=True)
class Times:
    """When a part that ended runs again, and when it counts as well. In seconds."""

    first_pause: float = 0.1
    """The pause after its first end. Each pause is twice as long as the one before it."""
    longest_pause: float = 1.0
    """So a part works again within two seconds after its trouble has ended."""
    well: float = 0.5
    """A part is well again once it has run for this time. A part that ends at once, again and again, never is."""
    steady: float = 30.0
    """After a part has run for this time, its next end is treated as its first: it is logged, and the pause is the shortest."""


TIMES = Times()


@dataclass(frozen=True, slots=True)
class Down:
    """A part that does not run. `since` is in Unix seconds. `error` says what ended it."""

    part: str
    since: float
    error: str
    takes_requests: bool


class Part:
    """The state of one part. The code that runs the part calls `enter`, `runs`, `ended` and `leave`, as `PartThread` and
    `PartTask` do.

    `takes_requests`: no request can be accepted without this part. `lives`, if given, is a second test that `down()` makes.
    """

    def __init__(
        self, name: str, takes_requests: bool = False, lives: Callable[[], bool] | None = None, times: Times = TIMES
    ) -> None:
        self.name = name
        self._times = times
        self._takes_requests = takes_requests
        self._lives = lives
        self._down: Down | None = None  # set when it ends, cleared when it is well again
        self._running = True
        self._gone: Down | None = None  # set while `lives` says no
        self._began = time.monotonic()
        self._pause = 0.0
        self._said = ""

    def enter(self) -> None:
        """Adds this part to those that `down()` looks at."""
        with _lock:
            _parts.append(self)

    def leave(self) -> None:
        """Takes this part away from those that `down()` looks at: it was asked to end."""
        with _lock, suppress(ValueError):
            _parts.remove(self)

    def runs(self) -> None:
        """Notes that it begins to run. It is well again after `Times.well`."""
        self._began, self._running = time.monotonic(), True

    def ended(self, error: BaseException | None) -> float:
        """Notes that it ended unasked, with the error that it raised, if any. Returns the seconds to wait before it runs
        again."""
        if time.monotonic() - self._began >= self._times.steady:
            self._pause, self._said = 0.0, ""
        self._pause = min(self._times.longest_pause, self._pause * 2 or self._times.first_pause)
        reason = "it returned"
        with suppress(Exception):  # if there is no memory for a message, the part still runs again
            reason = f"{type(error).__name__}: {str(error)[:500]}" if error is not None else reason
        since = self._down.since if self._down else time.time()
        self._running, self._down = False, Down(self.name, since, reason, self._takes_requests)
        with suppress(Exception):
            PART_RESTARTS.labels(self.name).inc()
            if reason != self._said:
                self._said = reason
                log.error("part ended: starting it again", part=self.name, error=reason, exc_info=error)
        return self._pause

    def down(self) -> Down | None:
        """What is wrong with this part. None while it runs."""
        if self._lives is None or self._lives():
            self._gone = None
            if self._running and time.monotonic() - self._began >= self._times.well:
                self._down = None
            return self._down
        if self._gone is None:
            self._gone = self._down or Down(self.name, time.time(), "it has ended", self._takes_requests)
        return self._gone


_lock = threading.Lock()
_parts: list[Part] = []


def down() -> list[Down]:
    """The parts of this process that do not run now. No I/O."""
    with _lock:
        return [found for part in _parts if (found := part.down()) is not None]


class PartThread:
    """A thread that runs `body`, and runs it again whenever it ends, until `stop()`. `body` must return soon after `stopping`
    is set."""

    def __init__(self, name: str, body: Callable[[], None], takes_requests: bool = False, times: Times = TIMES) -> None:
        self.stopping = threading.Event()
        self._body = body
        self._thread = threading.Thread(target=self._keep, name=f"headrace-{name}", daemon=True)
        self._part = Part(name, takes_requests, self._thread.is_alive, times)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()
        self._part.enter()

    def stop(self, seconds: float | None = None) -> None:
        """Asks the thread to end, and waits until it has, or for so many seconds."""
        self._part.leave()
        self.stopping.set()
        self._thread.join(seconds)

    def _keep(self) -> None:
        while not self.stopping.is_set():
            error: BaseException | None = None
            self._part.runs()
            try:
                self._body()
            except BaseException as caught:  # whatever it is: the thread must not end
                error = caught
            if error is not None or not self.stopping.is_set():
                self.stopping.wait(self._part.ended(error))


class PartTask:
    """A task of the running event loop. It runs `body`, and runs it again whenever it ends, until `stop()`."""

    def __init__(
        self, name: str, body: Callable[[], Coroutine[Any, Any, None]], takes_requests: bool = False, times: Times = TIMES
    ) -> None:
        self._body = body
        self._part = Part(name, takes_requests, times=times)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts the task."""
        self._task = asyncio.get_running_loop().create_task(self._keep())
        self._part.enter()

    async def stop(self) -> None:
        """Cancels the task, and waits until it has ended."""
        self._part.leave()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _keep(self) -> None:
        while True:
            self._part.runs()
            # The body is a task of its own, so that a cancellation from within it is seen as an end that nobody asked for.
            running = asyncio.ensure_future(self._body())
            try:
                await asyncio.wait([running])
            except asyncio.CancelledError:
                running.cancel()
                await asyncio.wait([running])
                raise
            error = asyncio.CancelledError("it was cancelled") if running.cancelled() else running.exception()
            await asyncio.sleep(self._part.ended(error))
