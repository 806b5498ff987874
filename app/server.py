"""The composition root of `serve`: settings → queue, database, pipeline, worker, and the ASGI application over them."""

import errno
import gc
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial

import psutil
import uvicorn
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from app import __version__, tracing
from app.config import Config
from app.database import Database
from app.errors import DatabaseUnavailable, StartError
from app.export import Exporter
from app.exporter.schema import check
from app.finisher import Finisher
from app.parts import PartTask
from app.pipeline import Pipeline
from app.processor.experiments import Experiments
from app.queue.disk import DiskQueue
from app.queue.shared import open_queue
from app.receiver.auth import Keys
from app.receiver.connections import Connection
from app.receiver.grpc import GrpcReceiver
from app.receiver.health import health_router
from app.receiver.http import not_found_or_not_allowed, origin_pattern, routes, unexpected
from app.receiver.intake import Intake
from app.receiver.openapi import describe_otlp
from app.receiver.tls import Certificates
from app.telemetry import log, start_gauges
from app.worker import Worker

_GRACE_SECONDS = 5
"""How long a stop waits for requests that are being answered."""


@dataclass(frozen=True, slots=True)
class Headrace:
    """The parts of one running receiver, wired together."""

    config: Config
    queue: DiskQueue
    database: Database
    worker: Worker
    app: ASGIApp
    certificates: Certificates | None


def build(config: Config, database_url: str, number: int = 0) -> Headrace:
    """Wires the parts of the process with this number of HEADRACE_WORKERS; opens its queue, but neither Postgres nor a port.

    Raises:
        QueueLocked, QueueUnavailable: the data directory is in use, or cannot be written.
        StartError: the keys or certificates cannot be read.
    """
    certificates = Certificates.of(config)
    start_gauges(config.max_in_flight_bytes)
    keys = Keys.open(config.api_keys) if config.api_keys is not None else None
    queue = open_queue(config, number)
    database = Database(database_url)
    experiments = Experiments(database, config.create_experiments, config.experiment_cache_seconds)
    intake = Intake(config, Pipeline(config, queue, experiments, database), keys)
    grpc = GrpcReceiver(config, intake, queue, certificates, shared=config.workers > 1)
    worker = Worker(config, queue, database, Exporter.of(config, database, experiments))
    renewing = PartTask("tls", certificates.keep_current) if certificates is not None else None
    finisher = Finisher(database, config.finish_seconds) if config.finishes and number == 0 else None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # The way of a span makes many objects and no cycles: with Python's defaults the collector's walks over them took
        # 40 % of the writer's time (28 against 48 µs a span).
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        tracing.start(config)
        worker.start()
        if finisher is not None:
            finisher.start()
        if renewing is not None:
            renewing.start()
        await grpc.start()
        yield
        await grpc.stop(_GRACE_SECONDS)
        if renewing is not None:
            await renewing.stop()
        # Requests have all been answered by now. What the deadline leaves in the queue is written after the next start.
        if not queue.wait_empty(config.shutdown_seconds):
            log.warning("stopped with a backlog, kept on disk", requests=queue.size().items)
        patience = threading.Timer(_GRACE_SECONDS, database.abort)  # a Postgres that hangs does not hold up the stop
        patience.start()
        if finisher is not None:
            finisher.stop()
        worker.stop()
        patience.cancel()
        tracing.stop()
        queue.close()
        database.close()

    app = FastAPI(
        title="Headrace", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    app.include_router(health_router(queue, database))
    app.router.routes.extend(routes(config, intake))
    describe_otlp(app, config)
    app.add_exception_handler(HTTPException, not_found_or_not_allowed)
    app.add_exception_handler(Exception, unexpected)
    return Headrace(config, queue, database, worker, _with_cors(app, config), certificates)


def _with_cors(app: FastAPI, config: Config) -> ASGIApp:
    """Around everything, so that a browser may read errors as well."""
    if not config.cors_origins:
        return app
    everybody = "*" in config.cors_origins
    return CORSMiddleware(
        app,
        allow_origins=["*"] if everybody else [],
        allow_origin_regex=None if everybody else origin_pattern(config),
        # sendBeacon sends credentials whether there are any or not, and the browser then wants this, and an origin by name.
        allow_credentials=not everybody,
        allow_methods=["POST"],
        allow_headers=["*"],
        expose_headers=["retry-after"],
        max_age=7200,
    )


def open_database(database: Database) -> None:
    """Verifies and migrates the schema before the start. Where Postgres is away, receiving starts all the same.

    Raises:
        StartError: Postgres answers, but its schema cannot be written.
    """
    try:
        check(database)
    except DatabaseUnavailable as error:
        log.warning("Postgres is away: receiving starts, writing follows when it is back", error=str(error))


def bind(host: str, port: int, setting: str, *, shared: bool = False) -> socket.socket:
    """A listening socket, or an error that says who has the port and how to choose another.

    `shared`: the workers of one supervisor each have one for the same port, and the kernel spreads the connections.

    Raises:
        StartError: the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio switches Nagle's algorithm off: an answer with a body takes 1 ms instead of 44.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise StartError(
                f"Port {port} on {host} is taken by {_owner(port)}. Stop it, or choose another port with {setting}."
            ) from None
        raise StartError(f"{host}:{port} cannot be bound: {error.strerror}. See HEADRACE_HOST and {setting}.") from None
    return listener


def reserve(host: str, port: int, setting: str) -> socket.socket:
    """A socket that keeps a port for sockets that are `shared`, and takes no connections itself.

    Raises:
        StartError: as `bind`.
    """
    # A socket that would share the port would not notice its owner; this one does, and says who it is.
    with bind(host, port, setting) as probe:
        family, address = probe.family, probe.getsockname()
    keeper = socket.socket(family, socket.SOCK_STREAM)
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    keeper.bind(address)
    return keeper


class Receiver(uvicorn.Server):
    """uvicorn, stopped by whoever sets `should_exit`: it neither takes the process's signals nor raises them again."""

    def __init__(self, headrace: Headrace) -> None:
        certificates = headrace.certificates
        self.failure = ""
        """Why it ended without being asked; empty otherwise."""
        super().__init__(
            uvicorn.Config(
                headrace.app,
                http=partial(Connection, headrace.config),  # type: ignore[arg-type] # it is called, no more
                ws="none",
                ssl_context_factory=None if certificates is None else lambda *_: certificates.ssl,
                log_config=None,
                access_log=False,  # every request is counted in /metrics instead
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=_GRACE_SECONDS,
                timeout_keep_alive=65,
                lifespan="on",
            )
        )

    async def main_loop(self) -> None:
        """uvicorn's own. If it fails, what is open is closed in order, as at a stop, and the process ends."""
        try:
            await super().main_loop()
        except Exception as error:
            self.failure = f"{type(error).__name__}: {error}"
            log.error("the HTTP server failed: stopping", exc_info=error)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves the signals to our caller."""
        yield


def _owner(port: int) -> str:
    """The process that listens on a port, as far as this user may know."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
                process = psutil.Process(connection.pid)
                if "--multiprocessing-fork" in process.cmdline():  # a worker: the one to stop is its supervisor
                    process = process.parent() or process
                return f"process {process.pid} ({process.name()})"
    except psutil.Error:
        pass
    return "another process"
