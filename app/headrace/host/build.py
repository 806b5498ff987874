"""The composition root of one process: settings → queue, database, pipeline, worker, servers, wired together."""

import gc
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp

from headrace import __version__, tracing
from headrace.config import Config
from headrace.errors import DatabaseRefuses, DatabaseUnavailable, PermanentExportError, StartError
from headrace.export.exporter import Exporter, writer_opener
from headrace.export.finisher import Finisher
from headrace.export.joiner import Joiner
from headrace.export.pruner import Pruner
from headrace.export.retainer import Retainer
from headrace.export.worker import Worker
from headrace.host.heap import give_back_large_blocks
from headrace.mlflow.experiments import Experiments
from headrace.mlflow.experiments.resolve import ExperimentResolver
from headrace.mlflow.rights import check_rights
from headrace.mlflow.runs import RunResolver
from headrace.mlflow.schema import check
from headrace.mlflow.tables import Tables
from headrace.otlp.signals import LOGS, METRICS, TRACES, Signal
from headrace.parts import PartTask
from headrace.pipeline import Pipeline, Steps, processors
from headrace.processor.authorize import Authorizer, Resolver
from headrace.queue import Queue
from headrace.queue.open import open_queue
from headrace.receiver.auth import Keys
from headrace.receiver.descriptors import raise_limit
from headrace.receiver.grpc import GrpcReceiver
from headrace.receiver.health import health_router
from headrace.receiver.hosts import with_checked_hosts
from headrace.receiver.intake import Intake
from headrace.receiver.openapi import describe_otlp
from headrace.receiver.origins import origin_pattern
from headrace.receiver.paths import not_found_or_not_allowed, routes, unexpected
from headrace.receiver.refused import Refused
from headrace.receiver.serving import GRACE_SECONDS
from headrace.receiver.tls import Certificates
from headrace.store.database import Database
from headrace.telemetry.logging import log
from headrace.telemetry.metrics import start_gauges


@dataclass(frozen=True, slots=True)
class Headrace:
    """The parts of one process that others use, wired together."""

    config: Config
    queue: Queue
    database: Database
    worker: Worker
    app: ASGIApp
    intake: Intake
    certificates: Certificates | None


def build(config: Config, database_url: str, number: int = 0) -> Headrace:
    """Wires the parts of one process: the one with this `number` among HEADRACE_WORKERS. Opens its queue, but neither Postgres
    nor a port.

    Raises:
        QueueLocked, QueueUnavailable: the data directory is in use, or cannot be written.
        StartError: the keys or certificates cannot be read.
    """
    raise_limit()
    give_back_large_blocks()
    certificates = Certificates.of(config)
    start_gauges(config.max_in_flight_bytes)
    keys = Keys.open(config.api_keys) if config.api_keys is not None else None
    queue = open_queue(config, number)
    database = Database(database_url)
    experiments = Experiments.of(config, database)
    resolver = ExperimentResolver(config, experiments, database)
    runs = RunResolver(config, resolver, database)
    resolvers: dict[Signal, Resolver] = {TRACES: resolver, LOGS: resolver, METRICS: runs}
    steps = {signal: Steps(chain, Authorizer(resolvers[signal])) for signal, chain in processors(config).items()}
    intake = Intake(config, Pipeline(steps, queue), keys)
    grpc = GrpcReceiver(config, intake, queue, certificates, shared=config.workers > 1)
    tables = Tables()
    worker = Worker(config, queue, database, Exporter.of(config, database, experiments, tables))
    parts = _Parts(config, queue, database, grpc, worker, list(_housekeepers(config, database, number, tables)))
    if certificates is not None:
        parts.tasks.append(PartTask("tls", certificates.keep_current))
    health = health_router(queue, database, experiments, tables)
    health.routes.append(Route("/refused", Refused(config, keys).answer, methods=["GET"], include_in_schema=False))
    app = _app(config, parts, intake, health)
    return Headrace(config, queue, database, worker, _with_cors(with_checked_hosts(app, config), config), intake, certificates)


def _housekeepers(
    config: Config, database: Database, number: int, tables: Tables
) -> Iterator[Finisher | Joiner | Pruner | Retainer]:
    """The threads beside the writer. One process of several has them."""
    if number == 0:
        if config.finishes:
            yield Finisher(database, config.finish_seconds)
        if config.enrich:
            yield Joiner(database, writer_opener(config, tables), config.logs_wait_seconds, config.logs_wait_max_bytes)
        yield Pruner(database, config.origin_days, config.index_days)
        if config.retention:
            yield Retainer(database, config.retention)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What runs in one process, in the order of its start; it stops in the other order, the senders first."""

    config: Config
    queue: Queue
    database: Database
    grpc: GrpcReceiver
    worker: Worker
    housekeepers: Sequence[Finisher | Joiner | Pruner | Retainer]
    tasks: list[PartTask] = field(default_factory=list)

    @asynccontextmanager
    async def running(self, _: FastAPI) -> AsyncIterator[None]:
        """FastAPI's lifespan: inside it all parts run."""
        # The garbage collector looks for cycles; a span makes many objects and no cycle. With Python's default thresholds
        # the collector took 40 % of the writer's time: 48 instead of 28 µs a span.
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        tracing.start(self.config)
        for part in (self.worker, *self.housekeepers, *self.tasks):
            part.start()
        await self.grpc.start()
        yield
        await self.grpc.stop(GRACE_SECONDS)
        for task in self.tasks:
            await task.stop()
        self._drain_and_stop()

    def _drain_and_stop(self) -> None:
        # All requests have been answered by now. What is still queued at the deadline is written after the next start.
        if not self.queue.drain(self.config.shutdown_seconds):
            log.warning("stopped with a backlog, kept on disk", requests=self.queue.size().items)
        patience = threading.Timer(
            GRACE_SECONDS, self.database.abort
        )  # so that a Postgres that hangs does not hold up the stop
        patience.start()
        for part in (*self.housekeepers, self.worker):
            part.stop()
        patience.cancel()
        tracing.stop()
        self.queue.close()
        self.database.abort()  # a thread that looks experiments up may still wait for a Postgres that hangs
        self.database.close()
        log.info("stopped")


def _app(config: Config, parts: _Parts, intake: Intake, health: APIRouter) -> FastAPI:
    app = FastAPI(
        title="Headrace", version=__version__, lifespan=parts.running, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    app.include_router(health)
    app.router.routes.extend(routes(config, intake))
    describe_otlp(app, config)
    app.add_exception_handler(HTTPException, not_found_or_not_allowed)
    app.add_exception_handler(Exception, unexpected)
    return app


def _with_cors(app: ASGIApp, config: Config) -> ASGIApp:
    """Adds CORS outermost, so that a browser may read errors, too."""
    if not config.cors_origins:
        return app
    everybody = "*" in config.cors_origins
    return CORSMiddleware(
        app,
        allow_origins=["*"] if everybody else [],
        allow_origin_regex=None if everybody else origin_pattern(config),
        # sendBeacon always sends with credentials. The browser then wants this header, and the origin by name.
        allow_credentials=not everybody,
        allow_methods=["POST"],
        allow_headers=["*"],
        expose_headers=["retry-after"],
        max_age=7200,
    )


def open_database(database: Database, creates_experiments: bool = True, expires: bool = False) -> None:
    """Checks MLflow's schema and our rights, and migrates our own schema, before the start. If Postgres is away, logs that and
    returns: receiving can start.

    `creates_experiments`: HEADRACE_CREATE_EXPERIMENTS. `expires`: whether HEADRACE_RETENTION has a rule.

    Raises:
        StartError: Postgres answers, but does not let us in, or its schema cannot be written.
    """
    try:
        schema = check(database)
        check_rights(database, creates_experiments, schema.shape, expires)
    except DatabaseRefuses as error:
        raise StartError(str(error)) from None
    except PermanentExportError as error:
        raise StartError(f"HEADRACE_DATABASE_URL cannot be used: {error}.") from None
    except DatabaseUnavailable as error:
        log.warning("Postgres is away: receiving starts, writing follows when it is back", error=str(error))
