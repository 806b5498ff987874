"""Limits of spans and bytes a second: for each API key, and for all clients together. No I/O; it reads the clock and counts.

The limits are token buckets that may go into debt. A request is accepted whole while its bucket holds anything at all:
otherwise a request larger than the burst would be refused for ever. Later requests wait until the debt is paid.
"""

import math
import time
from collections.abc import Callable, MutableMapping

from cachetools import LRUCache

from headrace.config import Config
from headrace.errors import RateLimited
from headrace.telemetry.metrics import RATE_LIMITED

_MAX_RETRY_AFTER = 5
"""Seconds. Exporters give up on a batch after 10 s in all."""

_MAX_BUCKETS = 20_000
"""Of 10,000 API keys, some 8 MB. A key that was revoked, or has another limit now, leaves its bucket behind: the one that was
not used for longest goes first. By then it is full, as a new one is, unless so many keys send at the same time."""


class Bucket:
    """Fills with `rate` tokens a second, and holds at most `burst_seconds` worth of them."""

    def __init__(self, rate: float, burst_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._size = rate * burst_seconds
        self._clock = clock
        self._tokens = self._size
        self._filled = clock()

    def wait(self) -> float:
        """Seconds until something can be taken. 0: now."""
        now = self._clock()
        self._tokens = min(self._size, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        return 0.0 if self._tokens > 0 else (1 - self._tokens) / self._rate

    def take(self, count: float) -> None:
        """Takes `count` tokens, even if that leaves fewer than none."""
        self._tokens -= count


class Limits:
    """The buckets of one process. Not thread-safe: only the event loop may call it."""

    def __init__(self, config: Config) -> None:
        self._burst_seconds = config.burst_seconds
        self._share = 1 / config.workers  # the kernel spreads connections evenly over the worker processes
        self._all: dict[str, Bucket] = {}
        if config.max_spans_per_second:
            self._all["spans"] = Bucket(config.max_spans_per_second * self._share, config.burst_seconds)
        if config.max_bytes_per_second:
            self._all["bytes"] = Bucket(config.max_bytes_per_second * self._share, config.burst_seconds)
        self._of_keys: MutableMapping[tuple[str, str, float], Bucket] = LRUCache(_MAX_BUCKETS)

    def charge(self, unit: str, count: int, key_id: str = "", key_rate: float | None = None) -> None:
        """Takes `count` tokens from the bucket for all and from the key's bucket, or from neither. `unit` is "spans" or
        "bytes".

        Raises:
            RateLimited: one of them is empty. It says which, and when to send again.
        """
        buckets: list[tuple[str, Bucket]] = []
        if (bucket := self._all.get(unit)) is not None:
            buckets.append(("all", bucket))
        if key_rate is not None:
            buckets.append(("key", self._of_key(unit, key_id, key_rate)))
        for scope, bucket in buckets:
            if (wait := bucket.wait()) > 0:
                RATE_LIMITED.labels(scope, unit).inc()
                whose = f"HEADRACE_MAX_{unit.upper()}_PER_SECOND" if scope == "all" else f"the API key's {unit} a second"
                seconds = min(_MAX_RETRY_AFTER, max(1, math.ceil(wait)))
                raise RateLimited(f"More {unit} than {whose} allows: send the batch again in {seconds} s.", seconds)
        for _, bucket in buckets:
            bucket.take(count)

    def _of_key(self, unit: str, key_id: str, rate: float) -> Bucket:
        """The bucket of this key. One whose limit was changed gets a new one."""
        bucket = self._of_keys.get((key_id, unit, rate))
        if bucket is None:
            bucket = self._of_keys[key_id, unit, rate] = Bucket(rate * self._share, self._burst_seconds)
        return bucket
