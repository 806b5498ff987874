"""Metrics without a run, from the writer of metrics to another OTLP endpoint: each at least once, in bounds, and never by a
request that is refused for another's fault."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import metrics as build
import pytest
from conftest import rows, wait_until
from endpoint import OtlpEndpoint, Reply, otlp_endpoint
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

import otlp
from headrace.config import load
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.errors import PermanentExportError
from headrace.export.forwarder import Forwarder
from headrace.mlflow.metrics.writer import MetricsWriter, open_metrics_writer
from headrace.mlflow.write.statements import transaction
from headrace.otlp.signals import METRICS
from headrace.store.database import Database
from headrace.store.waiting_metrics import add, borrow, delete, expire, release, size
from headrace.telemetry.waiting import FORWARD_RETRIES, FORWARDED_POINTS

RUN = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def endpoint() -> Iterator[OtlpEndpoint]:
    with otlp_endpoint() as made:
        yield made


@pytest.fixture
def writer(database: Database) -> MetricsWriter:
    return open_metrics_writer(database, load(metrics_forward="http://somewhere"))


def delivery(*resources: Any, forwarded: tuple[bool, ...] = ()) -> Delivery[Any]:
    places = tuple(pb.Destination(forward=True) if each else pb.Destination(run_id=RUN) for each in forwarded)
    message = ExportMetricsServiceRequest(resource_metrics=resources)
    return Delivery(message, places, "", otlp.START, "", signal=METRICS)


def forwarded(name: str, *values: float) -> Delivery[Any]:
    return delivery(build.resource(build.gauge(name, *(values or (1.0,)))), forwarded=(True,))


def write(writer: MetricsWriter, *deliveries: Delivery[Any]) -> None:
    writer.write(writer.translate(list(deliveries)))


def counted(outcome: str) -> float:
    return float(FORWARDED_POINTS.labels(outcome)._value.get())


class Running:
    """A forwarder that runs inside the block."""

    def __init__(self, database: Database, endpoint: OtlpEndpoint, **settings: Any) -> None:
        self._made = Forwarder(load(metrics_forward=endpoint.url, **settings), database)

    def __enter__(self) -> None:
        self._made.start()

    def __exit__(self, *_: object) -> None:
        self._made.stop()


def waiting(database: Database) -> int:
    return size(database).points


def test_what_names_no_run_is_sent_and_what_names_one_is_written(
    database: Database, database_url: str, endpoint: OtlpEndpoint, writer: MetricsWriter
) -> None:
    experiment = rows(database_url, "SELECT experiment_id FROM experiments LIMIT 1")[0]["experiment_id"]
    with database.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO runs (run_uuid, name, source_type, status, lifecycle_stage, experiment_id, artifact_uri) "
            "VALUES (%s, 'r', 'UNKNOWN', 'RUNNING', 'active', %s, 'x')",
            (RUN, experiment),
        )
    mixed = delivery(
        build.resource(build.gauge("alone", 1.0, 2.0)),
        build.resource(build.gauge("of a run", 3.0)),
        build.resource(build.gauge("alone too", 4.0)),
        forwarded=(True, False, True),
    )
    before = counted("sent")
    write(writer, mixed)
    write(writer, mixed)  # as after a crash between its commit and the queue's
    assert waiting(database) == 3
    with Running(database, endpoint, metrics_forward_headers="x-tenant=a%20b"):
        wait_until(lambda: waiting(database) == 0, 60)
    assert endpoint.names == ["alone", "alone too"]
    assert endpoint.headers[0]["x-tenant"] == "a b"
    assert counted("sent") == before + 3
    assert [row["key"] for row in rows(database_url, "SELECT key FROM metrics")] == ["of a run"]


def test_an_endpoint_that_is_away_is_waited_for(database: Database, endpoint: OtlpEndpoint, writer: MetricsWriter) -> None:
    write(writer, forwarded("a"), forwarded("b"))
    endpoint.replies += [Reply(503, retry_after="0"), Reply(429), Reply(502, retry_after="0")]
    before = FORWARD_RETRIES._value.get()
    with Running(database, endpoint):
        wait_until(lambda: waiting(database) == 0, 60)
    assert endpoint.names == ["a", "b"]
    assert FORWARD_RETRIES._value.get() == before + 3


def test_a_request_that_is_refused_costs_no_other(database: Database, endpoint: OtlpEndpoint, writer: MetricsWriter) -> None:
    write(writer, forwarded("a"), forwarded("bad", 1.0, 2.0), forwarded("c"))
    endpoint.refuses = "bad"
    sent, refused = counted("sent"), counted("refused")
    with Running(database, endpoint):
        wait_until(lambda: waiting(database) == 0, 60)
    assert endpoint.names == ["a", "c"]
    assert (counted("sent") - sent, counted("refused") - refused) == (2, 2)


def test_a_partial_success_is_not_sent_again(database: Database, endpoint: OtlpEndpoint, writer: MetricsWriter) -> None:
    partial = ExportMetricsPartialSuccess(rejected_data_points=2, error_message="out of order")
    endpoint.replies.append(Reply(body=ExportMetricsServiceResponse(partial_success=partial).SerializeToString()))
    write(writer, forwarded("a", 1.0, 2.0, 3.0))
    sent, rejected = counted("sent"), counted("rejected")
    with Running(database, endpoint):
        wait_until(lambda: waiting(database) == 0, 60)
    assert len(endpoint.taken) == 1
    assert (counted("sent") - sent, counted("rejected") - rejected) == (1, 2)


def test_what_waits_is_bounded_by_bytes_and_time(database: Database, endpoint: OtlpEndpoint, writer: MetricsWriter) -> None:
    for number in range(20):
        write(writer, forwarded(f"m{number:02}"))
    each = size(database).bytes // 20
    too_much, too_old = counted("too_much"), counted("too_old")
    endpoint.hangs.set()
    with Running(database, endpoint, metrics_forward_max_bytes=1024):
        wait_until(lambda: size(database).bytes <= 1024, 60)
        wait_until(lambda: counted("too_much") - too_much == 20 - 1024 // each, 60)
    assert borrow(database, 0, 1, 1) == [] or waiting(database) == 1024 // each
    with database.begin() as connection:
        connection.exec_driver_sql("UPDATE headrace.waiting_metrics SET noted_at = now() - interval '2 hours'")
    left = waiting(database)
    with Running(database, endpoint, metrics_forward_seconds=3600):
        wait_until(lambda: waiting(database) == 0, 60)
    assert counted("too_old") - too_old == left


def test_headers_of_a_file_are_read_anew(
    database: Database, endpoint: OtlpEndpoint, writer: MetricsWriter, tmp_path: Path
) -> None:
    file = tmp_path / "headers"
    write(writer, forwarded("a"))
    before = FORWARD_RETRIES._value.get()
    with Running(database, endpoint, metrics_forward_headers="x-a=1,x-b=2", metrics_forward_headers_file=file):
        wait_until(lambda: FORWARD_RETRIES._value.get() > before, 60, "a try without the file")
        file.write_text("x-b=renewed\nauthorization=Bearer%20s\n")
        wait_until(lambda: waiting(database) == 0, 60)
    sent = endpoint.headers[-1]
    assert (sent["x-a"], sent["x-b"], sent["authorization"]) == ("1", "renewed", "Bearer s")


def test_two_processes_do_not_send_the_same(database: Database) -> None:
    with transaction(database) as (_, cursor):
        add(cursor, [(b"a", 1), (b"b", 2), (b"a", 1), (b"c" * 10, 3)])
    first = borrow(database, 60, 2, 100)
    second = borrow(database, 60, 100, 100)
    assert [each.request for each in (*first, *second)] == [b"a", b"b", b"c" * 10]
    assert borrow(database, 60, 100, 100) == []
    release(database, [each.id for each in first])
    assert borrow(database, 0, 100, 1) == first[:1]  # one of any size, and no more bytes than these
    delete(database, [each.id for each in first])
    assert size(database)[:2] == (3, 10)
    assert expire(database, 3600, 5) == (0, 3)


def test_without_the_setting_they_become_dead_letters(database: Database) -> None:
    writer = open_metrics_writer(database, load())
    mixed = delivery(
        build.resource(build.gauge("of a run", 3.0)), build.resource(build.gauge("a", 1.0, 2.0)), forwarded=(False, True)
    )
    with pytest.raises(PermanentExportError, match="HEADRACE_METRICS_FORWARD") as refusal:
        write(writer, mixed)
    assert [each.number for each in refusal.value.rejected] == [1, 2]  # type: ignore[union-attr]
    assert waiting(database) == 0
