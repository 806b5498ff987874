"""The composition root of one process: settings → queue, database, pipeline, worker, servers, wired together."""

from collections.abc import Iterator
from dataclasses import dataclass

from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp

from headrace import __version__
from headrace.config import Config
from headrace.errors import DatabaseRefuses, DatabaseUnavailable, PermanentExportError, StartError
from headrace.export.adopt import Adopter
from headrace.export.exporter import Exporter
from headrace.export.finisher import Finisher
from headrace.export.forwarder import Forwarder
from headrace.export.joiner import Joiner
from headrace.export.openers import writer_opener
from headrace.export.pruner import Pruner
from headrace.export.retainer import Retainer
from headrace.export.worker import Worker
from headrace.host.heap import give_back_large_blocks
from headrace.host.process_parts import Beside, Parts
from headrace.host.roles import Role
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
from headrace.processor.record_size import RecordSize
from headrace.queue import Queue
from headrace.queue.kafka.queue import KafkaQueue
from headrace.queue.kafka.queue import Parts as QueueParts
from headrace.queue.open import open_queue
from headrace.queue.spill import SpillQueue
from headrace.receiver.auth import Keys
from headrace.receiver.descriptors import raise_limit
from headrace.receiver.grpc import GrpcReceiver
from headrace.receiver.health import health_router
from headrace.receiver.hosts import with_checked_hosts
from headrace.receiver.intake import Intake
from headrace.receiver.openapi import describe_otlp
from headrace.receiver.origins import origin_pattern
from headrace.receiver.paths import OtlpFirst, endpoints, not_found_or_not_allowed, routes, unexpected
from headrace.receiver.refused import Refused
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
    app: ASGIApp
    intake: Intake
    certificates: Certificates | None


def build(config: Config, database_url: str, number: int = 0, role: Role = Role.SERVE) -> Headrace:
    """Wires the parts of one process: the one with this `number` among HEADRACE_WORKERS, in this role. Opens its queue, but
    neither Postgres nor a port.

    Raises:
        QueueLocked, QueueUnavailable: the data directory is in use, or cannot be written.
        StartError: the keys or certificates cannot be read, or Kafka's topic cannot be the queue.
    """
    raise_limit()
    give_back_large_blocks()
    certificates = Certificates.of(config)
    start_gauges(config.max_in_flight_bytes)
    keys = Keys.open(config.api_keys) if config.api_keys is not None and role.receives else None
    before_queue = processors(config)
    queue = open_queue(config, number, Adopter(config, before_queue), QueueParts(sends=role.receives, reads=role.writes))
    database = Database(database_url)
    experiments = Experiments.of(config, database)
    resolvers = _resolvers(config, database, experiments)
    steps = {
        signal: Steps((*chain, *_of_queue(queue)), Authorizer(resolvers[signal])) for signal, chain in before_queue.items()
    }
    intake = Intake(config, Pipeline(steps, queue), keys)
    tables = Tables()
    parts = Parts(config, queue, database)
    if role.writes:
        parts.worker = Worker(config, queue, database, Exporter.of(config, database, experiments, tables))
        parts.housekeepers = list(_housekeepers(config, database, number, tables))
    if certificates is not None:
        parts.tasks.append(PartTask("tls", certificates.keep_current))
    app = _app(parts, health_router(queue, database, experiments, tables), Refused(config, keys))
    if role.receives:
        parts.grpc = GrpcReceiver(config, intake, queue, certificates, shared=config.workers > 1)
    answers = _with_otlp(app, config, intake) if role.receives else app
    return Headrace(config, queue, database, _with_cors(with_checked_hosts(answers, config), config), intake, certificates)


def _resolvers(config: Config, database: Database, experiments: Experiments) -> dict[Signal, Resolver]:
    """For each signal what finds the experiments, or the runs, that a request names."""
    resolver = ExperimentResolver(config, experiments, database)
    return {TRACES: resolver, LOGS: resolver, METRICS: RunResolver(config, resolver, database)}


def _of_queue(queue: Queue) -> Iterator[RecordSize]:
    """The processors that the queue asks for."""
    most = queue.max_record if isinstance(queue, KafkaQueue | SpillQueue) else None
    if most is not None:
        yield RecordSize(most)


def _housekeepers(config: Config, database: Database, number: int, tables: Tables) -> Iterator[Beside]:
    """The threads beside the writer. One process of several has them."""
    if number == 0:
        if config.finishes:
            yield Finisher(database, config.finish_seconds)
        if config.enrich:
            yield Joiner(database, writer_opener(config, tables), config.logs_wait_seconds, config.logs_wait_max_bytes)
        yield Pruner(database, config.origin_days, config.index_days)
        if config.metrics_forward is not None:
            yield Forwarder(config, database)
        if config.retention:
            yield Retainer(database, config.retention)


def _app(parts: Parts, health: APIRouter, refused: Refused) -> FastAPI:
    health.routes.append(Route("/refused", refused.answer, methods=["GET"], include_in_schema=False))
    app = FastAPI(
        title="Headrace", version=__version__, lifespan=parts.running, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    app.include_router(health)
    app.add_exception_handler(HTTPException, not_found_or_not_allowed)
    app.add_exception_handler(Exception, unexpected)
    return app


def _with_otlp(app: FastAPI, config: Config, intake: Intake) -> ASGIApp:
    signals = endpoints(intake)
    app.router.routes.extend(routes(config, signals))
    describe_otlp(app, config)
    return OtlpFirst(app, config, signals)


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
