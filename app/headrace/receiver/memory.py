"""The memory that requests take in one process, from the first byte of each until its answer, bounded for all together.

What a request becomes, inflated and parsed, may always be held while it is nearly alone, so that none that is within the other
limits is refused for ever. A request
that is refused gives up at once what it holds: of several that grow together, the last one goes on.
"""

import threading

from headrace.errors import InFlightFull
from headrace.telemetry.metrics import IN_FLIGHT_BYTES

_ALONE = 8
"""A request is nearly alone when the others hold less than this part of the limit together."""


class Memory:
    """How many bytes all requests hold. Thread-safe: bodies are inflated and parsed in threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._lock = threading.Lock()

    def change(self, share: "Share", size: int, as_sent: bool) -> None:
        """Adds `size` bytes to what a share holds. `as_sent`: they are the body itself, which never may be too much.

        Raises:
            InFlightFull: that is too much now. All that the share held is given back.
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
    """What one holder has of the memory: a request, or a connection with bytes that nobody has read yet."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.size = 0
        self.refused = False

    def charge(self, size: int, *, as_sent: bool = False) -> None:
        """`size` more bytes are about to be held; fewer, if it is negative. `as_sent`: of the body as the client sends it.

        Raises:
            InFlightFull: that is too much now. All that was held is given back.
        """
        self._memory.change(self, size, as_sent)

    def give_back(self) -> None:
        """Nothing of it is held any more."""
        if self.size:
            self._memory.change(self, -self.size, as_sent=False)
