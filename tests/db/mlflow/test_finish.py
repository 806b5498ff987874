"""Traces whose root never comes are finished with what is known; a root that comes late has its say all the same."""

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from conftest import rows
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

import otlp
from headrace.config import sqlalchemy_url
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.mlflow.write.bulk import BulkWriter
from headrace.mlflow.write.finish import finish_quiet
from headrace.store.database import Database

TRACE = b"unfinished-trace"
ROOT, TOP, LATER, CHILD = (bytes([n]) * 8 for n in (1, 2, 3, 4))
TABLES = {
    "trace_info": "request_id",
    "spans": "trace_id, span_id",
    "trace_tags": "request_id, key",
    "trace_request_metadata": "request_id, key",
}


def deliver(database: Database, *spans: Span, note: bool = True) -> None:
    writer = BulkWriter(database, enrich=True, note_unfinished=note)
    destination = pb.Destination(experiment_id="0", routed_by=pb.ROUTED_BY_HEADER)
    writer.write(writer.translate([Delivery(otlp.request(*spans), (destination,), "", 0, "")]))


def top(status: int = 0) -> Span:
    span = otlp.span("POST /pay", TRACE, TOP, ROOT, otlp.START + 10, attrs={"http.request.method": "POST", "url.path": "/pay"})
    span.status.CopyFrom(Status(code=status, message="declined" if status == 2 else ""))  # type: ignore[arg-type]
    return span


def child() -> Span:
    return otlp.span("SELECT", TRACE, CHILD, TOP, otlp.START + 20)


def root() -> Span:
    return otlp.span("checkout", TRACE, ROOT, b"", otlp.START, attrs={"session.id": "s", "mlflow.traceTag.team": "shop"})


def trace(url: str) -> dict[str, Any]:
    (row,) = rows(url, "SELECT * FROM trace_info")
    return row


def mark(url: str) -> list[str]:
    return [row["value"] for row in rows(url, "SELECT value FROM trace_tags WHERE key = 'headrace.finished'")]


def everything(url: str) -> dict[str, list[dict[str, Any]]]:
    found = {table: rows(url, f"SELECT * FROM {table} ORDER BY {key}") for table, key in TABLES.items()}
    found["headrace.unfinished_trace"] = rows(url, "SELECT trace_id FROM headrace.unfinished_trace")
    return found


def test_a_trace_without_a_root_is_finished_with_what_is_known(database: Database, database_url: str) -> None:
    deliver(database, child(), top())
    assert trace(database_url)["status"] == "IN_PROGRESS"
    finish_quiet(database, 0)
    found = trace(database_url)
    assert (found["status"], found["trace_name"]) == ("OK", "POST /pay")
    assert (found["request_preview"], found["response_preview"]) == ("POST /pay", "OK")
    assert mark(database_url) == ["no root span within 0 s"]
    assert rows(database_url, "SELECT 1 FROM headrace.unfinished_trace") == []


def test_mlflow_reads_it_as_finished(database: Database, database_url: str) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    deliver(database, top())
    finish_quiet(database, 0)
    store = SqlAlchemyStore(sqlalchemy_url(database_url), "mlflow-artifacts:/")  # type: ignore[no-untyped-call]
    found = store.get_trace_info(f"tr-{TRACE.hex()}")
    store._dispose_engine()  # type: ignore[no-untyped-call]
    assert (found.state.value, found.tags["headrace.finished"]) == ("OK", "no root span within 0 s")


def test_a_failed_span_at_the_top_fails_the_trace(database: Database, database_url: str) -> None:
    later = otlp.span("later", TRACE, LATER, ROOT, otlp.START + 500)
    later.status.code = Status.STATUS_CODE_ERROR
    deliver(database, top(), later, child())
    finish_quiet(database, 0)
    assert (trace(database_url)["status"], trace(database_url)["trace_name"]) == ("ERROR", "POST /pay")


@pytest.mark.parametrize("together", [True, False])
def test_a_root_that_comes_late_decides_as_if_nothing_had_been(new_database: Callable[[], str], together: bool) -> None:
    finished, never = new_database(), new_database()
    for url in (finished, never):
        database = Database(url)
        deliver(database, top(2), note=url is finished)
        if url is finished:
            finish_quiet(database, 0)
            assert trace(url)["status"] == "ERROR"
        deliver(database, *([child(), root()] if together else [child()]), note=url is finished)
        if not together:
            deliver(database, root(), note=url is finished)
        database.close()
    assert trace(finished)["status"] == "OK"
    assert everything(finished) == everything(never)


def test_what_comes_after_the_finish_is_taken_in(database: Database, database_url: str) -> None:
    deliver(database, child())
    finish_quiet(database, 0)
    assert trace(database_url)["trace_name"] == "SELECT"
    deliver(database, top(2))
    finish_quiet(database, 0)
    found = trace(database_url)
    assert (found["status"], found["trace_name"], found["response_preview"]) == ("ERROR", "POST /pay", "ERROR: declined")


def test_a_trace_that_is_not_quiet_waits(database: Database, database_url: str) -> None:
    deliver(database, top())
    finish_quiet(database, 3600)
    assert trace(database_url)["status"] == "IN_PROGRESS"
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE headrace.unfinished_trace SET written_at = now() - interval '2 hours'")
    deliver(database, child())
    finish_quiet(database, 3600)
    assert trace(database_url)["status"] == "IN_PROGRESS"


def test_whole_traces_are_never_noted(database: Database, database_url: str) -> None:
    deliver(database, root(), top())
    assert rows(database_url, "SELECT 1 FROM headrace.unfinished_trace") == []
    deliver(database, child())
    assert rows(database_url, "SELECT 1 FROM headrace.unfinished_trace") == []


def test_what_mlflow_s_client_has_reported_stands(database: Database, database_url: str) -> None:
    deliver(database, top())
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO trace_request_metadata (request_id, key, value) VALUES (%s, 'mlflow.trace.infoFinalized', 'true')",
            (f"tr-{TRACE.hex()}",),
        )
    finish_quiet(database, 0)
    assert (trace(database_url)["status"], mark(database_url)) == ("IN_PROGRESS", [])


def test_a_cycle_and_a_deleted_trace_are_forgotten(database: Database, database_url: str) -> None:
    deliver(database, otlp.span("self", TRACE, TOP, TOP))
    deliver(database, otlp.span("gone", b"deleted-trace-00", TOP, ROOT))
    with psycopg.connect(database_url) as connection:
        connection.execute("DELETE FROM trace_info WHERE request_id = %s", (f"tr-{b'deleted-trace-00'.hex()}",))
    assert not finish_quiet(database, 0)
    assert rows(database_url, "SELECT 1 FROM headrace.unfinished_trace") == []


def test_many_at_once_beside_a_writer(database: Database, database_url: str) -> None:
    """Two finishers and a writer on the same traces: no deadlock, and each root that came has decided."""
    ids = [bytes([n // 256, n % 256]) * 8 for n in range(1, 301)]
    deliver(database, *(otlp.span("part", trace_id, TOP, ROOT) for trace_id in ids))
    errors: list[Exception] = []

    def run(work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:
            errors.append(error)

    def finish() -> None:
        while rows(database_url, "SELECT 1 FROM headrace.unfinished_trace LIMIT 1"):
            finish_quiet(database, 0)

    def roots() -> None:
        for start in range(0, 300, 20):
            deliver(database, *(otlp.span("root", trace_id, ROOT, b"") for trace_id in reversed(ids[start : start + 20])))

    threads = [threading.Thread(target=run, args=(work,)) for work in (finish, finish, roots)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert {row["trace_name"] for row in rows(database_url, "SELECT trace_name FROM trace_info")} == {"root"}
    assert mark(database_url) == []
