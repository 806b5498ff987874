"""uvicorn's HTTP connections, bounded: how many, how long their headers may take, how large these may be.

What uvicorn leaves open: a client that sends its headers byte by byte, or for ever, or no byte at all, keeps its place.
"""

import asyncio
import re
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.config import Config
from app.errors import MalformedBody
from app.otlp.codec import Encoding
from app.receiver.http import failure, unreadable
from app.telemetry import CONNECTIONS_CLOSED

_MAX_HEAD_BYTES = 64 * 1024

_UPGRADE = re.compile(rb"\r\nupgrade(?=[ \t]*:)", re.IGNORECASE)
"""The offer of HTTP/2 that Java's HttpClient makes with its first request. httptools takes it for accepted, and the body for
another protocol's: an empty request, a 200, and the spans lost (uvicorn#2722)."""


async def _refuse_upgrade(scope: Scope, receive: Receive, send: Send) -> None:
    """Rather than a 200 to a request of which the body was not read."""
    answer = failure(MalformedBody("An upgrade is not supported here: send without the header Upgrade."), Encoding.PROTOBUF)
    answer.headers["connection"] = "close"
    await answer(scope, receive, send)


class Connection(HttpToolsProtocol):
    """One connection."""

    def __init__(self, settings: Config, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._most = settings.max_connections
        self._head_seconds = settings.header_seconds
        self._head_bytes: int | None = 0
        """Of the request whose headers are being read; None while no headers are."""
        self._in_body = False
        self._timer: asyncio.TimerHandle | None = None
        self._body_seconds = settings.body_seconds
        self._unread_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        super().connection_made(transport)
        if len(self.connections) > self._most:
            self._close("too_many")
        else:
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_here()
        self._body_is_here()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._in_body:
            end = data.find(b"\r\n\r\n")
            data = _UPGRADE.sub(b"\r\nx-upgrade", data[:end]) + data[end:] if end >= 0 else _UPGRADE.sub(b"\r\nx-upgrade", data)
        super().data_received(data)
        if self._head_bytes is not None:
            self._head_bytes += len(data)
            if self._head_bytes > _MAX_HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response(f"The request's headers are over {_MAX_HEAD_BYTES} bytes.")

    def on_message_begin(self) -> None:
        self._wait_for_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_is_here()
        self._in_body = True
        app = self.app
        if self.parser.should_upgrade():  # the header came in two pieces, or behind another request: the body is lost
            self.app = _refuse_upgrade
        super().on_headers_complete()
        self.app = app

    def on_message_complete(self) -> None:
        self._in_body = False
        self._body_is_here()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer before the body was read: it is read on and forgotten, so that the answer arrives, but not for ever."""
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body and self._unread_timer is None:
            self._unread_timer = self.loop.call_later(self._body_seconds, self._close, "unread_body")

    def send_400_response(self, msg: str) -> None:
        """As OTLP has it: a `google.rpc.Status`, whatever went wrong."""
        self.transport.write(unreadable(msg))
        self.transport.close()

    def _wait_for_head(self) -> None:
        self._head_bytes = 0
        if self._timer is None:
            self._timer = self.loop.call_later(self._head_seconds, self._close, "slow_headers")

    def _head_is_here(self) -> None:
        self._head_bytes = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _body_is_here(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _close(self, reason: str) -> None:
        CONNECTIONS_CLOSED.labels(reason).inc()
        self.transport.close()
