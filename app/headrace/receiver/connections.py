"""uvicorn's HTTP connections, with bounds on waiting requests, on bytes that nobody has read yet, and on the time of each step.

uvicorn itself sets none of these bounds. A client that sends its headers byte by byte, without end, or not at all keeps its
connection. Trailers are kept as headers, without limit. Any number of requests may wait behind the first one. A client that
does not read its answer keeps its connection for ever.
"""

import asyncio
from contextlib import suppress
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from headrace.config import Config
from headrace.errors import InFlightFull, MalformedBody
from headrace.otlp.codec import Encoding
from headrace.receiver.crowd import Crowd, note_closed
from headrace.receiver.door import Door, Greeting
from headrace.receiver.framing import Body, Head, Refused
from headrace.receiver.headers import headers_of
from headrace.receiver.http import answer_encoding, bare_answer
from headrace.receiver.leaving import leave
from headrace.receiver.memory import Memory, Share
from headrace.receiver.served import Served
from headrace.receiver.who import Who

_FREE_HEAD_BYTES = 8 * 1024
"""Headers of up to as many bytes are not counted as memory in flight: the number of connections bounds them."""
_DRAINED = 8
"""After an early answer so many times HEADRACE_MAX_BODY_BYTES are thrown away, so that the client sees the answer."""
_MAX_PIPELINED = 16
"""Most requests that may wait behind the one that is being answered. Hardly any client sends even two."""


class Connection(HttpToolsProtocol):
    """One connection."""

    def __init__(self, settings: Config, memory: Memory, crowd: Crowd, door: Door, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._settings = settings
        self._crowd = crowd
        self._greeting = Greeting(door, crowd)
        self._held = Share(memory)  # bytes that the application has not read yet, and large headers
        self._head = Head()
        self._body: Body | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None
        self._served: Served | None = None
        self._arrived = 0  # bytes of bodies in the data that is being parsed
        self._stuck_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        super().connection_made(transport)
        if self._crowd.enter(self, transport.get_extra_info("ssl_object")):
            self._wait_for_head()
        else:
            self.close("too_many")

    def connection_lost(self, exc: Exception | None) -> None:
        self._crowd.leave(self)
        self._head_is_here()
        self._body_is_here()
        if self.cycle is not None:
            self.cycle.waiting_for_100_continue = False  # nothing more may be sent: see `leave`
        super().connection_lost(exc)
        self._held.give_back()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        if not self._greeting.over and not (data := self._greeting.take(data, self.transport)):
            return
        body = self._body
        before = body.pieces if body is not None else 0
        try:
            data = self._parse(data)
            if self._arrived:
                arrived, self._arrived = self._arrived, 0
                self._charge(arrived)
            if self._body is not None and self._body is body:  # else it began in this data, behind an earlier request's bytes
                self._body.fed(len(data), before)
            elif self._timer is not None:
                self._head.fed(len(data))
                self._charge_head(self._head.wire)
        except (httptools.HttpParserError, Refused) as error:
            self._refuse(error)

    def _parse(self, data: bytes) -> bytes:
        """Gives bytes to the parser. Returns what it took last.

        Java's HttpClient offers HTTP/2 with its first request. httptools treats the offer as accepted, and the body as another
        protocol's bytes: the request would look empty, be answered 200, and its spans would be lost (uvicorn#2722). So its
        head is given to a new parser without the offer, wherever it stood in the bytes.
        """
        while True:
            try:
                self.parser.feed_data(data)
                return data
            except httptools.HttpParserUpgrade as offer:
                lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
                lines += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
                data = b"\r\n".join([*lines, b"", b""]) + data[offer.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                with suppress(AttributeError):  # as uvicorn's own; httptools before 0.6.3 has no such setting
                    self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def on_message_begin(self) -> None:
        self._wait_for_head()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._body is not None:
            return  # a trailer, which OTLP does not have: dropped
        self._head.add(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.parser.get_method() == b"CONNECT":
            raise Refused(MalformedBody("This is no proxy: send OTLP with POST."))
        if self.parser.should_upgrade():
            return  # `_parse` gives the head to another parser
        self._head_is_here()
        self._head.add_url(len(self.url))
        self._charge_head(self._head.size)
        self._crowd.busy(self)
        self._body = Body()
        app = self.app
        served = self._served = self.app = Served(self._held, app, self._head.charged, self._settings.body_seconds)
        super().on_headers_complete()
        served.cycle, self.app = self.cycle, app
        if len(self.pipeline) > _MAX_PIPELINED:
            self.close("pipelined")
            raise Refused

    def on_body(self, body: bytes) -> None:
        if self.transport.is_closing():
            raise Refused
        assert self._body is not None  # noqa: S101 - headers come first
        self._body.add(len(body))
        if not self.cycle.response_complete:
            self._arrived += len(body)
            super().on_body(body)
        elif self._body.size > _DRAINED * self._settings.max_body_bytes:
            self.close("unread_body")
            raise Refused

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._body = None
        self._body_is_here()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """If we answered before the whole body had come, drains the rest for `body_seconds` at most, so that the client sees
        the answer."""
        waiting = len(self.pipeline)
        super().on_response_complete()
        if not waiting:
            self._crowd.idle(self)
        if self.cycle.response_complete and self.cycle.more_body and self._unread_timer is None:
            self._unread_timer = self.loop.call_later(self._settings.body_seconds, self.close, "unread_body")

    def close(self, reason: str) -> None:
        """Closes the connection and counts the reason."""
        note_closed(reason)
        self.transport.close()

    def check(self, now: float) -> None:
        """Called once a second. Aborts the connection if its client has not read what was sent for `body_seconds`, also while
        the connection waits for that in order to close."""
        if not self.transport.get_write_buffer_size() and not self.transport.is_closing():
            self._stuck_since = None
        elif self._stuck_since is None:
            self._stuck_since = now
        elif now - self._stuck_since > self._settings.body_seconds:
            note_closed("unread_answer")
            self.transport.abort()

    def _refuse(self, error: Exception) -> None:
        """Answers bytes that are no valid request, or exceed a limit, with a `google.rpc.Status`, and closes the connection."""
        cause = error if isinstance(error, Refused) else error.__context__
        said = cause.error if isinstance(cause, Refused) else MalformedBody("The bytes are not a valid HTTP request.")
        if said is None or self.transport.is_closing():
            return
        if self.cycle is None or not self.cycle.response_started or (self.cycle.response_complete and self._body is None):
            answer = bare_answer(said, self._encoding(), self._who())
            if self._served is not None:
                self._served.answered = True
            if not self.pipeline:  # of several requests uvicorn tells only the last one that the connection is lost
                leave(self.transport, answer, self._crowd)
                return
            self.transport.write(answer)
        self.transport.close()

    def _encoding(self) -> Encoding:
        """The request's own, as far as its headers are here."""
        if self.cycle is None or self.cycle.response_complete:
            return Encoding.PROTOBUF
        return answer_encoding("POST", headers_of(self.headers))

    def _who(self) -> Who:
        """The client, as far as the request's headers are here."""
        headers = headers_of(self.headers) if self.cycle else {}
        return Who(self.client[0] if self.client else "", headers.get("user-agent", ""))

    def _charge(self, size: int) -> None:
        try:
            self._held.charge(size, as_sent=True)
        except InFlightFull as error:
            raise Refused(error) from None

    def _charge_head(self, size: int) -> None:
        if size > max(_FREE_HEAD_BYTES, self._head.charged):
            self._charge(size - self._head.charged)
            self._head.charged = size

    def _head_is_here(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _body_is_here(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _wait_for_head(self) -> None:
        self._head = Head()
        if self._timer is None:
            self._timer = self.loop.call_later(self._settings.header_seconds, self.close, "slow_headers")
