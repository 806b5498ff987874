"""The parity test without servers, for work on a writer: seconds instead of a minute.

    PYTHONPATH=tests .venv/bin/python -m parity.quick [--writer module:Class] [--batch 1,25,0] [--only TEXT]

MLflow's endpoint runs in this process, once: its database is kept until the corpus or MLflow's version changes. The writer
gets what the worker would give it, `--batch` requests at a time (0: all at once), each size into a database of its own.
"""

import argparse
import hashlib
import inspect
import logging
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import psycopg

from app.config import sqlalchemy_url
from app.database import Database
from app.exporter import Delivery, Writer
from app.exporter.retry import spans_of
from app.exporter.schema import migrate
from app.local import EmbeddedPostgres, upgrade_mlflow_schema
from app.processor.validate import validate
from app.queue import envelope_pb2 as pb
from parity.compare import diff, explain, snapshot
from parity.corpus import Exchange, Scenario, corpus
from parity.databases import MLFLOW_SETTINGS, seed
from parity.scenario import EXPERIMENT_HEADER, RUN_HEADER

DIRECTORY = Path(tempfile.gettempdir()) / f"headrace-parity-{os.getuid()}"


def main() -> int:
    """Prints what differs; the exit status is 1 where something does."""
    arguments = _arguments()
    logging.disable(logging.ERROR)  # MLflow warns of each value that it cuts
    os.environ.update(MLFLOW_SETTINGS | {"MLFLOW_DISABLE_TELEMETRY": "true"})
    scenarios = [scenario for scenario in corpus() if arguments.only in scenario.name]
    names = {trace_id: scenario.name for scenario in scenarios for trace_id in scenario.trace_ids}
    exchanges = [exchange for scenario in scenarios for exchange in scenario.exchanges]
    print(f"{len(scenarios)} scenarios, {len(exchanges)} requests, {sum(len(e.spans) for e in exchanges)} spans")
    failed = False
    with EmbeddedPostgres(DIRECTORY / "pg") as postgres:
        databases = Databases(postgres.url)
        expected = snapshot(databases.oracle(scenarios, arguments.fresh))
        for size in arguments.batch:
            url = databases.clone(f"ours_{os.getpid()}_{size}")
            database = Database(url)
            seconds = _write(_open(arguments.writer, database), exchanges, size)
            database.close()
            differences = diff(expected, snapshot(url))
            databases.drop(url)
            print(f"{size or 'all'} requests a batch: {seconds:.1f} s, {len(differences)} differences")
            print(explain(differences, names, arguments.limit))
            failed = failed or bool(differences)
    return failed


class Databases:
    """Clones of one seeded template, in a Postgres whose files stay for the next run."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._template = "seeded_" + _digest(Path(__file__).with_name("databases.py").read_bytes())
        if not self._exists(self._template):
            upgrade_mlflow_schema(url)
            self._copy("mlflow", self._template)
            database = Database(self._named(self._template))
            with database.begin() as connection:
                migrate(connection)
            database.close()
            seed(self._named(self._template))

    def clone(self, name: str) -> str:
        """A fresh database of this name."""
        self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        self._copy(self._template, name)
        return self._named(name)

    def drop(self, url: str) -> None:
        """Drops a clone."""
        self._execute(f"DROP DATABASE {url.rpartition('?')[0].rpartition('/')[2]} WITH (FORCE)")

    def oracle(self, scenarios: Sequence[Scenario], fresh: bool) -> str:
        """The database that MLflow has written; written now if there is none for these scenarios yet."""
        from mlflow.version import VERSION

        parts = [exchange.request.SerializeToString(deterministic=True) for s in scenarios for exchange in s.exchanges]
        headers = [str(sorted(exchange.headers.items())).encode() for s in scenarios for exchange in s.exchanges]
        name = "oracle_" + _digest(self._template.encode(), VERSION.encode(), *parts, *headers)
        if fresh or not self._exists(name):
            started = time.perf_counter()
            url = self.clone(f"writing_{name}")
            _ask_mlflow(url, scenarios)
            self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            self._execute(f"ALTER DATABASE writing_{name} RENAME TO {name}")
            print(f"MLflow's endpoint wrote them in {time.perf_counter() - started:.1f} s")
        return self._named(name)

    def _copy(self, source: str, name: str) -> None:
        self._execute(f"CREATE DATABASE {name} TEMPLATE {source} STRATEGY FILE_COPY")

    def _exists(self, name: str) -> bool:
        with psycopg.connect(self._named("postgres")) as connection:
            return connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is not None

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self._named("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())

    def _named(self, name: str) -> str:
        return self._url.replace("/mlflow?", f"/{name}?")


def _ask_mlflow(url: str, scenarios: Sequence[Scenario]) -> None:
    """Sends the scenarios to MLflow's own endpoint, in this process."""
    from fastapi import FastAPI
    from fastapi.testclient import TestClient
    from mlflow.server.handlers import _get_tracking_store
    from mlflow.server.otel_api import otel_router

    store: Any = _get_tracking_store(sqlalchemy_url(url), "mlflow-artifacts:/")
    app = FastAPI()
    app.include_router(otel_router)
    with TestClient(app) as client:
        for scenario in scenarios:
            for exchange in scenario.exchanges:
                headers = {**exchange.headers, "content-type": "application/x-protobuf"}
                answer = client.post("/v1/traces", content=exchange.request.SerializeToString(), headers=headers)
                if answer.status_code != 200:
                    print(f"MLflow answers {answer.status_code} to {scenario.name}: {answer.text[:300]}")
    store._dispose_engine()


def _open(spec: str, database: Database) -> Writer:
    """`module:Class` → the writer, with enrichment off if it knows of that."""
    module, _, name = spec.partition(":")
    factory = getattr(import_module(module), name)
    writer: Writer = factory(database, **({"enrich": False} if "enrich" in inspect.signature(factory).parameters else {}))
    return writer


def _write(writer: Writer, exchanges: Sequence[Exchange], size: int) -> float:
    """Seconds that it took."""
    deliveries = [_delivery(exchange) for exchange in exchanges]
    started = time.perf_counter()
    size = size or len(deliveries)
    for first in range(0, len(deliveries), size):
        _write_or_halve(writer, deliveries[first : first + size])
    return time.perf_counter() - started


def _write_or_halve(writer: Writer, deliveries: Sequence[Delivery]) -> None:
    """As the worker does, but says at once what could not be written."""
    try:
        writer.write(deliveries)
    except Exception as error:
        names = {span.name for delivery in deliveries for span in spans_of(delivery.request)}
        print(f"not written: {len(deliveries)} requests ({', '.join(sorted(names))[:80]}): {type(error).__name__}: {error}")
        if middle := len(deliveries) // 2:
            _write_or_halve(writer, deliveries[:middle])
            _write_or_halve(writer, deliveries[middle:])


def _delivery(exchange: Exchange) -> Delivery:
    request = type(exchange.request)()
    request.CopyFrom(exchange.request)
    validate(request)
    destination = pb.Destination(experiment_id=exchange.headers[EXPERIMENT_HEADER], routed_by=pb.ROUTED_BY_HEADER)
    return Delivery(request, (destination,) * len(request.resource_spans), exchange.headers.get(RUN_HEADER, ""), 0, "")


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:16]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--writer", default="app.exporter.mlflow_store:MlflowStoreWriter", help="module:Class of a Writer")
    parser.add_argument("--batch", default="1,25,0", type=lambda text: [int(size) for size in text.split(",")])
    parser.add_argument("--only", default="", help="only scenarios whose name has this in it")
    parser.add_argument("--limit", default=12, type=int, help="how many scenarios that differ are shown")
    parser.add_argument("--fresh", action="store_true", help="ask MLflow again")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
