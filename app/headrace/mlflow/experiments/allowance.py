"""How many experiments clients may make: in one request, and in a minute. Pure but for the clock; thread-safe.

What was named while nobody could tell whether it exists counts as new, once: it will be created if it does not.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence

from headrace.errors import ExperimentsNotReady, RateLimited
from headrace.telemetry.metrics import EXPERIMENTS_LIMITED

MAX_CACHED = 10_000
"""Names, and looked-up experiments, that are remembered."""

_MAX_RETRY_AFTER = 5
"""Seconds. Exporters give up on a batch after 10 s in all."""


class Allowance:
    """What one process may create: `per_minute` (its share of it) saved up for at most a minute, and never more than is there.

    Requests and the worker have an account each. What the worker creates was charged to a request's account when it came, so
    one who spends that account at every moment does not hold up what was accepted before.
    """

    def __init__(self, per_request: int, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_request = min(per_request, per_minute)  # more than that could never be taken at once
        self._requests = _Account(per_minute, clock)
        self._worker = _Account(per_minute, clock)
        self._lock = threading.Lock()
        self._named: dict[str, None] = {}

    def take(self, count: int) -> None:
        """Charges a request for experiments that it is about to create.

        Raises:
            RateLimited: so many may not be created now; nothing is charged.
        """
        with self._lock:
            if (wait := self._requests.take(count)) > 0:
                raise _limited(wait)

    def give_back(self, count: int) -> None:
        """Another process has created so many of them meanwhile."""
        with self._lock:
            self._requests.take(-count)

    def name(self, names: Sequence[str]) -> None:
        """Charges a request for names that cannot be looked up now, but for those that were charged already.

        A request with more than one may create is charged for a part, and passes once it has come often enough.

        Raises:
            RateLimited: they may not all be named now.
        """
        with self._lock:
            new = [name for name in names if name not in self._named]
            now = new[: self.per_request]
            if now and (wait := self._requests.take(len(now))) > 0:
                raise _limited(wait)
            self._named.update(dict.fromkeys(now))
            while len(self._named) > MAX_CACHED:
                del self._named[next(iter(self._named))]
            if len(new) > len(now):
                raise _limited(1)

    def take_queued(self) -> None:
        """Charges the worker for one experiment, which a queued request names.

        Raises:
            ExperimentsNotReady: it may not be created now: wait.
        """
        with self._lock:
            if (wait := self._worker.take(1)) > 0:
                EXPERIMENTS_LIMITED.labels("queued").inc()
                raise ExperimentsNotReady(
                    "More new experiments are named than HEADRACE_MAX_NEW_EXPERIMENTS_PER_MINUTE allows: "
                    f"the next one is created in {math.ceil(wait)} s."
                )


class _Account:
    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._size = per_minute
        self._left = float(per_minute)
        self._clock = clock
        self._filled = clock()

    def take(self, count: int) -> float:
        """Takes them all and returns 0, or takes none and returns after how many seconds they will be there."""
        now = self._clock()
        self._left = min(self._size, self._left + (now - self._filled) * self._size / 60)
        self._filled = now
        if count > self._left:
            return (count - self._left) * 60 / self._size
        self._left = min(self._size, self._left - count)
        return 0.0


def _limited(wait: float) -> RateLimited:
    EXPERIMENTS_LIMITED.labels("minute").inc()
    seconds = min(_MAX_RETRY_AFTER, max(1, math.ceil(wait)))
    return RateLimited(
        "More new experiments are named than HEADRACE_MAX_NEW_EXPERIMENTS_PER_MINUTE allows: nothing of this request is "
        f"stored. Send it again in {seconds} s, or create the experiments in MLflow.",
        seconds,
    )
