"""The composition root of `serve`: settings → queue, database, pipeline, worker, and the ASGI application over them."""

import gc
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from headrace import __version__, tracing
from headrace.config import Config
from headrace.errors import DatabaseUnavailable
from headrace.export.exporter import Exporter
from headrace.export.finisher import Finisher
from headrace.export.worker import Worker
from headrace.mlflow.experiments import Experiments
from headrace.mlflow.schema import check
from headrace.parts import PartTask
from headrace.pipeline import Pipeline
from headrace.queue import Queue
from headrace.queue.open import open_queue
from headrace.receiver.auth import Keys
from headrace.receiver.descriptors import raise_limit
from headrace.receiver.grpc import GrpcReceiver
from headrace.receiver.health import health_router
from headrace.receiver.http import not_found_or_not_allowed, origin_pattern, routes, unexpected
from headrace.receiver.intake import Intake
from headrace.receiver.openapi import describe_otlp
from headrace.receiver.serving import GRACE_SECONDS
from headrace.receiver.tls import Certificates
from headrace.store.database import Database
from headrace.telemetry.logging import log
from headrace.telemetry.metrics import start_gauges


@dataclass(frozen=True, slots=True)
class Headrace:
    """The parts of one running receiver, wired together."""

    config: Config
    queue: Queue
    database: Database
    worker: Worker
    app: ASGIApp
    intake: Intake
    certificates: Certificates | None


def build(config: Config, database_url: str, number: int = 0) -> Headrace:
    """Wires the parts of the process with this number of HEADRACE_WORKERS; opens its queue, but neither Postgres nor a port.

    Raises:
        QueueLocked, QueueUnavailable: the data directory is in use, or cannot be written.
        StartError: the keys or certificates cannot be read.
    """
    raise_limit()
    certificates = Certificates.of(config)
    start_gauges(config.max_in_flight_bytes)
    keys = Keys.open(config.api_keys) if config.api_keys is not None else None
    queue = open_queue(config, number)
    database = Database(database_url)
    experiments = Experiments.of(config, database)
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
        await grpc.stop(GRACE_SECONDS)
        if renewing is not None:
            await renewing.stop()
        # Requests have all been answered by now. What the deadline leaves in the queue is written after the next start.
        if not queue.drain(config.shutdown_seconds):
            log.warning("stopped with a backlog, kept on disk", requests=queue.size().items)
        patience = threading.Timer(GRACE_SECONDS, database.abort)  # a Postgres that hangs does not hold up the stop
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
    app.include_router(health_router(queue, database, experiments))
    app.router.routes.extend(routes(config, intake))
    describe_otlp(app, config)
    app.add_exception_handler(HTTPException, not_found_or_not_allowed)
    app.add_exception_handler(Exception, unexpected)
    return Headrace(config, queue, database, worker, _with_cors(app, config), intake, certificates)


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
