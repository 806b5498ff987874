"""All connections of one server, bounded in number: in the TLS handshake, silent, or served."""

import ssl
import time
from typing import Protocol
from weakref import WeakKeyDictionary

from headrace.config import Config
from headrace.receiver.descriptors import connections_of_each, raise_limit
from headrace.telemetry.logging import log, log_rarely
from headrace.telemetry.metrics import CONNECTIONS_CLOSED

_HANDSHAKE_SPARE_SECONDS = 5.0


class Guest(Protocol):
    """What the crowd knows of a connection."""

    def close(self, reason: str) -> None:
        """Closes it, and counts why."""

    def check(self, now: float) -> None:
        """Is called once a second."""


class Crowd:
    """At most `most` connections. One more takes the place of the one that has been idle for longest; if none is, it is closed.

    Idle: between two requests, or before the headers of the first are complete. So neither clients that keep their connections
    nor those that say nothing keep a new one out.
    """

    def __init__(self, most: int, handshake_seconds: float) -> None:
        self._most = most
        self._handshake_seconds = handshake_seconds
        self._guests: set[Guest] = set()
        self._idle: dict[Guest, None] = {}  # in the order in which they became it
        self._handshakes: WeakKeyDictionary[ssl.SSLObject, float] = WeakKeyDictionary()

    @classmethod
    def of(cls, config: Config) -> "Crowd":
        """As large as HEADRACE_MAX_CONNECTIONS, or smaller, so that files remain for the other server and for all else."""
        fits = connections_of_each(raise_limit())
        if fits < config.max_connections:
            log.warning("fewer connections than HEADRACE_MAX_CONNECTIONS: the limit of open files is low", connections=fits)
        return cls(min(config.max_connections, fits), config.header_seconds)

    def handshake(self, session: ssl.SSLObject) -> None:
        """A TLS handshake begins.

        Raises:
            ssl.SSLError: there are too many connections, and none is idle.
        """
        if not self._room():
            note_closed("too_many")
            raise ssl.SSLError("too many connections")
        self._handshakes[session] = time.monotonic() + self._handshake_seconds + _HANDSHAKE_SPARE_SECONDS

    def enter(self, guest: Guest, session: ssl.SSLObject | None) -> bool:
        """A connection is made, and idle. False: there is no room for it."""
        if session is not None:
            self._handshakes.pop(session, None)
        if not self._room():
            return False
        self._guests.add(guest)
        self._idle[guest] = None
        return True

    def leave(self, guest: Guest) -> None:
        """It is closed."""
        self._guests.discard(guest)
        self._idle.pop(guest, None)

    def busy(self, guest: Guest) -> None:
        """It has a request to answer."""
        self._idle.pop(guest, None)

    def idle(self, guest: Guest) -> None:
        """It waits for its next request, from now on."""
        if guest in self._guests:
            self._idle.pop(guest, None)
            self._idle[guest] = None

    def sweep(self) -> None:
        """Looks after all of them; once a second."""
        now = time.monotonic()
        for guest in list(self._guests):
            guest.check(now)
        for session in [session for session, deadline in self._handshakes.items() if now > deadline]:
            self._handshakes.pop(session, None)

    def _room(self) -> bool:
        if len(self._guests) + len(self._handshakes) < self._most:
            return True
        longest = next(iter(self._idle), None)
        if longest is None:
            return False
        self.leave(longest)
        longest.close("idle")
        return True


def note_closed(reason: str) -> None:
    """Counts a connection that was closed on purpose, and says so once a minute."""
    CONNECTIONS_CLOSED.labels(reason).inc()
    log_rarely("connections closed", f"connection_{reason}", reason=reason)
