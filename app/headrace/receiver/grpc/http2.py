"""One HTTP/2 connection for OTLP/gRPC, with limits on its requests, its silence, and its memory.

The `h2` library is the protocol's state machine. This module adds the limits, and passes h2's events to a `Call`:

    bytes ─ in turns of 16 KiB ─► h2 ─► RequestReceived → begin(stream, headers) → Call
                                        DataReceived    → call.data     StreamEnded → call.end     StreamReset → call.gone

A connection that breaks a rule of HTTP/2 is sent GOAWAY and closed. Other connections do not notice.
Source: RFC 9113 (https://www.rfc-editor.org/rfc/rfc9113).
"""

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings

from headrace.receiver.crowd import note_closed
from headrace.receiver.door import Greeting
from headrace.receiver.grpc.silence import Pings, Timers
from headrace.receiver.grpc.stream import Headers, Stream
from headrace.telemetry.logging import log_rarely

if TYPE_CHECKING:
    from headrace.receiver.grpc.connections import Connections

_TURN_BYTES = 16 * 1024
"""Bytes that are read from one connection before others have their turn. The smallest frames of so many bytes take some 10
ms."""
_MAX_STREAMS = 256
"""Most requests of one connection at once; h2 closes a connection that begins more. Also most requests that are being answered,
including those that the client has given up: at that number no more are read until one is done."""
_MAX_HEADER_BYTES = 256 * 1024
"""Most bytes of one request's headers; h2 closes a connection that sends more. A lower limit in `grpc/__init__.py` answers with
an error."""
_STREAM_WINDOW, _CONNECTION_WINDOW = 1024 * 1024, 4 * 1024 * 1024
_MAX_IDLE_FRAMES = 1000
"""Most frames a second that neither begin a request nor carry data: PING, SETTINGS, RST_STREAM, empty DATA and the like."""
_CONFIG = H2Configuration(client_side=False, header_encoding=None)


class Connection(asyncio.Protocol):
    """One connection."""

    def __init__(self, connections: "Connections") -> None:
        self._all = connections
        self._loop = asyncio.get_running_loop()
        self.h2 = H2Connection(_CONFIG)
        settings = {
            SettingCodes.MAX_CONCURRENT_STREAMS: _MAX_STREAMS,
            SettingCodes.MAX_HEADER_LIST_SIZE: _MAX_HEADER_BYTES,
            SettingCodes.INITIAL_WINDOW_SIZE: _STREAM_WINDOW,
        }
        self.h2.local_settings = Settings(client=False, initial_values=settings)
        self.h2.decoder.max_header_list_size = (
            _MAX_HEADER_BYTES  # h2 itself would wait until the client has acknowledged the settings
        )
        self._streams: dict[int, Stream] = {}
        self._calls = self._busy = 0
        self._backlog = bytearray()
        self._turn: asyncio.Handle | None = None
        self._blocked = False
        self._timers = Timers()
        self._pings = Pings(self._timers, self._ping, lambda: self.close("vanished"))
        self._second, self._idle_frames = 0, 0
        self._begun = self._greeted = False
        self._greeting = Greeting(connections.door, connections.crowd)
        self.address = ""

    # The methods of asyncio.Protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.address = str((transport.get_extra_info("peername") or ("",))[0])
        self._all.open.add(self)
        if self._all.stopping or not self._all.crowd.enter(self, transport.get_extra_info("ssl_object")):
            self.close("too_many")
            return
        self._timers.start("silent", self._all.header_seconds, lambda: self.close("slow_headers"))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self._all.discard(self)
        self._all.crowd.leave(self)
        self._backlog.clear()
        if self._turn is not None:
            self._turn.cancel()
        self._timers.cancel_all()
        for stream in list(self._streams.values()):
            stream.call.gone()

    def data_received(self, data: bytes) -> None:
        if not self._greeting.over:
            if not (data := self._greeting.take(data, self._transport)):
                return
            self._start()
        self._pings.heard = True
        self._backlog += data
        if self._turn is None:
            self._take_turn()

    def pause_writing(self) -> None:
        """The client does not read its answers. Until it does, no more of its requests are read."""
        self._blocked = True
        self._timers.start("unread", self._all.body_seconds, lambda: self.close("unread_answer"))
        self._read_on()

    def resume_writing(self) -> None:
        self._blocked = False
        self._timers.cancel("unread")
        self._read_on()

    # What comes in.

    def _start(self) -> None:
        self._begun = True
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(_CONNECTION_WINDOW - self.h2.inbound_flow_control_window)

    def _take_turn(self) -> None:
        self._turn = None
        part = bytes(self._backlog[:_TURN_BYTES])
        del self._backlog[:_TURN_BYTES]
        try:
            for event in self.h2.receive_data(part):
                self._handle(event)
        except Exception as error:  # an H2Error is the client's fault; any other may cost only this connection
            if not isinstance(error, H2Error):
                log_rarely("HTTP/2 connection failed", "http2", error=f"{type(error).__name__}: {error}", exc_info=error)
            self._backlog.clear()
            self.close("protocol_error")
        else:
            self.flush()
            self._read_on()

    def _read_on(self) -> None:
        """Reads on, or pauses, depending on unread answers, on running calls and on what is already here."""
        if self._transport.is_closing():
            return
        if self._blocked or self._busy >= _MAX_STREAMS:
            self._transport.pause_reading()
        elif not self._backlog:
            self._transport.resume_reading()
        elif self._turn is None:
            self._transport.pause_reading()
            self._turn = self._loop.call_soon(self._take_turn)

    def _handle(self, event: Event) -> None:
        if isinstance(event, DataReceived) and event.data:
            self.h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
            if stream := self._streams.get(event.stream_id or 0):
                stream.call.data(event.data)
        elif isinstance(event, RequestReceived):
            self._begin(event.stream_id or 0, event.headers or ())
        elif isinstance(event, StreamEnded):
            if stream := self._streams.get(event.stream_id or 0):
                stream.whole = True
                self._busy += 1
                stream.call.end()
        else:
            self._handle_idle_frame(event)

    def _begin(self, number: int, headers: Headers) -> None:
        if not self._calls:
            self._pings.start()
        self._all.crowd.busy(self)
        stream = self._streams[number] = Stream(self, number)
        self._calls += 1
        stream.call = self._all.begin(stream, headers)

    def _handle_idle_frame(self, event: Event) -> None:
        if isinstance(event, StreamReset):
            if stream := self._streams.pop(event.stream_id or 0, None):
                stream.call.gone()
        elif isinstance(event, WindowUpdated | RemoteSettingsChanged):
            if not self._greeted:  # a client may connect long before its first request
                self._greeted = True
                self._pings.start()
            for stream in list(self._streams.values()):
                stream.push()
        elif isinstance(event, TrailersReceived):
            return
        second = int(time.monotonic())
        self._second, self._idle_frames = second, self._idle_frames + 1 if second == self._second else 1
        if self._idle_frames > _MAX_IDLE_FRAMES:
            self.close("too_many_frames", ErrorCodes.ENHANCE_YOUR_CALM)

    # What goes out.

    def flush(self) -> None:
        """Passes what h2 wants to send to the transport."""
        if (data := self.h2.data_to_send()) and not self._transport.is_closing():
            self._transport.write(data)

    def call_is_over(self, number: int, *, was_whole: bool, waits: bool) -> None:
        """Notes the end of a call. `waits`: a part of its answer still waits for the client's flow control."""
        self._calls -= 1
        self._busy -= was_whole
        if not self._calls:
            self._all.crowd.idle(self)
        if not waits:
            self._streams.pop(number, None)
        self.close_if_done()
        self._read_on()

    def close_if_done(self) -> None:
        """Closes the connection if the server stops and no call is running on it."""
        if self._all.stopping and not self._calls:
            self.close("")

    def check(self, now: float) -> None:
        """See `Guest.check`. Does nothing: this connection has timers of its own."""

    def abort(self) -> None:
        """Closes the connection at once, without sending what waits."""
        self._transport.abort()

    def _ping(self) -> None:
        with suppress(H2Error):
            self.h2.ping(bytes(8))
        self.flush()

    def close(self, reason: str, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Closes the connection and counts the reason. An empty reason is not counted."""
        if self._transport.is_closing():
            return
        if reason:
            note_closed(reason)
        if self._begun:
            with suppress(H2Error):
                self.h2.close_connection(code)
            self.flush()
        self._transport.close()
        self._timers.start("unread", self._all.header_seconds, self._transport.abort)
