"""The port of the console's pages: the receiver's own HTTP server, with its bounds on connections, over its application."""

import asyncio

from headrace.config import Config
from headrace.console.access import Access
from headrace.console.room import Room
from headrace.console.web.app import ConsoleApp
from headrace.console.web.watch import Receiver, Watch, receiver_url
from headrace.errors import StartError
from headrace.reader import TraceReader
from headrace.receiver.listen import bind
from headrace.receiver.memory import Memory
from headrace.receiver.serving import HttpReceiver
from headrace.receiver.tls import Certificates


class ConsoleServer:
    """The server of HEADRACE_CONSOLE_PORT."""

    def __init__(
        self, config: Config, reader: TraceReader, access: Access, room: Room, certificates: Certificates | None = None
    ) -> None:
        self._config = config
        self._watch = Watch(Receiver(receiver_url(config)))
        app = ConsoleApp(config, reader, access, room, self._watch).asgi()
        self._server = HttpReceiver(config, app, Memory(config.max_in_flight_bytes), certificates)
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Starts to listen. Returns the port.

        Raises:
            StartError: the port cannot be bound.
        """
        listener = bind(self._config.console_host, self._config.console_port, "HEADRACE_CONSOLE_PORT")
        self._watch.start()
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started and not self._serving.done():  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.02)
        return int(listener.getsockname()[1])

    async def ended(self) -> None:
        """Returns never.

        Raises:
            StartError: the server has ended without being asked.
        """
        assert self._serving is not None  # noqa: S101 - it has been started
        await asyncio.wait([self._serving])
        raise StartError(f"The console ended without being asked ({self._server.failure or 'it returned'}): see the log above.")

    async def stop(self) -> None:
        """Takes no new requests, and ends the streams. Requests that are being answered have some seconds."""
        await self._watch.stop()
        self._server.should_exit = True
        if self._serving is not None:
            await asyncio.wait([self._serving])
