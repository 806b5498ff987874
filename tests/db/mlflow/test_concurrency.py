"""Many writers on the same hot traces, in any order: they never deadlock, they outlive the deadlocks with MLflow's own writes
beside them, and they leave the rows that one writer alone leaves.

Each test goes on for two seconds, or for HEADRACE_SOAK_SECONDS; `pytest -s` shows how much was written.
"""

import itertools
import multiprocessing
import os
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import Any

import psycopg
import pytest
from conftest import rows
from mlflow.entities import TraceInfo, TraceLocation, TraceState
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from parity.compare import Difference, diff, explain, snapshot
from parity.databases import MLFLOW_SETTINGS
from parity.scenario import MS, Draft, of

from headrace.config import sqlalchemy_url
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.errors import DatabaseUnavailable
from headrace.mlflow.experiments import Experiments
from headrace.mlflow.fallback import MlflowStoreWriter
from headrace.mlflow.write import Writer
from headrace.mlflow.write.bulk import BulkWriter
from headrace.otlp.spans import spans_of
from headrace.processor.route import Route
from headrace.store.database import Database

SECONDS = float(os.environ.get("HEADRACE_SOAK_SECONDS", "2"))
# Processes take ten seconds to start. Threads find the same: what meets is the connections.
KINDS = ["threads", "processes"] if "HEADRACE_SOAK_SECONDS" in os.environ else ["threads"]

WRITERS = 4
TRACES = 10
SERVICES = ("checkout", "stock", "payment", "model")
RUN = "a" * 32

ORDER_DEPENDENT: dict[tuple[str, str, str], str] = {
    ("trace_info", "", "session_id"): "the first that came",
    ("trace_request_metadata", "mlflow.trace.user", "value"): "the first that came",
    ("trace_tags", "service.name", "value"): "of the resource that came last",
    ("trace_tags", "service.version", "value"): "of the resource that came last",
    ("trace_tags", "zone", "value"): "of the resource that came last",
}
"""(table, key, column) → what MLflow takes there, and Headrace without enrichment. All else must not depend on the order."""


_SLOW = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.002); RETURN NEW; END'"

pytestmark = pytest.mark.timeout(120 + 4 * SECONDS)

Batches = Sequence[Sequence[Delivery]]
Open = Callable[[Database], Writer]


@dataclass
class Tally:
    """What was done."""

    rounds: int = 0
    commits: int = 0
    spans: int = 0
    deadlocks: int = 0
    """Those that were Headrace's to try again."""

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(one + another for one, another in zip(astuple(self), astuple(other), strict=True)))


def bulk(database: Database) -> Writer:
    """The bulk writer without enrichment."""
    return BulkWriter(database, enrich=False)


def enriching(database: Database) -> Writer:
    """The bulk writer with it."""
    return BulkWriter(database, enrich=True)


def write(writer: Writer, batches: Batches) -> Tally:
    """Writes them as the worker does: what lost a deadlock is tried again; any other error fails the test."""
    tally = Tally()
    for batch in batches:
        while True:
            try:
                writer.write(writer.translate(batch))
                break
            except DatabaseUnavailable as error:
                if "40P01" not in str(error) or tally.deadlocks > 1000:
                    raise
                tally.deadlocks += 1
        tally += Tally(0, 1, sum(len(spans_of(delivery.request)) for delivery in batch), 0)
    return tally


class Crew:
    """Writers that work at the same time, each in a thread (or a process) and with connections of its own."""

    _here = threading.local()

    def __init__(self, url: str, openers: Sequence[Open], kind: str) -> None:
        self._pools = [self._pool(kind, url, opener) for opener in openers]

    @classmethod
    def _pool(cls, kind: str, url: str, opener: Open) -> Executor:
        if kind == "processes":
            context = multiprocessing.get_context("spawn")
            return ProcessPoolExecutor(1, context, initializer=cls._open, initargs=(url, opener))
        return ThreadPoolExecutor(1, initializer=cls._open, initargs=(url, opener))

    @classmethod
    def _open(cls, url: str, opener: Open) -> None:
        cls._here.database = Database(url)
        cls._here.writer = opener(cls._here.database)

    @classmethod
    def _write(cls, batches: Sequence[Sequence[bytes]]) -> Tally:
        return write(cls._here.writer, [[Delivery.from_envelope(data) for data in batch] for batch in batches])

    @classmethod
    def _close(cls) -> None:
        cls._here.database.close()

    def start(self, shares: Sequence[Batches]) -> "list[Future[Tally]]":
        """Gives each writer its batches."""
        packed = [[[delivery.to_envelope() for delivery in batch] for batch in share] for share in shares]
        return [pool.submit(self._write, share) for pool, share in zip(self._pools, packed, strict=True)]

    def close(self) -> None:
        """Waits for all of them, and closes their connections."""
        for pool in self._pools:
            pool.submit(self._close).result()
            pool.shutdown()


@contextmanager
def crew(url: str, *openers: Open, kind: str = "threads") -> Iterator[Crew]:
    """A crew, closed at the end."""
    opened = Crew(url, openers, kind)
    try:
        yield opened
    finally:
        opened.close()


def rounds() -> Iterator[int]:
    """0, 1, 2 … until the time is over; two rounds at the least."""
    end = time.monotonic() + SECONDS
    return itertools.takewhile(lambda number: number < 2 or time.monotonic() < end, itertools.count())


def make_requests(number: int, roots: str = "one", experiments: Sequence[int] = (0,)) -> list[Delivery]:
    """A few traces in many requests, some of which come twice; other traces for each number.

    With several `experiments`, each service has its own by a rule. `roots`: each trace has one; or every second one has two,
    of services that share an experiment; or of services that do not, and a trace has none. Where there are two, each says
    what the other does not, and parents count the tokens of their children too.
    """
    draft = Draft(f"round {number}")
    dice = random.Random(number)
    spans = [pair for trace in range(TRACES) for pair in _hot_trace(draft, str(trace), several=roots != "one")]
    if roots != "one":
        service = SERVICES[2] if roots == "two" else SERVICES[1]
        spans += [(service, _second_root(draft, str(trace))) for trace in range(0, TRACES, 2)]
    if roots == "anywhere":
        rootless = draft.trace_id("1")
        spans = [(service, span) for service, span in spans if span.trace_id != rootless or span.parent_span_id]
    dice.shuffle(spans)
    deliveries = []
    while spans:
        size = dice.randint(1, 12)
        deliveries.append(_delivery(spans[:size], experiments))
        spans = spans[size:]
    return deliveries + deliveries[::4]


def _hot_trace(draft: Draft, trace: str, several: bool) -> Iterator[tuple[str, Span]]:
    """Services and their spans: some begin before the root, some end after it, each has a session and a user of its own."""
    said = {"input.value": "in", "output.value": "out", "session.id": "root's", "user.id": "root's"}
    if several:
        del said["user.id"]
    status = Status(code=Status.STATUS_CODE_ERROR) if trace == "0" else None
    yield SERVICES[0], draft.span("root", attrs=said, trace=trace, status=status, at=10, ms=50)
    for number, service in enumerate(SERVICES):
        usage = {"gen_ai.usage.input_tokens": 40, "gen_ai.usage.output_tokens": 4} if several else {}
        yield service, draft.span(service, "root", usage, trace=trace, at=number, ms=40)
        for leaf in range(4):
            name = f"{service} {leaf}"
            attrs: dict[str, Any] = {"session.id": name, "user.id": name, "n": leaf}
            if leaf % 2:
                attrs |= {"gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 1}
            yield service, draft.span(name, service, attrs, trace=trace, at=leaf * 40 - 30, ms=20 + 40 * number)


def _second_root(draft: Draft, trace: str) -> Span:
    attrs = {"input.value": "second in", "user.id": "second root's", "mlflow.traceTag.team": "b"}
    return draft.span("second root", attrs=attrs, trace=trace, at=5 + int(trace))  # before the other one, or after it


def _delivery(spans: Sequence[tuple[str, Span]], experiments: Sequence[int]) -> Delivery:
    """One request, with a resource for each of its services."""
    by_service: defaultdict[str, list[Span]] = defaultdict(list)
    for service, span in spans:
        by_service[service].append(span)
    resources, destinations = [], []
    for service, found in by_service.items():
        resource = {"service.name": service, "service.version": f"{service} 1", f"only.{service}": 1}
        resource |= {"zone": service} if service != SERVICES[0] else {}
        resources.append(of(resource, *found))
        experiment = experiments[SERVICES.index(service) % len(experiments)]
        routed_by = pb.ROUTED_BY_RULE if len(experiments) > 1 else pb.ROUTED_BY_HEADER
        destinations.append(pb.Destination(experiment_id=str(experiment), routed_by=routed_by))
    return Delivery(ExportTraceServiceRequest(resource_spans=resources), tuple(destinations), RUN, 0, "")


def shares_of(deliveries: Sequence[Delivery], seed: int) -> list[Batches]:
    """Each writer's batches, in another order."""
    dice = random.Random(-seed)
    mixed = dice.sample(deliveries, len(deliveries))
    shares: list[Batches] = []
    for number in range(WRITERS):
        share, size = mixed[number::WRITERS], dice.randint(1, 3)
        shares.append([share[first : first + size] for first in range(0, len(share), size)])
    return shares


def compare(expected: str, found: str) -> list[Difference]:
    """What differs between two databases. Then both are emptied, so that a long run stays small."""
    differences = diff(snapshot(expected), snapshot(found))
    empty(expected)
    empty(found)
    return differences


def empty(url: str) -> None:
    """Deletes all traces."""
    with psycopg.connect(url) as connection:
        connection.execute("TRUNCATE trace_info, entity_associations CASCADE")


def depends_on_order(difference: Difference) -> bool:
    """Whether it is said to."""
    key = difference.key[1] if difference.table in ("trace_tags", "trace_request_metadata") else ""
    return (difference.table, key, difference.column) in ORDER_DEPENDENT


def report(request: pytest.FixtureRequest, tally: Tally, url: str) -> None:
    """Prints what was done, and the deadlocks that Postgres saw, MLflow's among them."""
    (found,) = rows(url, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    print(f"\n{request.node.name}: {tally}; {found['deadlocks']} deadlocks in Postgres")


@pytest.fixture(params=["false", "true"], ids=["no daily sums", "daily sums"])
def urls(request: pytest.FixtureRequest, new_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Two databases: for one writer alone, and for many. In the second, each new trace takes two milliseconds, so that
    writers meet within their statements too, and a deadlock is found at once."""
    for name, value in (MLFLOW_SETTINGS | {"MLFLOW_SQL_TRACE_ROLLUPS_ENABLED": request.param}).items():
        monkeypatch.setenv(name, value)
    alone, together = new_database(), new_database()
    with psycopg.connect(together) as connection:
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET deadlock_timeout = '20ms'".encode())
        connection.execute(_SLOW)
        connection.execute("CREATE TRIGGER slow BEFORE INSERT ON trace_info FOR EACH ROW EXECUTE FUNCTION slow()")
    return alone, together


@pytest.mark.parametrize("kind", KINDS)
def test_writers_never_deadlock_and_leave_the_rows_of_one(
    urls: tuple[str, str], request: pytest.FixtureRequest, kind: str
) -> None:
    tally = run(urls, bulk, make_requests, depends_on_order, kind)
    report(request, tally, urls[1])
    assert tally.deadlocks == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("roots", ["two", "anywhere"])
def test_with_enrichment_nothing_depends_on_the_order(
    urls: tuple[str, str], request: pytest.FixtureRequest, kind: str, roots: str
) -> None:
    experiments = [ids_of(url) for url in urls]
    assert experiments[0] == experiments[1]

    def make(number: int) -> list[Delivery]:
        return make_requests(number, roots, experiments[0])

    # The experiments themselves were made at different times.
    tally = run(urls, enriching, make, lambda difference: difference.table == "experiments", kind)
    report(request, tally, urls[1])
    assert tally.deadlocks == 0


def run(
    urls: tuple[str, str],
    opener: Open,
    requests: Callable[[int], list[Delivery]],
    allowed: Callable[[Difference], bool],
    kind: str,
) -> Tally:
    """Round after round: one writer in order, many in another, then the rows compared."""
    tally = Tally()
    with crew(urls[0], opener) as alone, crew(urls[1], *[opener] * WRITERS, kind=kind) as together:
        for number in rounds():
            deliveries = requests(number)
            done = together.start(shares_of(deliveries, number))
            (reference,) = alone.start([[[delivery] for delivery in deliveries]])
            for future in (*done, reference):
                future.result()
            tally = sum((future.result() for future in done), tally + Tally(1))
            if differences := [difference for difference in compare(*urls) if not allowed(difference)]:
                pytest.fail(f"round {number}:\n{explain(differences, {})}", pytrace=False)
    return tally


def ids_of(url: str) -> list[int]:
    """An experiment for each of two halves of the services."""
    database = Database(url)
    experiments = Experiments(database, create=True, cache_seconds=60)
    found = [experiments.look_up(Route(None, name, pb.ROUTED_BY_RULE)) for name in ("one", "two")]
    database.close()
    return found


def mix(url: str, opener: Open, requests: Callable[[int], list[Delivery]]) -> Tally:
    """Round after round: two writers, MLflow's `/v1/traces` (`log_spans`) twice, and its client, which reports whole traces
    (`start_trace`), all at the same time; then whether all of them got their will."""
    tally = Tally()
    store = SqlAlchemyStore(sqlalchemy_url(url), "mlflow-artifacts:/")  # type: ignore[no-untyped-call]
    with crew(url, opener, opener, MlflowStoreWriter, MlflowStoreWriter) as writers:
        for number in rounds():
            deliveries = requests(number)
            infos = infos_of(deliveries)
            done = writers.start(shares_of(deliveries, number))
            for info in random.Random(number).sample(infos, len(infos)):
                start_trace(store, info)
            tally = sum((future.result() for future in done), tally + Tally(1))
            assert_all_there(url, store, deliveries, infos)
    store._dispose_engine()  # type: ignore[no-untyped-call]
    return tally


def start_trace(store: SqlAlchemyStore, info: TraceInfo) -> None:
    """As MLflow's client, which asks its server again that gave way to deadlocks three times."""
    for _ in range(20):
        try:
            store.start_trace(info)
            return
        except MlflowException as error:
            if error.error_code != "TEMPORARILY_UNAVAILABLE":
                raise
    pytest.fail("start_trace always loses")


def infos_of(deliveries: Sequence[Delivery]) -> list[TraceInfo]:
    """What MLflow's client would report of these traces at their end."""
    spans: defaultdict[str, list[Span]] = defaultdict(list)
    for delivery in deliveries:
        for span in spans_of(delivery.request):
            spans[f"tr-{span.trace_id.hex()}"].append(span)
    infos = []
    for trace_id, found in spans.items():
        start, end = min(span.start_time_unix_nano for span in found), max(span.end_time_unix_nano for span in found)
        failed = any(span.status.code == Status.STATUS_CODE_ERROR for span in found)
        infos.append(
            TraceInfo(
                trace_id=trace_id,
                trace_location=TraceLocation.from_experiment_id("0"),
                request_time=start // MS,
                execution_duration=end // MS - start // MS,
                state=TraceState.ERROR if failed else TraceState.OK,
                request_preview="client's",
                response_preview="client's",
                trace_metadata={"mlflow.trace.session": "client's", "mlflow.trace.user": "client's"},
                tags={"mlflow.traceName": "client's", "reviewer": "client's"},
            )
        )
    return infos


def assert_all_there(url: str, store: SqlAlchemyStore, deliveries: Sequence[Delivery], infos: Sequence[TraceInfo]) -> None:
    """Every span, and of each trace what its client has reported: its experiment too. Then the database is emptied."""
    expected = {(span.trace_id.hex(), span.span_id.hex()) for delivery in deliveries for span in spans_of(delivery.request)}
    found = rows(url, "SELECT trace_id, span_id, experiment_id FROM spans")
    assert {row["experiment_id"] for row in found} == {0}
    assert {(row["trace_id"].removeprefix("tr-"), row["span_id"]) for row in found} == expected
    for info in infos:
        stored = store.get_trace_info(info.trace_id)
        for name in ("experiment_id", "request_time", "execution_duration", "state", "request_preview", "response_preview"):
            assert getattr(stored, name) == getattr(info, name)
        assert stored.trace_metadata.items() >= info.trace_metadata.items()
        assert stored.tags.items() >= info.tags.items()
    empty(url)


@pytest.mark.parametrize(("opener", "roots"), [(bulk, "one"), (enriching, "anywhere")])
def test_mlflow_may_write_the_same_traces_meanwhile(
    urls: tuple[str, str], request: pytest.FixtureRequest, opener: Open, roots: str
) -> None:
    experiments = ids_of(urls[1]) if roots == "anywhere" else [0]
    tally = mix(urls[1], opener, lambda number: make_requests(number, roots, experiments))
    report(request, tally, urls[1])
