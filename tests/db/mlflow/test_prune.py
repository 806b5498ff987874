"""Origins that no span names any more are deleted, and no other is: what is stored can always be read back."""

import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from conftest import rows, wait_until
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import otlp
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.export.pruner import Pruner
from headrace.mlflow.translate.readback import digests, to_traces_data
from headrace.mlflow.write.bulk import BulkWriter
from headrace.mlflow.write.prune import prune_origins
from headrace.store.database import Database

DAYS = 30


class Meanwhile(threading.Event):
    """Does something at the first pause between two pages."""

    def __init__(self, action: Callable[[], object]) -> None:
        super().__init__()
        self._actions = [action]

    def wait(self, timeout: float | None = None) -> bool:
        if self._actions:
            self._actions.pop()()
        return super().wait(timeout)


def write(database: Database, pod: str, number: int, **attributes: Any) -> None:
    """One trace with one span, from this pod."""
    deliver(BulkWriter(database, enrich=True), pod, number, **attributes)


def deliver(writer: BulkWriter, pod: str, number: int, **attributes: Any) -> None:
    span = otlp.span("work", trace_id(number), bytes([1]) * 8, b"", otlp.START, attrs=attributes)
    request = otlp.request(span, k8s_pod_name=pod)
    writer.write(writer.translate([Delivery(request, (pb.Destination(experiment_id="0"),), "", 0, "")]))


def trace_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def delete(url: str, *numbers: int) -> None:
    """As MLflow deletes traces: spans go with them."""
    ids = [f"tr-{trace_id(number).hex()}" for number in numbers]
    rows(url, "DELETE FROM trace_info WHERE request_id = ANY (%s) RETURNING 1", ids)


def age(url: str, days: int = DAYS + 1) -> None:
    rows(url, "UPDATE headrace.origin SET used_on = current_date - %s::int RETURNING 1", days)


def prune(database: Database, stopping: threading.Event | None = None, least: int = 1, page: int = 1) -> None:
    assert not prune_origins(database, DAYS, stopping or threading.Event(), least, page)


def pods(url: str) -> set[str]:
    """Of the origins that are stored."""
    stored = rows(url, "SELECT origin FROM headrace.origin")
    return {word for row in stored for word in ("a", "b", "c") if f"pod-{word}".encode() in bytes(row["origin"])}


def read_back(url: str) -> list[Span]:
    """All stored spans; fails where one has lost its resource."""
    contents = [row["content"] for row in rows(url, "SELECT content FROM spans")]
    stored = rows(url, "SELECT digest, origin FROM headrace.origin WHERE digest = ANY (%s)", list(digests(contents)))
    data = to_traces_data(contents, {row["digest"]: row["origin"] for row in stored})
    assert all(resource_spans.resource.attributes for resource_spans in data.resource_spans)
    return [span for resource_spans in data.resource_spans for span in resource_spans.scope_spans[0].spans]


def test_an_origin_goes_when_the_last_span_that_names_it_is_gone(database: Database, database_url: str) -> None:
    for number, pod in enumerate(["pod-a", "pod-b", "pod-b", "pod-c"], 1):
        write(database, pod, number)
    delete(database_url, 1, 2)  # of pod-b, the trace that was noted
    age(database_url)
    prune(database)
    assert pods(database_url) == {"b", "c"}
    assert len(read_back(database_url)) == 2
    (noted,) = rows(database_url, "SELECT count(*) AS n FROM headrace.origin JOIN trace_info ON request_id = trace_id")
    assert noted["n"] == 2  # a trace that is there: the next time needs no look at the spans
    delete(database_url, 3)
    prune(database)
    assert pods(database_url) == {"c"}


def test_what_was_used_lately_stays(database: Database, database_url: str) -> None:
    write(database, "pod-a", 1)
    delete(database_url, 1)
    prune(database)
    age(database_url, DAYS)
    prune(database)
    assert pods(database_url) == {"a"}


def test_a_writer_says_once_a_day_what_it_uses(database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = BulkWriter(database, enrich=True)
    deliver(writer, "pod-a", 1)
    age(database_url)
    deliver(writer, "pod-a", 2)
    old = "SELECT 1 FROM headrace.origin WHERE used_on < current_date"
    assert rows(database_url, old)  # it did so today
    now = time.time()
    monkeypatch.setattr("headrace.mlflow.write.origins.time.time", lambda: now + 86_400)
    deliver(writer, "pod-a", 3)
    assert not rows(database_url, old)
    (row,) = rows(database_url, "SELECT trace_id FROM headrace.origin")
    assert row["trace_id"] == f"tr-{trace_id(3).hex()}"


def test_no_span_is_read_where_no_trace_was_deleted_or_little_is_to_gain(database: Database, database_url: str) -> None:
    def never() -> None:
        raise AssertionError("a page was read")

    write(database, "pod-a", 1)
    age(database_url)
    prune(database, Meanwhile(never))
    delete(database_url, 1)
    prune(database, Meanwhile(never), least=2)
    assert pods(database_url) == {"a"}
    prune(database)
    assert pods(database_url) == set()


def test_an_origin_of_an_older_version_has_no_trace_noted(database: Database, database_url: str) -> None:
    write(database, "pod-a", 1)
    write(database, "pod-b", 2)
    rows(database_url, "UPDATE headrace.origin SET trace_id = NULL RETURNING 1")
    delete(database_url, 2)
    age(database_url)
    prune(database)
    assert pods(database_url) == {"a"}


@pytest.mark.parametrize("attributes", [{"origin": "0" * 32}, {"odd": b"\xff"}, {'"otlp": {"origin': "f" * 32}], ids=repr)
def test_whatever_a_span_says_itself_its_origin_is_found(
    database: Database, database_url: str, attributes: dict[str, Any]
) -> None:
    write(database, "pod-a", 1)
    write(database, "pod-a", 2, **attributes)
    delete(database_url, 1)
    age(database_url)
    prune(database)
    assert len(read_back(database_url)) == 1


def test_a_span_that_comes_behind_the_look_keeps_its_origin(database: Database, database_url: str) -> None:
    for number, pod in enumerate(["pod-a", "pod-b", "pod-c", "pod-c"], 5):
        write(database, pod, number)
    delete(database_url, 5, 6, 7)
    age(database_url)
    prune(database, Meanwhile(lambda: write(database, "pod-a", 1)))
    assert pods(database_url) == {"a", "c"}
    assert len(read_back(database_url)) == 2


def test_an_origin_that_a_writer_is_about_to_use_stays(database: Database, database_url: str) -> None:
    write(database, "pod-a", 1)
    write(database, "pod-b", 2)
    delete(database_url, 1, 2)
    age(database_url)
    with psycopg.connect(database_url) as using:
        using.execute("SELECT 1 FROM headrace.origin WHERE position('pod-a'::bytea IN origin) > 0 FOR UPDATE")
        prune(database)  # and it does not wait
    assert pods(database_url) == {"a"}


def test_an_origin_that_was_deleted_is_stored_again(database: Database, database_url: str) -> None:
    writer = BulkWriter(database, enrich=True)
    write(database, "pod-a", 1)
    delete(database_url, 1)
    age(database_url)
    prune(database)
    deliver(writer, "pod-a", 2)
    assert len(read_back(database_url)) == 1


def test_one_at_a_time_and_not_once_it_shall_stop(database: Database, database_url: str) -> None:
    write(database, "pod-a", 1)
    delete(database_url, 1)
    age(database_url)
    with psycopg.connect(database_url) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", [0x6F726967])
        prune(database)
    stopping = threading.Event()
    stopping.set()
    prune(database, stopping)
    assert pods(database_url) == {"a"}


def test_the_part_prunes_by_itself(database: Database, database_url: str) -> None:
    write(database, "pod-a", 1)
    write(database, "pod-b", 2)
    delete(database_url, 2)
    rows(
        database_url,
        "INSERT INTO headrace.origin (digest, origin) SELECT md5(n::text), '' FROM generate_series(1, 999) AS n RETURNING 1",
    )
    age(database_url)
    pruner = Pruner(database, DAYS, DAYS, 0.05)
    pruner.start()
    wait_until(lambda: len(rows(database_url, "SELECT 1 FROM headrace.origin")) == 1, 20)
    pruner.stop()
    assert pods(database_url) == {"a"}
