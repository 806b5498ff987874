"""A schema revision that only MLflow knows is written through MLflow's own store: slower, said loudly, and the same rows."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
import structlog
from conftest import rows
from mlflow import MlflowClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from parity.compare import diff, explain, snapshot, unknown
from parity.corpus import Scenario, corpus, mlflow_breaks, names_of
from parity.databases import MLFLOW_SETTINGS, seed
from parity.scenario import EXPERIMENT_HEADER, RUN_HEADER

import otlp
from headrace.config import Config, sqlalchemy_url
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.errors import DatabaseUnavailable, PermanentExportError
from headrace.export.exporter import Exporter
from headrace.export.worker import Worker
from headrace.mlflow.experiments import Experiments
from headrace.mlflow.fallback import MlflowStoreWriter
from headrace.mlflow.schema import open_writer
from headrace.mlflow.shape.needs import Shape, TableShape, text
from headrace.mlflow.write import Writer
from headrace.mlflow.write.bulk import BulkWriter
from headrace.otlp.signals import TRACES
from headrace.processor.route import Route
from headrace.queue.disk.queue import DiskQueue
from headrace.store.database import Database
from otlp import validate

SCENARIOS = (
    "root last, 3 spans a request",
    "shuffled 0, 1 spans a request",
    "the same request three times",
    "the same span twice in a request, over 100 spans apart",
    "interleaved traces",
    "one trace, two experiments",
    "updated: finished at last",
    "usage over a tree, order 3, 3 spans a request",
    "previews",
    "MLflow's client",
    "sessions",
    "tags from attributes",
    "tags that collide",
    "several resources",
    "known services",
    "runs",
    "the same trace, linked again",
    "odd ids",
    "begun: in progress",
    "begun: finished with usage, cost and session",
)
"""Of the parity corpus: each concept that a writer has to keep, once."""

Open = Callable[[Callable[[Database], Writer]], tuple[Writer, str]]


@pytest.fixture
def unknown_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if MLflow had another shape than the bulk writer knows."""
    monkeypatch.setattr("headrace.mlflow.shape.SHAPES", (Shape("other", "4", (TableShape("spans", {"soul": text()}),)),))


@pytest.fixture
def fallback(database: Database, unknown_shape: None) -> Writer:
    """The writer that `serve` would open."""
    return open_writer(database)


@pytest.fixture
def open_on_seeded(new_database: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """A function that opens a writer on a database of its own with what the parity corpus needs; gives its URL too."""
    for name, value in MLFLOW_SETTINGS.items():
        monkeypatch.setenv(name, value)
    seeded = new_database()
    seed(seeded)
    with ExitStack() as stack:

        def open_(opener: Callable[[Database], Writer]) -> tuple[Writer, str]:
            url = new_database(seeded)
            return opener(stack.enter_context(closing(Database(url)))), url

        yield open_


def open_bulk_writer(database: Database) -> Writer:
    """The bulk writer, without enrichment: MLflow's own store knows of none."""
    return BulkWriter(database, enrich=False)


def write(writer: Writer, deliveries: Sequence[Delivery]) -> None:
    """Both of its steps."""
    writer.write(writer.translate(deliveries))


def deliver(request: ExportTraceServiceRequest, experiment: str = "0", run: str = "") -> Delivery:
    """What the worker would hand to a writer."""
    checked = ExportTraceServiceRequest()
    checked.CopyFrom(request)
    validate(checked)
    destination = pb.Destination(experiment_id=experiment, routed_by=pb.ROUTED_BY_HEADER)
    return Delivery(checked, (destination,) * len(checked.resource_spans), run, otlp.START, "test/1")


def deliveries_of(scenarios: Sequence[Scenario]) -> list[Delivery]:
    """All of their requests, in order."""
    return [
        deliver(exchange.request, exchange.headers[EXPERIMENT_HEADER], exchange.headers.get(RUN_HEADER, ""))
        for scenario in scenarios
        for exchange in scenario.exchanges
    ]


def test_an_unknown_revision_is_written_through_mlflow_s_store_and_said_loudly(
    database: Database, database_url: str, unknown_shape: None
) -> None:
    with structlog.testing.capture_logs() as events:
        writer = open_writer(database)
    assert isinstance(writer, MlflowStoreWriter)
    (warning,) = [event for event in events if event["log_level"] == "warning"]
    assert "MLflow's own store" in warning["event"]
    assert "slower" in warning["event"]
    assert [{"version_num": warning["revision"]}] == rows(database_url, "SELECT version_num FROM public.alembic_version")


def test_a_known_revision_is_not_warned_of(database: Database) -> None:
    with structlog.testing.capture_logs() as events:
        assert isinstance(open_writer(database), BulkWriter)
    assert [event for event in events if event["log_level"] == "warning"] == []


def test_both_writers_leave_the_same_rows(open_on_seeded: Open, unknown_shape: None) -> None:
    by_name = {scenario.name: scenario for scenario in corpus()}
    scenarios = [by_name[name] for name in SCENARIOS]
    deliveries = deliveries_of(scenarios)
    slow, slow_url = open_on_seeded(open_writer)
    bulk, bulk_url = open_on_seeded(open_bulk_writer)
    write(slow, deliveries)
    write(bulk, deliveries)
    left, right = snapshot(slow_url), snapshot(bulk_url)
    names = names_of(scenarios)
    assert names.keys() <= {row["request_id"] for row in left["trace_info"]}
    if differences := unknown(diff(left, right), names):
        pytest.fail(explain(differences, names), pytrace=False)


@pytest.mark.timeout(60)
def test_a_parent_cycle_on_which_mlflow_spins_is_written(fallback: Writer, database_url: str) -> None:
    scenarios = [scenario for scenario in mlflow_breaks() if scenario.spins]
    write(fallback, deliveries_of(scenarios))
    ids = {row["trace_id"] for row in rows(database_url, "SELECT trace_id FROM spans")}
    assert ids == {trace_id for scenario in scenarios for trace_id in scenario.trace_ids} != set()


def test_an_end_that_no_column_holds_is_stored_as_the_start(fallback: Writer, database_url: str) -> None:
    late, good = otlp.span("late", end=2**64 - 1), otlp.span("good")
    repaired = fallback.write(fallback.translate([deliver(otlp.request(late, good))]))
    assert repaired["end_time_out_of_range"] == 1
    found = {row["name"]: row["duration_ns"] for row in rows(database_url, "SELECT name, duration_ns FROM spans")}
    assert found == {"late": 0, "good": otlp.SECOND}


def test_writing_twice_changes_nothing(fallback: Writer, database_url: str) -> None:
    by_name = {scenario.name: scenario for scenario in corpus()}
    deliveries = deliveries_of([by_name["shuffled 0, 1 spans a request"]])
    seen = []
    for _ in range(2):
        write(fallback, deliveries)
        seen.append(snapshot(database_url))
        for row in seen[-1]["trace_info"]:
            row.pop("db_payload_generation")  # MLflow counts writes here
    assert diff(*seen) == []


@pytest.mark.parametrize("opener", [open_writer, open_bulk_writer])
def test_a_tag_that_says_the_spans_are_elsewhere_does_not_hide_them(
    database: Database, database_url: str, unknown_shape: None, opener: Callable[[Database], Writer]
) -> None:
    writer = opener(database)
    root = otlp.span("root", attrs={"mlflow.traceTag.mlflow.trace.spansLocation": "ARTIFACT_REPO", "mlflow.traceTag.team": "a"})
    child = otlp.span("child", root.trace_id, parent=root.span_id)
    repaired = Counter[str]()
    for span in (root, child):
        repaired += writer.write(writer.translate([deliver(otlp.request(span))]))
    trace = MlflowClient(sqlalchemy_url(database_url)).get_trace(otlp.trace_id_of(root))
    assert {span.name for span in trace.data.spans} == {"root", "child"}
    assert (trace.info.tags["mlflow.trace.spansLocation"], trace.info.tags["team"]) == ("TRACKING_STORE", "a")
    assert repaired == {"reserved_tag_dropped": 1}


@pytest.mark.parametrize("opener", [open_writer, open_bulk_writer])
def test_any_number_of_traces_is_linked_to_its_run(
    open_on_seeded: Open, unknown_shape: None, opener: Callable[[Database], Writer]
) -> None:
    roots = [otlp.span(f"root {n}") for n in range(250)]
    child = otlp.span("child", parent=b"12345678")
    run = "a" * 32  # `seed` has made it
    writer, url = open_on_seeded(opener)
    for _ in range(2):
        write(writer, [deliver(otlp.request(*roots, child), run=run)])
    links = rows(url, "SELECT source_id, destination_id FROM entity_associations WHERE destination_type = 'run'")
    assert {(link["source_id"], link["destination_id"]) for link in links} == {(otlp.trace_id_of(r), run) for r in roots}
    assert len(links) == 250


def test_a_request_for_several_experiments_is_shared_out(fallback: Writer, database: Database, database_url: str) -> None:
    second = Experiments(database, create=True, cache_seconds=60).look_up(Route(None, "second", pb.ROUTED_BY_HEADER))
    spans = [otlp.span("in the first"), otlp.span("in the second")]
    request = otlp.request(spans[0])
    request.resource_spans.append(otlp.resource_spans(spans[1]))
    destinations = tuple(pb.Destination(experiment_id=str(id_)) for id_ in (0, second))
    write(fallback, [Delivery(request, destinations, "", otlp.START, "")])
    found = {row["request_id"]: row["experiment_id"] for row in rows(database_url, "SELECT * FROM trace_info")}
    assert found == {otlp.trace_id_of(spans[0]): 0, otlp.trace_id_of(spans[1]): second}


def test_what_postgres_cannot_do_now_may_be_tried_again(database_url: str, unknown_shape: None) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET lock_timeout = '50ms'".encode())
    database = Database(database_url)
    writer = open_writer(database)
    delivery = deliver(otlp.request(otlp.span()))
    with psycopg.connect(database_url) as connection:
        connection.execute("LOCK TABLE trace_info")
        with pytest.raises(DatabaseUnavailable):
            write(writer, [delivery])
    write(writer, [delivery])
    database.close()
    assert len(rows(database_url, "SELECT 1 FROM spans")) == 1


@pytest.mark.parametrize(
    "fields", [{"name": "a\x00b"}, {"attrs": {"session.id": "a\x00b"}}, {"attrs": {"mlflow.traceTag.team": "a\x00b"}}], ids=str
)
def test_what_mlflow_s_store_cannot_write_is_permanent(fallback: Writer, database_url: str, fields: dict[str, Any]) -> None:
    with pytest.raises(PermanentExportError):
        write(fallback, [deliver(otlp.request(otlp.span("good"), otlp.span(**fields)))])
    assert rows(database_url, "SELECT 1 FROM spans") == []


def test_such_a_span_is_a_dead_letter_and_the_others_are_written(
    config: Config, database: Database, database_url: str, tmp_path: Path, unknown_shape: None
) -> None:
    good, bad = [otlp.span(f"good {n}") for n in range(5)], otlp.span("a\x00b")
    queue = DiskQueue(tmp_path / "queue", 1 << 24)
    queue.offer(deliver(otlp.request(*good[:2], bad, *good[2:])).to_envelope()).result(5)
    exporter = Exporter(database, Experiments(database, create=False, cache_seconds=60), {TRACES: open_writer})
    worker = Worker(config, queue, database, exporter)
    assert worker.export_once() == 1
    assert queue.drain(5)
    queue.close()
    assert {row["name"] for row in rows(database_url, "SELECT name FROM spans")} == {span.name for span in good}
    (letter,) = rows(database_url, "SELECT * FROM headrace.dead_letter")
    assert letter["span_id"] == bad.span_id.hex()
    assert "NUL" in letter["reason"]
