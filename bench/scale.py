"""`make scale`: how long each question of the read side takes where there are many traces; and how much CPU, of ours and of
Postgres together, which other work beside does not change. For MLflow's questions it is our process alone.

python -m bench.scale --traces 1000000      builds 1 M traces with 10 M spans, and asks; about half an hour
python -m bench.scale --traces 50000        the same, smaller
python -m bench.scale --keep DIRECTORY      keeps the database there; with more --traces it goes on growing
python -m bench.scale --url postgresql://…  asks a database that is there; writes nothing
"""

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from bench import fleet
from rich.console import Console
from rich.progress import track

from headrace.config import MLFLOW_DEFAULTS, load, sqlalchemy_url
from headrace.console.jaeger import dependency_storage_pb2 as dependency
from headrace.console.jaeger import trace_storage_pb2 as storage
from headrace.console.jaeger.methods import Asking, Methods
from headrace.console.web import pages
from headrace.console.web.asked import Asked
from headrace.console.web.files import Rendering
from headrace.console.web.road import Road
from headrace.local.postgres import EmbeddedPostgres
from headrace.reader import Query
from headrace.reader.connections import ReadConnections, Rows
from headrace.reader.postgres import PostgresReader

GOAL_MS = 300
console = Console(highlight=False, markup=False, soft_wrap=True)

Question = Callable[[random.Random], Any]


def main() -> int:
    """The exit status: 1 if a question of ours misses the goal."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--traces", type=int, default=1_000_000, help="traces of 10 spans each [%(default)s]")
    parser.add_argument("--processes", type=int, default=2, help="that write [%(default)s]")
    parser.add_argument("--asked", type=int, default=30, help="times that each question is asked [%(default)s]")
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="where the database is, and stays")
    parser.add_argument("--url", help="of a database that has traces already; nothing is written")
    options = parser.parse_args()
    os.environ.update(MLFLOW_DEFAULTS)
    with _database(options) as url:
        reader = PostgresReader(url, load(read_seconds=60))
        watched = _Watched(url)
        reader._connections = watched
        console.print("| question | median, ms | p95, ms | p95 of CPU, ms |\n|---|--:|--:|--:|")
        ours = _ours(reader, url) | _pages(reader, url)
        slow = [_ask(name, question, options.asked, watched) for name, question in ours.items()]
        reader.close()
        for name, question in _mlflows(url).items():
            _ask(name, question, max(3, options.asked // 5), None)
    return int(any(slow))


@contextmanager
def _database(options: argparse.Namespace) -> Iterator[str]:
    if options.url:
        yield options.url
        return
    with ExitStack() as stack:
        place = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headrace-scale-")))
        place.mkdir(exist_ok=True)
        place.chmod(0o711)
        postgres = stack.enter_context(EmbeddedPostgres(place / "postgres"))
        _grow(postgres.url, options)
        yield postgres.url


def _grow(url: str, options: argparse.Namespace) -> None:
    """Writes as many traces as are missing."""
    experiments = _prepare(url)
    with psycopg.connect(url) as connection:
        (there,) = connection.execute("SELECT count(*) FROM trace_info").fetchone() or (0,)
    missing, begun, total = max(0, options.traces - there), time.monotonic(), 0
    steps = fleet.build(url, experiments, missing, options.processes, there)
    hidden = not sys.stderr.isatty()
    for written in track(steps, "Writing", missing // 100, console=Console(stderr=True), disable=hidden):
        total = written
    console.print(f"{total:,} traces, {total * fleet.SPANS:,} spans, written in {time.monotonic() - begun:.0f} s.")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def _prepare(url: str) -> list[str]:
    """MLflow's schema and ours, and some experiments: their ids."""
    from headrace.local.mlflow_server import upgrade_mlflow_schema
    from headrace.store.database import Database
    from headrace.store.migrations import migrate

    upgrade_mlflow_schema(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET synchronous_commit = off")  # what is measured is reading
        connection.execute("ALTER SYSTEM SET max_wal_size = '8GB'")
        connection.execute("SELECT pg_reload_conf()")
    store = _store(url)
    known = {each.name: str(each.experiment_id) for each in store.search_experiments()}
    names = [f"fleet {number}" for number in range(fleet.EXPERIMENTS)]
    found = [known.get(name) or str(store.create_experiment(name)) for name in names]
    store._dispose_engine()
    database = Database(url)
    with database.begin() as connection:
        migrate(connection)
    database.close()
    return found


def _store(url: str) -> Any:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    return SqlAlchemyStore(sqlalchemy_url(url), "mlflow-artifacts:/")  # type: ignore[no-untyped-call]


def _ours(reader: PostgresReader, url: str) -> dict[str, Question]:
    """The questions of the read side and of Jaeger."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT request_id FROM trace_info TABLESAMPLE SYSTEM (5) LIMIT 1000").fetchall()
    ids = [row[0].removeprefix("tr-") for row in rows]
    jaeger, asking = Methods(reader, load().read_max_bytes), Asking(None, [])
    hour = 3_600_000_000_000

    def search(**asked: Any) -> Question:
        def ask(chance: random.Random) -> Any:
            filled = {key: value(chance) if callable(value) else value for key, value in asked.items()}
            return reader.search(Query(**filled))

        return ask

    def dependencies(hours: int) -> Question:
        return lambda _: reader.dependencies(time.time_ns() - hours * hour, time.time_ns())

    def found(method: str, request: Any) -> Question:
        def ask(chance: random.Random) -> Any:
            query = storage.TraceQueryParameters(service_name=service(chance), search_depth=20)
            return list(getattr(jaeger, method)(request(query=query).SerializeToString(), asking))

        return ask

    def service(chance: random.Random) -> str:
        return chance.choice(fleet.SERVICES)

    def some_hour(chance: random.Random) -> int:
        return time.time_ns() - chance.randrange(hour, 7 * 24 * hour)

    def range_of_an_hour(chance: random.Random) -> Any:
        since = some_hour(chance)
        return reader.search(Query(service=service(chance), since=since, until=since + hour))

    def one(chance: random.Random) -> Any:
        asked = storage.GetTraceParams(trace_id=bytes.fromhex(chance.choice(ids)))
        return storage.GetTracesRequest(query=[asked])

    week = dependency.GetDependenciesRequest()
    week.start_time.FromNanoseconds(time.time_ns() - 7 * 24 * hour)
    return {
        "services": lambda _: reader.services(),
        "services of an experiment": lambda _: reader.services([1]),
        "operations": lambda chance: reader.operations(service(chance)),
        "experiments": lambda _: reader.experiments(),
        "a trace": lambda chance: reader.trace(chance.choice(ids)),
        "newest": search(),
        "newest of an experiment": search(experiments=[2]),
        "by service": search(service=service),
        "by service, in an hour": range_of_an_hour,
        "by service and experiment": search(service=service, experiments=[3]),
        "by service in an experiment without traces": search(service=service, experiments=[0]),
        "by service and operation": search(service=service, operation=lambda chance: chance.choice(fleet.OPERATIONS)),
        "by service, failed": search(service=service, error=True),
        "by service, long": search(service=service, min_duration=900_000_000),
        "by service and attribute": search(
            service=service, attributes=lambda chance: {"http.route": f"/v1/{chance.randrange(100)}"}
        ),
        "by attribute": search(attributes=lambda chance: {"http.route": f"/v1/{chance.randrange(100)}"}),
        "by attribute that is rare": search(attributes={"rare": "yes"}),
        "by attribute that nothing has": search(attributes={"user": "nobody"}),
        "by service and attribute that nothing has": search(service=service, attributes={"user": "nobody"}),
        "by service and an operation that nothing has": search(service=service, operation="nothing"),
        "by service that nothing has": search(service="nobody"),
        "dependencies of an hour": dependencies(1),
        "dependencies of a day": dependencies(24),
        "dependencies of a week": dependencies(7 * 24),
        "Jaeger GetServices": lambda _: list(jaeger.get_services(b"", asking)),
        "Jaeger GetOperations": lambda chance: list(
            jaeger.get_operations(storage.GetOperationsRequest(service=service(chance)).SerializeToString(), asking)
        ),
        "Jaeger GetTraces, 1": lambda chance: list(jaeger.get_traces(one(chance).SerializeToString(), asking)),
        "Jaeger FindTraces, 20": found("find_traces", storage.FindTracesRequest),
        "Jaeger FindTraceIDs, 20": found("find_trace_ids", storage.FindTraceIDsRequest),
        "Jaeger FindTraceSummaries, 20": found("find_trace_summaries", storage.FindTraceSummariesRequest),
        "Jaeger GetDependencies, a week": lambda _: list(jaeger.get_dependencies(week.SerializeToString(), asking)),
    }


def _pages(reader: PostgresReader, url: str) -> dict[str, Question]:
    """The console's pages, from what is asked to HTML."""
    config = load()
    rendering, road = Rendering(config), Road(None, "it is not asked here")
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT request_id FROM trace_info TABLESAMPLE SYSTEM (5) LIMIT 1000").fetchall()
    ids = [row[0].removeprefix("tr-") for row in rows]

    def page(section: str, ask: Callable[[Asked], Any], **parameters: str) -> Question:
        def shown(chance: random.Random) -> str:
            filled = {name: chance.choice(ids) if value == "id" else value for name, value in parameters.items()}
            path = {"trace_id": filled["trace_id"]} if "trace_id" in filled else {}
            asked = Asked(config, reader, None, time.time_ns(), path, filled)
            answer = ask(asked)
            given = {"asked": asked, "section": section, "limited": False, "road": road}
            return rendering.html(answer.template, {**given, **answer.values})

        return shown

    return {
        "page: status": page("status", pages.status),
        "page: traces": page("traces", pages.traces),
        "page: traces of a service, failed, an hour": page(
            "traces", pages.traces, service="service-03", status="error", since="1h"
        ),
        "page: traces, the last page": page("traces", pages.traces, service="service-03", page="39"),
        "page: traces by attribute": page("traces", pages.traces, attributes="http.route=/v1/7", since="7d"),
        "page: a trace": page("traces", pages.trace, trace_id="id"),
        "page: compare two": page("compare", pages.comparison, a="id", b="id"),
        "page: compare with the median": page("compare", pages.comparison, b="id"),
        **{f"page: map, {window}": page("map", pages.service_map, window=window) for window in pages.WINDOWS},
        "page: quality": page("quality", pages.quality, experiment="1"),
    }


def _mlflows(url: str) -> dict[str, Question]:
    """What MLflow's own user interface asks, through MLflow's own store."""
    store = _store(url)

    def search(filter_string: str | None = None, order: str = "timestamp_ms DESC", **more: Any) -> Question:
        return lambda _: store.search_traces(["1"], filter_string, max_results=100, order_by=[order], **more)

    def page(_: random.Random) -> Any:
        _, token = store.search_traces(["1"], max_results=100, order_by=["timestamp_ms DESC"])
        return store.search_traces(["1"], max_results=100, order_by=["timestamp_ms DESC"], page_token=token)

    return {
        "MLflow: the newest 100": search(),
        "MLflow: the next page, after the first": page,
        "MLflow: failed": search("attributes.status = 'ERROR'"),
        "MLflow: by a tag": search("tag.`service.name` = 'service-07'"),
        "MLflow: by a span's name": search("span.name = 'operation 07'"),
        "MLflow: by a text in a trace": search("trace.text LIKE '%u123456%'"),
        "MLflow: the slowest": search(order="execution_time_ms DESC"),
    }


class _Watched(ReadConnections):
    """Reading connections that remember how long each statement took."""

    def __init__(self, url: str) -> None:
        super().__init__(url, load(read_seconds=60))
        self.slowest: dict[str, tuple[float, Any]] = {}

    @contextmanager
    def cursor(self) -> Iterator[Rows]:
        """See `ReadConnections.cursor`."""
        with super().cursor() as cursor:
            yield _Timed(cursor, self.slowest)  # type: ignore[misc]

    def cpu_seconds(self) -> float:
        """What Postgres' processes for our connections have taken so far. 0 where they are not on this machine."""
        with super().cursor() as cursor:
            cursor.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'headrace reader'")
            files = [Path(f"/proc/{pid}/schedstat") for (pid,) in cursor]
        return sum(int(file.read_text().split()[0]) for file in files if file.exists()) / 1e9

    def explain(self) -> Iterator[str]:
        """The plans of the slowest statements that miss a third of the goal."""
        for statement, (seconds, parameters) in sorted(self.slowest.items(), key=lambda item: -item[1][0]):
            if seconds * 1000 > GOAL_MS / 3:
                yield f"{seconds * 1000:.0f} ms: {' '.join(statement.split())[:160]} …"
                with super().cursor() as cursor:
                    cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS) {statement}", parameters)
                    yield from (row[0] for row in cursor)


class _Timed:
    """A cursor that says how long its statements take."""

    def __init__(self, cursor: Rows, slowest: dict[str, tuple[float, Any]]) -> None:
        self._cursor = cursor
        self._slowest = slowest

    def _note(self, statement: str, parameters: Any, begun: float) -> None:
        took = time.perf_counter() - begun
        self._slowest[statement] = max(self._slowest.get(statement, (0.0, None)), (took, parameters), key=lambda pair: pair[0])

    def execute(self, statement: str, parameters: Any = None) -> None:
        """See psycopg."""
        begun = time.perf_counter()
        self._cursor.execute(statement, parameters)
        self._note(statement, parameters, begun)

    def stream(self, statement: str, parameters: Any = None) -> Iterator[Any]:
        """See psycopg."""
        begun = time.perf_counter()
        yield from self._cursor.stream(statement, parameters)
        self._note(statement, parameters, begun)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._cursor)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)


def _cpu_seconds(watched: _Watched | None) -> float:
    return time.process_time() + (watched.cpu_seconds() if watched else 0)


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20, method="inclusive")[-1]


def _ask(name: str, question: Question, times: int, watched: _Watched | None) -> bool:
    """Asks a question so often, and prints how long it took. Returns whether it misses the goal."""
    chance, taken, cpu = random.Random(1), list[float](), list[float]()
    if watched:
        watched.slowest.clear()
    for _ in range(times):
        before, begun = _cpu_seconds(watched), time.perf_counter()
        question(chance)
        taken.append((time.perf_counter() - begun) * 1000)
        cpu.append((_cpu_seconds(watched) - before) * 1000)
    p95, cpu95 = _p95(taken), _p95(cpu)
    console.print(f"| {name} | {statistics.median(taken):.0f} | {p95:.0f} | {cpu95:.0f} |")
    if p95 > GOAL_MS and watched:
        for line in watched.explain():
            console.print(f"    {line}")
    return p95 > GOAL_MS


if __name__ == "__main__":
    sys.exit(main())
