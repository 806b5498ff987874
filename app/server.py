"""The composition root of `serve`: settings → queue, database, pipeline, worker, and the ASGI application over them."""

import errno
import gc
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial

import psutil
import uvicorn
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.routing import Route

from app import __version__
from app.config import Config
from app.database import Database
from app.errors import DatabaseUnavailable, StartError
from app.exporter.schema import check, open_writer
from app.pipeline import Pipeline
from app.processor.experiments import Experiments
from app.queue.disk import DiskQueue
from app.receiver.health import health_router
from app.receiver.http import TRACES_PATH, TracesEndpoint, not_found_or_not_allowed, unexpected
from app.telemetry import log
from app.worker import Worker


@dataclass(frozen=True, slots=True)
class Headrace:
    """The parts of one running receiver, wired together."""

    config: Config
    queue: DiskQueue
    database: Database
    worker: Worker
    app: FastAPI


def build(config: Config, database_url: str) -> Headrace:
    """Wires the parts; opens the queue, but neither Postgres nor a port.

    Raises:
        QueueLocked, QueueUnavailable: the data directory is in use, or cannot be written.
    """
    queue = DiskQueue(config.data_dir / "queue", config.queue_max_bytes)
    database = Database(database_url)
    experiments = Experiments(database, config.create_experiments, config.experiment_cache_seconds)
    pipeline = Pipeline(config, queue, experiments, database)
    worker = Worker(config, queue, database, experiments, partial(open_writer, enrich=config.enrich))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # The way of a span makes many objects and no cycles: with Python's defaults the collector's walks over them took
        # 40 % of the writer's time (28 against 48 µs a span).
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        worker.start()
        yield
        # Requests have all been answered by now. What the deadline leaves in the queue is written after the next start.
        if not queue.wait_empty(config.shutdown_seconds):
            log.warning("stopped with a backlog, kept on disk", requests=queue.size().items)
        worker.stop()
        queue.close()
        database.close()

    app = FastAPI(title="Headrace", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.include_router(health_router(queue, database))
    app.router.routes.append(Route(TRACES_PATH, TracesEndpoint(config, pipeline), methods=["POST"]))
    app.add_exception_handler(HTTPException, not_found_or_not_allowed)
    app.add_exception_handler(Exception, unexpected)
    return Headrace(config, queue, database, worker, app)


def open_database(headrace: Headrace) -> None:
    """Verifies and migrates the schema before the start. Where Postgres is away, receiving starts all the same.

    Raises:
        StartError: Postgres answers, but its schema cannot be written.
    """
    try:
        check(headrace.database)
    except DatabaseUnavailable as error:
        log.warning("Postgres is away: receiving starts, writing follows when it is back", error=str(error))


def bind(host: str, port: int, setting: str) -> socket.socket:
    """A listening socket, or an error that says who has the port and how to choose another.

    Raises:
        StartError: the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio switches Nagle's algorithm off: an answer with a body takes 1 ms instead of 44.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
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


class Receiver(uvicorn.Server):
    """uvicorn, stopped by whoever sets `should_exit`: it neither takes the process's signals nor raises them again."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,  # every request is counted in /metrics instead
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=5,
                timeout_keep_alive=65,
                lifespan="on",
            )
        )

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
                return f"process {process.pid} ({process.name()})"
    except psutil.Error:
        pass
    return "another process"
