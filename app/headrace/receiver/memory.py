"""One limit on the memory that all requests of a process take, from the first byte of each until its answer.

What a request becomes, inflated and parsed, may go over the limit while it is nearly alone; otherwise a large request could be
refused for ever. A request that is refused gives back at once all that it holds; so of several that grow together, the last one
can go on.
"""

import threading

from headrace.errors import InFlightFull
from headrace.telemetry.metrics import IN_FLIGHT_BYTES

_ALONE = 8
"""A request is nearly alone while the others together hold at most one part in `_ALONE` of the limit."""


class Memory:
    """Counts the bytes that all requests hold. Thread-safe, because bodies are inflated and parsed in threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._lock = threading.Lock()

    def change(self, share: "Share", size: int, as_sent: bool) -> None:
        """Adds `size` bytes to what a share holds. `as_sent`: they are the body itself, which never may be too much.

        Raises:
            InFlightFull: the limit is exceeded. The share has given back all that it held.
        """
        with self._lock:
            others = self._held - share.size
            refused = size > 0 and (
                share.refused or (self._held + size > self._most and (as_sent or others > self._most // _ALONE))
            )
            share.refused = share.refused or refused
            share.size = 0 if share.refused else max(0, share.size + size)
            self._held = others + share.size
            IN_FLIGHT_BYTES.set(self._held)
        if refused:
            raise InFlightFull(
                f"Requests take over {self._most} bytes of memory already (HEADRACE_MAX_IN_FLIGHT_BYTES): "
                "send the batch again later."
            )


class Share:
    """The bytes that one holder has: a request, or a connection with bytes that the application has not read yet."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.size = 0
        self.refused = False

    def charge(self, size: int, *, as_sent: bool = False) -> None:
        """`size` more bytes are about to be held; fewer, if it is negative. `as_sent`: of the body as the client sends it.

        Raises:
            InFlightFull: the limit is exceeded. This share has given back all that it held.
        """
        if size:
            self._memory.change(self, size, as_sent)

    def give_back(self) -> None:
        """Gives back all that is held."""
        if self.size:
            self._memory.change(self, -self.size, as_sent=False)
