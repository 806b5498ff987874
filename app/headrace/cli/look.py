"""`headrace console`: Jaeger's storage API over MLflow's database. It only reads."""

import asyncio
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.config import Config


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
    if not (is_loopback(config.console_host) or config.knows_clients):
        log.warning(
            "ANYBODY WHO REACHES THIS ADDRESS MAY READ",
            host=config.console_host,
            mend="set HEADRACE_API_KEYS (`headrace keys add NAME`) or HEADRACE_TLS_CLIENT_CA",
        )
    asyncio.run(_serve(config, config.database_url.get_secret_value()))


async def _serve(config: "Config", database_url: str) -> None:
    from headrace.console.access import Access
    from headrace.console.jaeger import JaegerServer
    from headrace.errors import DatabaseUnavailable
    from headrace.reader.postgres import PostgresReader
    from headrace.receiver.auth import Keys
    from headrace.receiver.serving import GRACE_SECONDS
    from headrace.receiver.tls import Certificates
    from headrace.telemetry.logging import log

    certificates = Certificates.of(config)
    reader = PostgresReader(database_url, config)
    with suppress(DatabaseUnavailable):  # it serves once Postgres is back
        reader.check()
    access = Access(Keys.open(config.api_keys) if config.api_keys is not None else None)
    server = JaegerServer(config, reader, access, certificates)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    port = await server.start()
    log.info("console ready", host=config.console_host, jaeger_port=port)
    await stopped.wait()
    await server.stop(GRACE_SECONDS)
    reader.close()
