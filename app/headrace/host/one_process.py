"""The receiver and the writer in one process: the only one, or one of several under a `Supervisor`."""

import asyncio
import signal
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from headrace.config import Config
from headrace.errors import StartError
from headrace.host.roles import Role
from headrace.receiver.listen import bind
from headrace.telemetry.logging import log

if TYPE_CHECKING:
    from headrace.host.build import Headrace
    from headrace.receiver.serving import HttpReceiver
    from headrace.store.database import Database

_HTTP_SETTING, _GRPC_SETTING = "HEADRACE_HTTP_PORT or --http-port", "HEADRACE_GRPC_PORT or --grpc-port"


class OneProcess:
    """A `Host` in this process.

    Raises:
        StartError: a port is taken by another process.
    """

    def __init__(self, config: Config, role: Role = Role.SERVE) -> None:
        self._role = role
        self._listener = bind(config.host, config.http_port, _HTTP_SETTING)
        self.port = self._listener.getsockname()[1]
        self.grpc_port = 0
        if role.receives:
            with bind(config.host, config.grpc_port, _GRPC_SETTING) as probe:  # tests the port; the gRPC server binds it again
                self.grpc_port = probe.getsockname()[1]
        self._config = config.model_copy(update={"http_port": self.port, "grpc_port": self.grpc_port})

    def open(self, database_url: str) -> "Database":
        """See `Host.open`."""
        from headrace.host.build import build
        from headrace.queue.disk.adopt import adopt_leftovers

        if self._role.receives:
            adopt_leftovers(self._config.data_dir, 1)
        self._headrace = build(self._config, database_url, role=self._role)
        return self._headrace.database

    def run(self, on_ready: Callable[[], None], check: Callable[[], None]) -> None:
        """See `Host.run`."""
        import uvloop

        uvloop.run(_serve_until_stopped(self._headrace, self._listener, on_ready, check))


def work(config: Config, database_url: str, number: int, on_ready: Callable[[], None], role: Role = Role.SERVE) -> None:
    """Runs one worker process of several, in this process, until a signal."""
    import uvloop

    from headrace.host.build import build

    headrace = build(config, database_url, number, role)
    listener = bind(config.host, config.http_port, _HTTP_SETTING, shared=True)
    uvloop.run(_serve_until_stopped(headrace, listener, on_ready, lambda: None))


def _stop(receiver: "HttpReceiver", headrace: "Headrace", number: signal.Signals) -> None:
    """A signal's handler. The first signal is logged, with what waits in the queue: the stop may take a while."""
    if not receiver.should_exit:
        log.info("stopping", signal=number.name, queued_requests=headrace.queue.size().items)
    receiver.should_exit = True


async def _serve_until_stopped(
    headrace: "Headrace", listener: socket.socket, on_ready: Callable[[], None], check: Callable[[], None]
) -> None:
    """Runs the receiver until a signal, or until `check` raises, which is called every second. Calls `on_ready` once requests
    are taken."""
    from headrace.receiver.serving import HttpReceiver

    receiver = HttpReceiver(headrace.config, headrace.app, headrace.intake.memory, headrace.certificates)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _stop, receiver, headrace, number)
    serving = asyncio.create_task(receiver.serve(sockets=[listener]))
    try:
        await _until_it_ends(receiver, serving, on_ready, check)
    finally:
        asked, receiver.should_exit = receiver.should_exit, True
        await serving
    if not asked:
        raise StartError(f"The HTTP server ended without being asked ({receiver.failure or 'it returned'}): see the log above.")


async def _until_it_ends(
    receiver: "HttpReceiver", serving: "asyncio.Task[None]", on_ready: Callable[[], None], check: Callable[[], None]
) -> None:
    while not receiver.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.02)
    if not receiver.should_exit:
        await asyncio.to_thread(on_ready)
    while not serving.done():
        await asyncio.wait([serving], timeout=1)
        if not receiver.should_exit:
            check()
