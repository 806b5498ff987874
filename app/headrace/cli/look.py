"""`headrace console`: the web pages and Jaeger's storage API over MLflow's database. It only reads."""

import asyncio
import signal
from collections.abc import Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.config import Config
    from headrace.console.access import Access
    from headrace.console.room import Room
    from headrace.reader import TraceReader


def console(config: "Config") -> None:
    """Runs until a signal.

    Raises:
        StartError: it cannot start.
    """
    from headrace.config.listen import is_loopback
    from headrace.errors import StartError
    from headrace.telemetry.logging import log

    if config.database_url is None:
        raise StartError("HEADRACE_DATABASE_URL is not set: point it at MLflow's Postgres, as for `headrace serve`.")
    if not (is_loopback(config.console_host) or config.trusted_network or config.knows_clients):
        log.warning(
            "ANYBODY WHO REACHES THIS ADDRESS MAY READ",
            host=config.console_host,
            mend="set HEADRACE_API_KEYS (`headrace keys add NAME`) or HEADRACE_TLS_CLIENT_CA",
        )
    asyncio.run(_serve(config, config.database_url.get_secret_value()))


async def _serve(config: "Config", database_url: str) -> None:
    from headrace.console.access import Access
    from headrace.console.room import Room
    from headrace.errors import DatabaseUnavailable
    from headrace.reader.postgres import PostgresReader
    from headrace.receiver.auth import Keys

    reader = PostgresReader(database_url, config)
    with suppress(DatabaseUnavailable):  # it serves once Postgres is back
        reader.check()
    access = Access(Keys.open(config.api_keys) if config.api_keys is not None else None)
    room = Room(config)
    try:
        await _run(config, reader, access, room)
    finally:
        room.close()
        reader.close()


async def _run(config: "Config", reader: "TraceReader", access: "Access", room: "Room") -> None:
    """Both servers, until a signal, or until one of them ends without being asked."""
    from headrace.console.jaeger import JaegerServer
    from headrace.console.web.server import ConsoleServer
    from headrace.parts import PartTask
    from headrace.receiver.serving import GRACE_SECONDS
    from headrace.receiver.tls import Certificates
    from headrace.telemetry.logging import log

    certificates = Certificates.of(config)
    renewal = PartTask("tls", certificates.keep_current) if certificates is not None else None
    jaeger = JaegerServer(config, reader, access, certificates, room)
    pages = ConsoleServer(config, reader, access, room, certificates)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    jaeger_port, port = await jaeger.start(), await pages.start()
    if renewal is not None:
        renewal.start()
    log.info("console ready", host=config.console_host, port=port, jaeger_port=jaeger_port)
    await _until(stopped, pages.ended())
    await asyncio.gather(pages.stop(), jaeger.stop(GRACE_SECONDS), *([renewal.stop()] if renewal is not None else []))


async def _until(stopped: asyncio.Event, ended: Coroutine[Any, Any, None]) -> None:
    """Waits for a signal; raises what `ended` raises before one comes."""
    waiting = [asyncio.ensure_future(stopped.wait()), asyncio.ensure_future(ended)]
    done, rest = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    for task in done:
        task.result()
