"""What the root that decides has said is remembered, so that spans that come later do not read it again."""

from collections.abc import Callable

import psycopg
import pytest
from conftest import rows, wait_until
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import otlp
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.mlflow.fallback import MlflowStoreWriter
from headrace.mlflow.write import Writer
from headrace.mlflow.write.bulk import BulkWriter
from headrace.mlflow.write.prune import forget_traces
from headrace.mlflow.write.statements import STATEMENTS
from headrace.store.database import Database

TRACE, ROOT = b"t" * 16, b"\1" * 8
NAMES = {id(statement): name for name, statement in STATEMENTS.items()}
OTHERS: dict[str, Callable[[Database], Writer]] = {
    "MLflow's own store": MlflowStoreWriter,
    "without enrichment": lambda database: BulkWriter(database, enrich=False),
}
"""Writers that remember nothing."""


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the statements that are sent from now on."""
    names: list[str] = []
    execute = psycopg.Cursor.execute

    def noting(self, query, *args, **kwargs):  # type: ignore[no-untyped-def]
        names.append(NAMES.get(id(query), ""))
        return execute(self, query, *args, **kwargs)

    monkeypatch.setattr(psycopg.Cursor, "execute", noting)
    return names


def write(writer: Writer, *spans: Span, **resource: str) -> None:
    """One batch of one request."""
    destination = pb.Destination(experiment_id="0", routed_by=pb.ROUTED_BY_DEFAULT)
    writer.write(writer.translate([Delivery(otlp.request(*spans, **resource), (destination,), "", 0, "")]))


def root(name: str = "root", start: int = otlp.START, span_id: bytes = ROOT, **attrs: str) -> Span:
    return otlp.span(name, TRACE, span_id, b"", start, attrs={key.replace("_", "."): value for key, value in attrs.items()})


def child(span_id: bytes | None = None) -> Span:
    return otlp.span("child", TRACE, span_id, ROOT)


def remembered(url: str) -> list[str | None]:
    return [row["root_id"] for row in rows(url, "SELECT root_id FROM headrace.remembered_trace")]


def tags(url: str) -> dict[str, str]:
    return {row["key"]: row["value"] for row in rows(url, "SELECT key, value FROM trace_tags")}


def test_a_trace_that_comes_whole_leaves_nothing_to_remember(database: Database, database_url: str) -> None:
    write(BulkWriter(database, enrich=True), root(), child())
    assert remembered(database_url) == []


@pytest.mark.parametrize("first", [root(), child()], ids=["with a root", "without a root"])
def test_roots_are_read_once(database: Database, database_url: str, sent: list[str], first: Span) -> None:
    writer = BulkWriter(database, enrich=True)
    write(writer, first)
    write(writer, child())
    assert sent.count("read_roots") == 1
    for _ in range(3):
        write(writer, child())
    write(BulkWriter(database, enrich=True), root("later", otlp.START + 1, b"\2" * 8))
    assert sent.count("read_roots") == 1
    assert remembered(database_url) == [(first.span_id if not first.parent_span_id else b"\2" * 8).hex()]


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_after_another_writer_roots_are_read_again(
    database: Database, database_url: str, sent: list[str], other: Callable[[Database], Writer]
) -> None:
    writer = BulkWriter(database, enrich=True)
    write(writer, root())
    write(writer, child())
    write(other(database), root("earlier", otlp.START - 1, b"\2" * 8, mlflow_traceTag_team="of the earlier"))
    sent.clear()
    write(writer, otlp.span("child", TRACE, None, ROOT), team="a")
    assert "read_roots" in sent
    assert remembered(database_url) == ["02" * 8]
    assert tags(database_url)["team"] == "of the earlier"
    sent.clear()
    write(writer, child(), team="a")
    assert "read_roots" not in sent
    assert tags(database_url)["team"] == "of the earlier"


def test_what_is_remembered_says_what_the_root_has_said(database: Database, database_url: str, sent: list[str]) -> None:
    """Of a root with tags, session and user no other span takes these; what it leaves open the smallest gives."""
    writer = BulkWriter(database, enrich=True)
    write(writer, root(session_id="s \u00e4 \U0001f30a", mlflow_traceTag_team='"b" \\ \u2028'), region="m")
    for region in ("a", "z"):
        write(
            writer, otlp.span("c", TRACE, None, ROOT, attrs={"session.id": "a", "user.id": region}), region=region, zone=region
        )
    assert sent.count("read_roots") == 1
    (trace,) = rows(database_url, "SELECT session_id FROM trace_info")
    (user,) = rows(database_url, "SELECT value FROM trace_request_metadata WHERE key = 'mlflow.trace.user'")
    found = tags(database_url)
    assert (trace["session_id"], user["value"], found["region"], found["zone"], found["team"]) == (
        "s \u00e4 \U0001f30a",
        "a",
        "m",
        "a",
        '"b" \\ \u2028',
    )


def test_when_the_remembered_root_comes_again_as_a_child_the_next_one_decides(database: Database, database_url: str) -> None:
    writer = BulkWriter(database, enrich=True)
    write(writer, root(), root("second", otlp.START + 1, b"\2" * 8))
    write(writer, child())
    write(writer, otlp.span("now a child", TRACE, ROOT, b"\2" * 8))
    assert remembered(database_url) == ["02" * 8]
    (trace,) = rows(database_url, "SELECT trace_name FROM trace_info")
    assert trace["trace_name"] == "second"


def test_a_trace_that_was_deleted_and_comes_again_is_another_one(database: Database, database_url: str) -> None:
    writer = BulkWriter(database, enrich=True)
    write(writer, root(mlflow_traceTag_team="old"))
    write(writer, child())
    rows(database_url, "DELETE FROM trace_info RETURNING 1")
    write(writer, root("new", otlp.START + 5, b"\2" * 8))
    write(writer, child(), team="of a child")
    assert remembered(database_url) == ["02" * 8]
    assert tags(database_url)["team"] == "of a child"


def test_what_was_not_used_for_a_day_is_read_again(database: Database, database_url: str, sent: list[str]) -> None:
    writer = BulkWriter(database, enrich=True)
    write(writer, root())
    write(writer, child())
    assert not forget_traces(database)
    assert len(remembered(database_url)) == 1
    rows(database_url, "UPDATE headrace.remembered_trace SET used_on = current_date - 2 RETURNING 1")
    assert not forget_traces(database)
    assert remembered(database_url) == []
    sent.clear()
    write(writer, child())
    assert "read_roots" in sent
    assert len(remembered(database_url)) == 1


def test_no_table_is_read_whole(database: Database, database_url: str) -> None:
    """Postgres keeps the plans of statements that are sent again: made while a table is small, they would read it whole for
    each batch, and compare each row with each trace of the batch."""
    writer = BulkWriter(database, enrich=True, note_unfinished=True)
    ids = [bytes([n]) * 16 for n in range(1, 21)]
    usage = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 3, "user.id": "u"}
    for number in range(20):
        write(writer, *(otlp.span("s", id_, None, b"" if number == 15 else ROOT, attrs=usage) for id_ in ids))
    database.close()  # a connection tells what it has read when it ends
    tables = [
        "trace_info",
        "trace_tags",
        "spans",
        "trace_request_metadata",
        "remembered_trace",
        "movable_trace",
        "unfinished_trace",
    ]
    query = "SELECT relname, seq_scan, idx_scan FROM pg_stat_user_tables WHERE relname = ANY (%s)"
    wait_until(lambda: all(row["idx_scan"] for row in rows(database_url, query, tables)), what="the counts of the connection")
    assert {row["relname"]: row["seq_scan"] for row in rows(database_url, query, tables)} == dict.fromkeys(tables, 0)
