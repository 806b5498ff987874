"""Whether a queue may take more. It has two high-water marks, and one low-water mark for both, so that the answer does not
change back and forth."""

import shutil
import time
from contextlib import suppress
from pathlib import Path

from headrace.errors import QueueFull, QueueUnavailable
from headrace.telemetry.logging import log

_LOOK_SECONDS = 0.2
"""How many seconds the number of free bytes on the disk is used before it is read again."""


class Capacity:
    """The capacity of the queue in `directory`. Not thread-safe: the queue's lock guards it.

    High water: the queue holds `max_bytes` bytes of envelopes, or the disk has fewer than `min_free_bytes` bytes free. From
    then on every offer is refused until the low water: the queue holds `resume_percent` of `max_bytes` or less, and the disk
    has `min_free_bytes` * 100 / `resume_percent` bytes free. If `min_free_bytes` is 0, the disk is not looked at.
    """

    def __init__(self, directory: Path, max_bytes: int, min_free_bytes: int, resume_percent: int) -> None:
        self._directory = directory
        self.max_bytes, self._low_bytes = max_bytes, max_bytes * resume_percent // 100
        self._min_free, self._high_free = min_free_bytes, min_free_bytes * 100 // resume_percent
        self._look_again, self._free_then, self._taken = 0.0, 0, 0
        self.refusal = ""
        """Why no offer is accepted now. Empty: offers are accepted."""

    def take(self, held: int, more: int) -> None:
        """Returns if `more` bytes may be added to the `held` bytes.

        Raises:
            QueueFull: they may not. QueueUnavailable: it cannot be found out, for example because the directory is gone.
        """
        self.look(held)
        if not self.refusal:
            self._refuse(self._too_full(held, more) or self._too_little_free(more))
        if self.refusal:
            raise QueueFull(f"{self.refusal} Send the batch again later.")
        self._taken += more

    def look(self, held: int) -> None:
        """Ends a refusal once the low water is reached, whichever high water began it."""
        with suppress(QueueUnavailable):  # the disk cannot be looked at: the refusal stays
            if self.refusal and held <= self._low_bytes and (not self._min_free or self._free() >= self._high_free):
                self.refusal = ""
                log.info("requests are taken again", queued_bytes=held)

    def _refuse(self, reason: str) -> None:
        if reason:
            log.warning("requests are refused", reason=reason)
            self.refusal = reason

    def _too_full(self, held: int, more: int) -> str:
        if held + more <= self.max_bytes:
            return ""
        return (
            f"The queue holds {held} of {self.max_bytes} bytes (HEADRACE_QUEUE_MAX_BYTES) and Postgres does not keep up: "
            f"it takes requests again from {self._low_bytes} bytes on."
        )

    def _too_little_free(self, more: int) -> str:
        if not self._min_free or (free := self._free()) - more >= self._min_free:
            return ""
        return (
            f"The disk of {self._directory} has {free} bytes free (HEADRACE_MIN_FREE_BYTES: {self._min_free}): requests are "
            f"taken again from {self._high_free} bytes on."
        )

    def _free(self) -> int:
        """Bytes on the queue's disk that this process may still use, less what came since it was looked at.

        statvfs takes a microsecond, but gives up Python's lock, which the event loop then waits for, for up to 5 ms.
        """
        if (now := time.monotonic()) >= self._look_again:
            try:
                self._free_then, self._taken = shutil.disk_usage(self._directory).free, 0
            except OSError as error:
                raise QueueUnavailable(f"The queue's directory {self._directory} cannot be used: {error.strerror}.") from None
            self._look_again = now + _LOOK_SECONDS
        return self._free_then - self._taken
