"""The application as uvicorn calls it for one request; the memory that the request's bytes take; a bound on its body's time."""

import asyncio
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from headrace.errors import BodyTimeout
from headrace.receiver.http import Answered
from headrace.receiver.memory import Share


class Served:
    """The application for one request. It gives back the memory of what the application has read, and at the end of the
    rest. While it reads, a body that is not complete after `body_seconds` is a BodyTimeout."""

    cycle: RequestResponseCycle

    def __init__(self, held: Share, app: Any, head_bytes: int, body_seconds: float) -> None:
        self._held = held
        self.app: ASGIApp = app
        self._head_bytes = head_bytes
        self._body_seconds = body_seconds
        self._late = False
        self.answered = False  # by the connection: the application shall not answer, or count, the request again

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def read() -> Message:
            message = await receive()
            if self.answered:
                self.cycle.disconnected = True  # else uvicorn misses an answer
                raise Answered
            if body := message.get("body"):
                self._held.charge(-len(body))
            if self._late:
                raise BodyTimeout(
                    f"The body was not complete after {self._body_seconds:g} s (HEADRACE_BODY_SECONDS): send smaller batches."
                )
            if timer is not None and not message.get("more_body"):
                timer.cancel()
            return message

        async def write(message: Message) -> None:
            if self.cycle.transport.is_closing():
                self.cycle.disconnected = True  # of several requests uvicorn tells only the last one
            await send(message)

        # Most bodies are here when the application is called: these need no timer.
        timer = asyncio.get_running_loop().call_later(self._body_seconds, self._give_up) if self.cycle.more_body else None
        try:
            if self.answered:  # before the application was called
                self.cycle.disconnected = True  # else uvicorn misses an answer
            else:
                await self.app(scope, read, write)
        finally:
            if timer is not None:
                timer.cancel()
            self._held.charge(-self._head_bytes - len(self.cycle.body))
            self.cycle.body = bytearray()

    def _give_up(self) -> None:
        self._late = True
        self.cycle.message_event.set()  # wakes whoever waits for the rest of the body
