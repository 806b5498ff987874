"""One request on an HTTP/2 connection: the `Call` that answers it, and the way of its answer to the client.

The answer waits here while the client's flow control has no room for it (RFC 9113, section 5.2).
"""

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import H2Error

Headers = Sequence[tuple[bytes, bytes]]


class Call(Protocol):
    """Answers one request."""

    def data(self, chunk: bytes) -> None:
        """Takes the next piece of the body."""

    def end(self) -> None:
        """The body is complete."""

    def gone(self) -> None:
        """The client has given up, or the connection is lost: nobody waits for the answer."""


class Carrier(Protocol):
    """What a stream asks of its connection."""

    h2: H2Connection
    address: str

    def flush(self) -> None:
        """Passes what h2 wants to send to the network."""

    def call_is_over(self, number: int, *, was_whole: bool, waits: bool) -> None:
        """Notes the end of a call. `waits`: a part of its answer still waits for the client's flow control."""


class Stream:
    """Sends the answer of one request to its client. What is sent after the client has gone is dropped."""

    def __init__(self, connection: Carrier, number: int) -> None:
        self._connection = connection
        self._number = number
        self._unsent: deque[bytes | Headers] = deque()
        self._ended = False
        self.call: Call
        self.whole = False
        """Whether all of the request has come."""

    @property
    def address(self) -> str:
        """The client's IP address. Empty if it is not known."""
        return self._connection.address

    @property
    def unsent_bytes(self) -> int:
        """How much of the answer's body waits for the client."""
        return sum(len(part) for part in self._unsent if isinstance(part, bytes))

    def send(self, headers: Headers, *, end: bool = False) -> None:
        """Sends the answer's headers or, with `end`, its trailers."""
        self._unsent.append(headers)
        self._ended = end
        self.push()

    def write(self, data: bytes) -> None:
        """Sends a piece of the answer's body as soon as the client's flow control has room for it."""
        self._unsent.append(data)
        self.push()

    def push(self) -> None:
        """Sends as much of what waits as the client's flow control has room for."""
        h2, number, last = self._connection.h2, self._number, False
        with suppress(H2Error):  # the client has closed the stream, so nobody waits for the answer
            while self._unsent:
                part = self._unsent[0]
                last = self._ended and len(self._unsent) == 1
                if not isinstance(part, bytes):
                    h2.send_headers(number, part, end_stream=last)
                elif (room := min(h2.local_flow_control_window(number), h2.max_outbound_frame_size)) >= len(part):
                    h2.send_data(number, part)
                elif room > 0:
                    h2.send_data(number, part[:room])
                    self._unsent[0] = part[room:]
                    continue
                else:
                    break
                self._unsent.popleft()
            if last and not self._unsent and not self.whole:
                h2.reset_stream(number, ErrorCodes.NO_ERROR)  # tells the client to send no more of the request (RFC 9113, 8.1)
        self._connection.flush()

    def close(self) -> None:
        """Ends the call, which makes room for another one. To be called once."""
        self._connection.call_is_over(self._number, was_whole=self.whole, waits=bool(self._unsent))
