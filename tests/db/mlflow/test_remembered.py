"""What the root that decides has said is remembered, so that spans that come later do not read it again."""

import json
import random
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

    def note(method: str) -> None:
        send = getattr(psycopg.Cursor, method)

        def noting(self, query, *args, **kwargs):  # type: ignore[no-untyped-def]
            names.append(NAMES.get(id(query), ""))
            return send(self, query, *args, **kwargs)

        monkeypatch.setattr(psycopg.Cursor, method, noting)

    note("execute")
    note("stream")
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


def llm(span_id: bytes | None = None, parent: bytes = ROOT, tokens: int = 10) -> Span:
    usage = {"input_tokens": tokens, "output_tokens": 1, "total_tokens": tokens + 1}
    attrs = {"mlflow.chat.tokenUsage": json.dumps(usage), "mlflow.llm.cost": json.dumps({"total_cost": tokens / 10})}
    return otlp.span("llm", TRACE, span_id, parent, attrs=attrs)


def totals(url: str) -> tuple[int, float | None]:
    (found,) = rows(url, "SELECT input_tokens, total_cost FROM trace_info")
    return found["input_tokens"], found["total_cost"]


def test_totals_grow_by_the_spans_that_come(database: Database, database_url: str, sent: list[str]) -> None:
    """All spans are read once; a span that comes again, as it was or with other figures, counts once."""
    writer = BulkWriter(database, enrich=True)
    write(writer, root())
    for number in range(1, 6):
        write(writer, llm(bytes([16 + number]) * 8, tokens=number))
    assert totals(database_url) == (15, 1.5)
    write(writer, child())
    write(writer, llm(b"\x15" * 8, tokens=5), llm(b"\x16" * 8, tokens=6))
    assert totals(database_url) == (21, 2.1)
    write(writer, llm(b"\x15" * 8, tokens=50))
    assert totals(database_url) == (66, 6.6)
    assert sent.count("read_nodes") == 1
    write(writer, otlp.span("no figures any more", TRACE, b"\x15" * 8, ROOT))
    assert totals(database_url) == (16, 1.6)


def test_what_waits_for_its_parent_counts_until_figures_come_above_it(
    database: Database, database_url: str, sent: list[str]
) -> None:
    writer = BulkWriter(database, enrich=True)
    agent, step = b"a" * 8, b"s" * 8
    write(writer, otlp.span("other", TRACE, b"o" * 8, ROOT))
    write(writer, llm(None, step, 3))
    write(writer, llm(None, step, 4))
    assert totals(database_url)[0] == 7
    write(writer, otlp.span("step", TRACE, step, agent))
    assert totals(database_url)[0] == 7
    write(writer, llm(agent, ROOT, 100))
    assert totals(database_url)[0] == 100
    write(writer, llm(None, step, 5))
    assert totals(database_url)[0] == 100
    write(writer, llm(None, b"x" * 8, 1), root())
    assert totals(database_url)[0] == 101
    assert sent.count("read_nodes") == 1


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_after_another_writer_totals_are_made_anew(
    database: Database, database_url: str, sent: list[str], other: Callable[[Database], Writer]
) -> None:
    writer = BulkWriter(database, enrich=True)
    for span in (root(), llm(tokens=1), llm(tokens=2)):
        write(writer, span)
    write(other(database), llm(tokens=30))
    sent.clear()
    write(writer, llm(tokens=400))
    assert totals(database_url) == (433, 43.3)
    assert sent.count("read_nodes") == 1


def test_sums_of_costs_do_not_depend_on_the_order(database: Database, database_url: str) -> None:
    writer = BulkWriter(database, enrich=True)
    spans = [llm(bytes([n]) * 8, tokens=n) for n in range(2, 9)]
    found = set()
    for seed in range(6):
        order = random.Random(seed).sample(spans, len(spans))
        for first, last in ((0, 1), (1, 2 + seed % 3), (2 + seed % 3, 7)):
            write(writer, *order[first:last])
        found.add(totals(database_url))
        rows(database_url, "DELETE FROM trace_info RETURNING 1")
    assert found == {(35, 3.5)}


@pytest.mark.parametrize("figure", ["NaN", "Infinity", "1e999"])
def test_a_figure_that_is_no_number_is_no_total(database: Database, database_url: str, figure: str) -> None:
    writer = BulkWriter(database, enrich=True)
    odd = otlp.span("odd", TRACE, None, ROOT, attrs={"mlflow.llm.cost": f'{{"total_cost": {figure}, "input_cost": 2}}'})
    for span in (root(), llm(tokens=1), odd, llm(tokens=2)):
        write(writer, span)
    assert totals(database_url) == (3, None)


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


def test_what_stands_there_already_is_not_written_again(database: Database, database_url: str, sent: list[str]) -> None:
    """Tags of the same resource, and a note of a second ago that no root has come."""
    writer = BulkWriter(database, enrich=True, note_unfinished=True)
    write(writer, child())
    write(writer, child())
    sent.clear()
    write(writer, child())
    assert not {"upsert_tags", "note_unfinished", "forget_old_precedences"} & set(sent)
    rows(database_url, "UPDATE headrace.unfinished_trace SET written_at = now() - interval '2 seconds' RETURNING 1")
    write(writer, child(), zone="a")
    assert {"upsert_tags", "note_unfinished"} <= set(sent)
    assert tags(database_url)["zone"] == "a"
