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
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

import psycopg
from mlflow.version import VERSION

from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.local.mlflow_server import upgrade_mlflow_schema
from headrace.local.postgres import EmbeddedPostgres
from headrace.mlflow.write import Writer
from headrace.otlp.spans import spans_of
from headrace.store.database import Database
from headrace.store.migrations import migrate
from headrace.telemetry.logging import configure_logging
from otlp import validate
from parity.compare import Difference, diff, explain, snapshot, unknown
from parity.corpus import Exchange, Scenario, corpus, names_of
from parity.databases import MLFLOW_SETTINGS, seed
from parity.in_process import mlflow_in_process
from parity.scenario import EXPERIMENT_HEADER, RUN_HEADER

DIRECTORY = Path(tempfile.gettempdir()) / f"headrace-parity-{os.getuid()}"


def main() -> int:
    """Prints what differs; the exit status is 1 where something does."""
    arguments = _arguments()
    logging.disable(logging.ERROR)  # MLflow warns of each value that it cuts
    warnings.simplefilter("ignore")
    configure_logging("console", "error")
    os.environ.update(MLFLOW_SETTINGS | {"MLFLOW_DISABLE_TELEMETRY": "true"})
    everything = corpus()
    scenarios = [scenario for scenario in everything if arguments.only in scenario.name]
    names = names_of(scenarios)
    exchanges = [exchange for scenario in scenarios for exchange in scenario.exchanges]
    print(f"{len(scenarios)} scenarios, {len(exchanges)} requests, {sum(len(e.spans) for e in exchanges)} spans")
    with EmbeddedPostgres(DIRECTORY / "pg") as postgres:
        databases = Databases(postgres.url)
        expected = snapshot(databases.oracle(everything, arguments.fresh))
        failed = False
        for size in arguments.batch:
            url = databases.clone(f"ours_{os.getpid()}_{size}")
            seconds = _write(arguments.writer, url, exchanges, size, 2 if arguments.twice else 1)
            differences = _relevant(unknown(diff(expected, snapshot(url)), names), names, arguments)
            databases.drop(url)
            print(f"{size or 'all'} requests a batch: {seconds:.1f} s, {len(differences)} unknown differences")
            if differences:
                print(explain(differences, names, arguments.limit))
                failed = True
    return failed


def _relevant(differences: list[Difference], names: Mapping[str, str], arguments: argparse.Namespace) -> list[Difference]:
    if arguments.twice:  # it counts the writes
        differences = [difference for difference in differences if difference.column != "db_payload_generation"]
    if arguments.only:
        differences = [difference for difference in differences if difference.trace_id in names]
    return differences


class Databases:
    """Clones of one seeded template, in a Postgres whose files stay for the next run."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._template = "seeded_" + _digest(VERSION.encode(), Path(__file__).with_name("databases.py").read_bytes())
        if not self._exists(self._template):
            upgrade_mlflow_schema(url)
            self._copy("mlflow", self._template)
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
        parts = [exchange.request.SerializeToString(deterministic=True) for s in scenarios for exchange in s.exchanges]
        headers = [str(sorted(exchange.headers.items())).encode() for s in scenarios for exchange in s.exchanges]
        name = "oracle_" + _digest(self._template.encode(), *parts, *headers)
        if fresh or not self._exists(name):
            started = time.perf_counter()
            url = self.clone(f"writing_{name}")
            _ask_mlflow(url, scenarios)
            for old in self._oracles():
                self._execute(f"DROP DATABASE {old} WITH (FORCE)")
            self._execute(f"ALTER DATABASE writing_{name} RENAME TO {name}")
            print(f"MLflow's endpoint wrote them in {time.perf_counter() - started:.1f} s")
        return self._named(name)

    def _copy(self, source: str, name: str) -> None:
        self._execute(f"CREATE DATABASE {name} TEMPLATE {source} STRATEGY FILE_COPY")

    def _oracles(self) -> list[str]:
        with psycopg.connect(self._named("postgres")) as connection:
            return [row[0] for row in connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'oracle_%'")]

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
    with mlflow_in_process(url) as send:
        for scenario in scenarios:
            for exchange in scenario.exchanges:
                answer = send(exchange)
                if answer.status_code != 200:
                    print(f"MLflow answers {answer.status_code} to {scenario.name}: {answer.text[:300]}")


def _open(spec: str, database: Database) -> Writer:
    """`module:Class` → the writer, with enrichment off if it knows of that."""
    module, _, name = spec.partition(":")
    factory = getattr(import_module(module), name)
    writer: Writer = factory(database, **({"enrich": False} if "enrich" in inspect.signature(factory).parameters else {}))
    return writer


def _write(writer_spec: str, url: str, exchanges: Sequence[Exchange], size: int, times: int) -> float:
    """Writes each batch so many times; returns the seconds that it took."""
    deliveries = [_delivery(exchange) for exchange in exchanges]
    database = Database(url)
    with database.begin() as connection:
        migrate(connection)
    writer = _open(writer_spec, database)
    started = time.perf_counter()
    size = size or len(deliveries)
    failures: list[str] = []
    for first in range(0, len(deliveries), size):
        for _ in range(times):
            _write_or_halve(writer, deliveries[first : first + size], failures)
    database.close()
    for failure in failures[:5]:
        print(f"one of {len(failures)} requests that were not written: {failure}")
    return time.perf_counter() - started


def write_all(writer: Writer, exchanges: Sequence[Exchange]) -> list[str]:
    """Writes each request alone; returns why those failed that were not written."""
    failures: list[str] = []
    for exchange in exchanges:
        _write_or_halve(writer, [_delivery(exchange)], failures)
    return failures


def _write_or_halve(writer: Writer, deliveries: Sequence[Delivery], failures: list[str]) -> None:
    """As the worker does, but gathers what could not be written."""
    try:
        writer.write(writer.translate(deliveries))
    except Exception as error:
        if middle := len(deliveries) // 2:
            _write_or_halve(writer, deliveries[:middle], failures)
            _write_or_halve(writer, deliveries[middle:], failures)
        else:
            failures.append(f"{spans_of(deliveries[0].request)[0].trace_id.hex()}: {type(error).__name__}: {error}")


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
    parser.add_argument("--writer", default="headrace.mlflow.write.bulk:BulkWriter", help="module:Class of a Writer")
    parser.add_argument("--batch", default="1,25,0", type=lambda text: [int(size) for size in text.split(",")])
    parser.add_argument(
        "--twice", action="store_true", help="write each batch twice, as after a crash: the rows must be the same"
    )
    parser.add_argument("--only", default="", help="only scenarios whose name has this in it")
    parser.add_argument("--limit", default=12, type=int, help="how many scenarios that differ are shown")
    parser.add_argument("--fresh", action="store_true", help="ask MLflow again")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
