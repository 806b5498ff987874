"""A connection that has been given its last answer while its client may still be sending.

To close it at once would be to lose the answer: a socket that is closed with bytes unread resets its connection, and the client
reads the reset, not the answer. So what the client still sends is dropped, until it closes the connection itself; for
`_SECONDS` and `_BYTES` at most. (nginx does the same, as `lingering_close`.)
"""

import asyncio
from contextlib import suppress

from headrace.receiver.crowd import Crowd

_SECONDS = 2.0
_BYTES = 16 * 1024 * 1024


def leave(transport: asyncio.Transport, answer: bytes, crowd: Crowd) -> None:
    """Sends an answer, and closes the connection once the client has had time to read it. The connection's protocol is told at
    once that the connection is lost."""
    before = transport.get_protocol()
    transport.write(answer)
    leaving = _Leaving(transport, crowd)
    transport.set_protocol(leaving)
    before.connection_lost(ConnectionAbortedError())
    leaving.begin()


class _Leaving(asyncio.Protocol):
    """Drops what comes. It stays among the idle connections of the crowd: a new one may take its place."""

    def __init__(self, transport: asyncio.Transport, crowd: Crowd) -> None:
        self._transport = transport
        self._crowd = crowd
        self._left = _BYTES
        self._timer = asyncio.get_running_loop().call_later(_SECONDS, transport.abort)

    def begin(self) -> None:
        """Says that nothing more will be sent, and reads on."""
        if not self._crowd.enter(self, None):
            self._transport.close()
            return
        with suppress(OSError, NotImplementedError):  # the client has gone; or it is TLS, which cannot be closed by halves
            self._transport.write_eof()
        self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self._timer.cancel()
        self._crowd.leave(self)

    def close(self, reason: str) -> None:  # noqa: ARG002 - why it is closed has been counted
        """See `Guest.close`."""
        self._transport.close()

    def check(self, now: float) -> None:
        """See `Guest.check`. Does nothing: there is a timer."""
