"""The application as uvicorn calls it for one request, with the memory that the request's bytes take."""

from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from headrace.receiver.http import Answered
from headrace.receiver.memory import Share


class Served:
    """The application for one request. It gives back the memory of what the application has read, and at the end of the
    rest."""

    cycle: RequestResponseCycle

    def __init__(self, held: Share, app: Any, head_bytes: int) -> None:
        self._held = held
        self.app: ASGIApp = app
        self._head_bytes = head_bytes
        self.answered = False  # by the connection: the application shall not answer, or count, the request again

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def read() -> Message:
            message = await receive()
            if self.answered:
                self.cycle.disconnected = True  # else uvicorn misses an answer
                raise Answered
            if body := message.get("body"):
                self._held.charge(-len(body))
            return message

        async def write(message: Message) -> None:
            if self.cycle.transport.is_closing():
                self.cycle.disconnected = True  # of several requests uvicorn tells only the last one
            await send(message)

        try:
            await self.app(scope, read, write)
        finally:
            self._held.charge(-self._head_bytes - len(self.cycle.body))
            self.cycle.body = bytearray()
