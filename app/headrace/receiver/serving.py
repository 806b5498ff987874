"""The HTTP server of one process: uvicorn, with bounded connections."""

import asyncio
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from headrace.config import Config
from headrace.receiver.connections import Connection
from headrace.receiver.crowd import Crowd
from headrace.receiver.door import Door
from headrace.receiver.first_bytes import HTTP
from headrace.receiver.http import wrong_port
from headrace.receiver.memory import Memory
from headrace.receiver.tls import Certificates
from headrace.telemetry.logging import log

GRACE_SECONDS = 5
"""How long a stop waits for requests that are being answered."""
_STARTUP_FAILED = 3
"""The exit status that uvicorn itself uses for it."""


class HttpReceiver(uvicorn.Server):
    """uvicorn's server, which stops when its caller sets `should_exit`. It does not handle the process's signals."""

    def __init__(self, config: Config, app: ASGIApp, memory: Memory, certificates: Certificates | None) -> None:
        self.failure = ""
        """Why it ended without being asked; empty otherwise."""
        self._crowd = Crowd.of(config)
        self._handshake_seconds = config.header_seconds
        door = Door(HTTP, config, wrong_port)
        if certificates is not None:
            certificates.ssl.on_handshake = self._crowd.handshake
            certificates.ssl.on_handshake_end = door.handshake_ended
        super().__init__(
            uvicorn.Config(
                app,
                http=partial(Connection, config, memory, self._crowd, door),  # type: ignore[arg-type] # uvicorn only calls it
                ws="none",
                ssl_context_factory=None if certificates is None else lambda *_: certificates.ssl,
                log_config=None,
                access_log=False,  # every request is counted in /metrics instead
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
                timeout_keep_alive=65,
                lifespan="on",
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's own, and with a limit on the time of a TLS handshake."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            raise SystemExit(_STARTUP_FAILED)
        config, seconds = self.config, self._handshake_seconds if self.config.ssl else None
        state = {"config": config, "server_state": self.server_state, "app_state": self.lifespan.state}
        protocol: Any = partial(config.http_protocol_class, **state)
        loop = asyncio.get_running_loop()
        limits: dict[str, Any] = {"ssl_handshake_timeout": seconds, "ssl_shutdown_timeout": seconds}
        if isinstance(loop, asyncio.BaseEventLoop) and sys.version_info < (3, 11):
            del limits["ssl_shutdown_timeout"]  # asyncio's own loop does not know it there; uvloop's does
        self.servers = [
            await loop.create_server(protocol, sock=listener, ssl=config.ssl, backlog=config.backlog, **limits)
            for listener in sockets or ()
        ]
        self.started = True

    async def on_tick(self, counter: int) -> bool:
        """As uvicorn's own, which calls it ten times a second. Also sweeps the crowd, once a second."""
        if counter % 10 == 0:
            self._crowd.sweep()
        return await super().on_tick(counter)

    async def main_loop(self) -> None:
        """As uvicorn's own. If it fails, the server stops in order, as on a signal, and the process ends."""
        try:
            await super().main_loop()
        except Exception as error:
            self.failure = f"{type(error).__name__}: {error}"
            log.error("the HTTP server failed: stopping", exc_info=error)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves the signals to our caller."""
        yield
