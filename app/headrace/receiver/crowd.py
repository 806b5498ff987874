"""A limit on the number of connections of one server: in the TLS handshake, silent, or being served."""

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
    """A connection, as the crowd sees it."""

    def close(self, reason: str) -> None:
        """Closes the connection and counts the reason."""

    def check(self, now: float) -> None:
        """Is called once a second with the monotonic time in seconds."""


class Crowd:
    """At most `most` connections. One more takes the place of the one that has been idle for longest. If none is idle, the new
    one is closed.

    A connection is idle between two requests, and until the headers of its first request are complete. So clients that keep
    connections open, or say nothing on them, cannot keep new ones out.
    """

    def __init__(self, most: int, handshake_seconds: float) -> None:
        self._most = most
        self._handshake_seconds = handshake_seconds
        self._guests: set[Guest] = set()
        self._idle: dict[Guest, None] = {}  # in the order in which they became idle
        self._handshakes: WeakKeyDictionary[ssl.SSLObject, float] = WeakKeyDictionary()

    @classmethod
    def of(cls, config: Config) -> "Crowd":
        """A crowd of HEADRACE_MAX_CONNECTIONS, or fewer if the process may not open enough files."""
        fits = connections_of_each(raise_limit())
        if fits < config.max_connections:
            log.warning("fewer connections than HEADRACE_MAX_CONNECTIONS: the limit of open files is low", connections=fits)
        return cls(min(config.max_connections, fits), config.header_seconds)

    def handshake(self, session: ssl.SSLObject) -> None:
        """Counts a TLS handshake that begins.

        Raises:
            ssl.SSLError: there are too many connections, and none is idle.
        """
        if not self._room():
            note_closed("too_many")
            raise ssl.SSLError("too many connections")
        self._handshakes[session] = time.monotonic() + self._handshake_seconds + _HANDSHAKE_SPARE_SECONDS

    def enter(self, guest: Guest, session: ssl.SSLObject | None) -> bool:
        """Adds a new connection, which is idle. False: there is no room for it."""
        if session is not None:
            self._handshakes.pop(session, None)
        if not self._room():
            return False
        self._guests.add(guest)
        self._idle[guest] = None
        return True

    def leave(self, guest: Guest) -> None:
        """Takes a closed connection out."""
        self._guests.discard(guest)
        self._idle.pop(guest, None)

    def busy(self, guest: Guest) -> None:
        """Notes that a connection has a request to answer."""
        self._idle.pop(guest, None)

    def idle(self, guest: Guest) -> None:
        """Notes that a connection waits for its next request from now on."""
        if guest in self._guests:
            self._idle.pop(guest, None)
            self._idle[guest] = None

    def sweep(self) -> None:
        """To be called once a second: checks all connections, and forgets handshakes that have failed."""
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
    """Counts a connection that Headrace has closed, and logs the reason at most once a minute."""
    CONNECTIONS_CLOSED.labels(reason).inc()
    log_rarely("connections closed", f"connection_{reason}", reason=reason)
