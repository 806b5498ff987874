"""With enrichment on, the same spans make the same trace whatever the order and the batches in which they come."""

import json
import random
from collections.abc import Callable
from datetime import date
from typing import Any

import alembic.command
import alembic.config
import psycopg
import pytest
from conftest import rows
from mlflow.entities import TraceInfo, TraceLocation, TraceState
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

import otlp
from db.mlflow.groups import cut
from headrace.config import sqlalchemy_url
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.mlflow.write.bulk import BulkWriter
from headrace.store.database import Database
from headrace.store.migrations import migrate, migrations_directory

Part = tuple[pb.Destination, ResourceSpans]
"""Where a rule sends it, its spans."""


def usage(tokens: int, model: str = "gpt-4o-mini") -> dict[str, Any]:
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": model,
        "gen_ai.usage.input_tokens": tokens,
        "gen_ai.usage.output_tokens": tokens // 3,
    }


def parts_of(trace_id: bytes, experiments: dict[str, int]) -> list[Part]:
    """One trace of four services in five parts: each says other things of the trace."""
    root, score, agent = (bytes([n]) * 8 for n in (1, 2, 3))
    start = otlp.START

    def part(service: str, *spans: Span, **resource: Any) -> Part:
        destination = pb.Destination(experiment_id=str(experiments[service]), routed_by=pb.ROUTED_BY_DEFAULT)
        return destination, otlp.resource_spans(*spans, service=service, **resource)

    checkout = {"http.request.method": "POST", "url.path": "/checkout", "session.id": "of the root"}
    return [
        part("checkout", otlp.span("POST /checkout", trace_id, root, b"", start, start + 900, checkout), region="eu", tier="1"),
        part("scorer", otlp.span("score", trace_id, score, root, start + 10, start + 800, {"user.id": "zoe"}), region="us",
             zone="b"),
        part("agent", otlp.span("agent", trace_id, agent, score, start + 5, start + 850, usage(300)), region="ap", zone="a"),
        part("agent", otlp.span("llm", trace_id, b"4" * 8, agent, start - 5_000_000, start + 700, usage(100))),
        part("model", otlp.span("llm 2", trace_id, b"5" * 8, score, start, start + 9_000_000_000,
                                usage(77) | {"user.id": "adam", "session.id": "z"}), zone="c"),
    ]  # fmt: skip


def with_more_roots(trace_id: bytes, experiments: dict[str, int]) -> list[Part]:
    """Two roots more, of another service: one that is late, and one that is the earliest, but says least."""
    parts = parts_of(trace_id, experiments)
    late = {"session.id": "late", "user.id": "aaron", "input.value": "in", "mlflow.traceTag.team": "late"}
    for span, resource in (
        (otlp.span("late", trace_id, b"8" * 8, b"", otlp.START + 1, attrs=late), {"region": "zz", "zone": "0"}),
        (otlp.span("early", trace_id, b"9" * 8, b"", otlp.START - 1), {"tier": "9"}),
    ):
        destination = pb.Destination(experiment_id=str(experiments["scorer"]), routed_by=pb.ROUTED_BY_RULE)
        parts.append((destination, otlp.resource_spans(span, service="scorer", **resource)))
    return parts


def without_root(trace_id: bytes, experiments: dict[str, int]) -> list[Part]:
    """Its root is lost: the earliest span is the agent's."""
    return parts_of(trace_id, experiments)[1:]


def with_a_named_experiment(trace_id: bytes, experiments: dict[str, int]) -> list[Part]:
    """One child, not the first and not the last, has an experiment that its client named."""
    parts = with_more_roots(trace_id, experiments)
    parts[2][0].CopyFrom(pb.Destination(experiment_id=str(experiments["named"]), routed_by=pb.ROUTED_BY_HEADER))
    return parts


def write(writer: BulkWriter, batches: list[list[list[Part]]]) -> None:
    """Batches of requests of parts."""
    for batch in batches:
        deliveries = []
        for parts in batch:
            request = ExportTraceServiceRequest(resource_spans=[resource_spans for _, resource_spans in parts])
            deliveries.append(Delivery(request, tuple(destination for destination, _ in parts), "", 0, ""))
        writer.write(writer.translate(deliveries))


def stored(url: str, trace_id: bytes) -> str:
    """Everything that the tables say of the trace, with its id blotted out."""
    id_ = f"tr-{trace_id.hex()}"
    found = [
        rows(url, "SELECT * FROM trace_info WHERE request_id = %s", id_),
        rows(url, "SELECT * FROM trace_tags WHERE request_id = %s ORDER BY key", id_),
        rows(url, "SELECT * FROM trace_request_metadata WHERE request_id = %s ORDER BY key", id_),
        rows(
            url, "SELECT span_id, experiment_id, name, type, status, total_cost FROM spans WHERE trace_id = %s ORDER BY 1", id_
        ),
        rows(url, "SELECT rank, start, span_id FROM headrace.movable_trace WHERE trace_id = %s", id_),
    ]
    del found[0][0]["db_payload_generation"]  # it counts requests
    return json.dumps(found, default=str, indent=1).replace(trace_id.hex(), "…")


@pytest.fixture
def experiments(database_url: str) -> dict[str, int]:
    create = (
        "INSERT INTO experiments (name, artifact_location, lifecycle_stage) VALUES (%s, %s, 'active') RETURNING experiment_id"
    )
    with psycopg.connect(database_url) as connection:
        return {
            name: connection.execute(create, (name, f"mlflow-artifacts:/{name}")).fetchone()[0]  # type: ignore[index]
            for name in ("checkout", "scorer", "agent", "model", "named")
        }


Parts = Callable[[bytes, dict[str, int]], list[Part]]


@pytest.mark.parametrize(
    ("make", "experiment"),
    [(parts_of, "checkout"), (with_more_roots, "scorer"), (without_root, "agent"), (with_a_named_experiment, "named")],
)
def test_any_order_in_any_batches_makes_the_same_trace(
    database: Database, database_url: str, experiments: dict[str, int], make: Parts, experiment: str
) -> None:
    writer = BulkWriter(database, enrich=True)
    chance = random.Random(4)
    results: dict[str, int] = {}
    for number in range(1, 41):
        trace_id = number.to_bytes(16, "big")
        parts = make(trace_id, experiments)
        chance.shuffle(parts)
        requests = cut([*parts, *chance.sample(parts, number % 3)], chance)  # some are sent again
        for batch in cut(requests, chance):
            write(writer, [batch])
            if chance.random() < 0.2:  # what is remembered only spares a look at the spans
                rows(database_url, "DELETE FROM headrace.remembered_trace RETURNING 1")
        results.setdefault(stored(database_url, trace_id), number)
    assert len(results) == 1, "\n=====\n".join(sorted(results)[:2])
    (trace,), tags, _, spans, _ = json.loads(results.popitem()[0])
    assert {row["experiment_id"] for row in (trace, *spans)} == {experiments[experiment]}
    (location,) = [tag["value"] for tag in tags if tag["key"] == "mlflow.artifactLocation"]
    assert location.startswith(f"mlflow-artifacts:/{experiment}/")


def test_the_root_decides_and_of_the_others_the_smallest_value_stands(
    database: Database, database_url: str, experiments: dict[str, int]
) -> None:
    writer = BulkWriter(database, enrich=True)
    one, several = b"1" * 16, b"2" * 16
    write(writer, [[[part]] for part in (*parts_of(one, experiments), *with_more_roots(several, experiments))])
    expected = {
        one: ("POST /checkout", "POST /checkout", "of the root", "adam", ["checkout", "eu", "1", "a", None]),
        several: ("early", "early", "late", "aaron", ["scorer", "ap", "9", "0", "late"]),
    }
    for trace_id, (name, preview, session, user, tags) in expected.items():
        id_ = f"tr-{trace_id.hex()}"
        (trace,) = rows(database_url, "SELECT * FROM trace_info WHERE request_id = %s", id_)
        assert (trace["trace_name"], trace["request_preview"], trace["status"]) == (name, preview, "OK")
        assert trace["session_id"] == session
        assert trace["input_tokens"] == 377  # the agent's 300 stand for its child's 100
        (metadata,) = rows(database_url, "SELECT value FROM trace_request_metadata WHERE request_id = %s", id_)
        assert metadata["value"] == user
        found = rows(database_url, "SELECT key, value FROM trace_tags WHERE request_id = %s", id_)
        named = {tag["key"]: tag["value"] for tag in found}
        assert [named.get(key) for key in ("service.name", "region", "tier", "zone", "team")] == tags


def test_of_two_named_experiments_the_first_that_comes_is_kept(
    database: Database, database_url: str, experiments: dict[str, int]
) -> None:
    writer = BulkWriter(database, enrich=True)
    parts = parts_of(b"k" * 16, experiments)
    for destination, _ in parts[:2]:
        destination.routed_by = pb.ROUTED_BY_HEADER
    write(writer, [[[parts[2]]], [[parts[1]]], [[parts[0]]], [[parts[3]]]])
    (trace,) = rows(database_url, "SELECT experiment_id FROM trace_info")
    assert trace["experiment_id"] == experiments["scorer"]
    assert rows(database_url, "SELECT 1 FROM headrace.movable_trace") == []


def test_a_trace_that_mlflow_s_client_reports_goes_to_its_experiment(
    database: Database, database_url: str, experiments: dict[str, int]
) -> None:
    writer = BulkWriter(database, enrich=True)
    store = SqlAlchemyStore(sqlalchemy_url(database_url), "mlflow-artifacts:/")  # type: ignore[no-untyped-call]
    root, child, *_ = parts_of(b"k" * 16, experiments)
    write(writer, [[[child]]])
    location = TraceLocation.from_experiment_id(str(experiments["named"]))
    store.start_trace(TraceInfo(f"tr-{b'k'.hex() * 16}", location, request_time=1, state=TraceState.OK))
    write(writer, [[[root]]])
    store._dispose_engine()  # type: ignore[no-untyped-call]
    for table in ("spans", "trace_info"):
        found = rows(database_url, f"SELECT DISTINCT experiment_id FROM {table}")
        assert found == [{"experiment_id": experiments["named"]}]


def test_after_a_week_a_trace_stays_where_it_is(database: Database, database_url: str, experiments: dict[str, int]) -> None:
    writer = BulkWriter(database, enrich=True)
    old, young, newest = (parts_of(bytes([n]) * 16, experiments) for n in (1, 2, 3))
    write(writer, [[[old[1]], [young[1]]]])
    aged = "UPDATE headrace.movable_trace SET noted_at = now() - interval '8 days' WHERE trace_id = %s"
    with psycopg.connect(database_url) as connection:
        connection.execute(aged, (f"tr-{'01' * 16}",))
    write(writer, [[[newest[1]]]])
    assert len(rows(database_url, "SELECT 1 FROM headrace.movable_trace")) == 2
    write(writer, [[[old[0]], [young[0]]]])
    found = {row["request_id"][-1]: row["experiment_id"] for row in rows(database_url, "SELECT * FROM trace_info")}
    assert found == {"1": experiments["scorer"], "2": experiments["checkout"], "3": experiments["scorer"]}


def test_what_was_remembered_before_there_were_claims_waits_for_its_root(
    database: Database, database_url: str, experiments: dict[str, int]
) -> None:
    writer = BulkWriter(database, enrich=True)
    root, child, earlier, *_ = parts_of(b"k" * 16, experiments)
    write(writer, [[[child]]])
    config = alembic.config.Config()
    config.set_main_option("script_location", str(migrations_directory()))
    with database.begin() as connection:
        config.attributes["connection"] = connection
        alembic.command.downgrade(config, "0003")
    (before,) = rows(database_url, "SELECT * FROM headrace.movable_trace")
    assert list(before) == ["trace_id"]
    with database.begin() as connection:
        migrate(connection)
    found = []
    for part in (earlier, root):
        write(writer, [[[part]]])
        found += rows(database_url, "SELECT experiment_id FROM trace_info")
    assert [row["experiment_id"] for row in found] == [experiments["scorer"], experiments["checkout"]]
    assert rows(database_url, "SELECT 1 FROM headrace.movable_trace") == []


def sent_again(trace_id: bytes, experiments: dict[str, int]) -> list[list[Part]]:
    """Two roots, of which the earlier comes again as the later, and says less; then a span that says what it does not."""

    def part(service: str, span: Span, **resource: Any) -> list[Part]:
        destination = pb.Destination(experiment_id=str(experiments[service]), routed_by=pb.ROUTED_BY_RULE)
        return [(destination, otlp.resource_spans(span, service=service, **resource))]

    first, again, second, child = b"1" * 8, b"1" * 8, b"2" * 8, b"3" * 8
    says = {"session.id": "a", "user.id": "a", "http.request.method": "GET"}
    failed = {"input.value": "in", "user.id": "u"}
    return [
        part("checkout", otlp.span("begun", trace_id, first, b"", otlp.START, attrs=says), region="b", zone="b"),
        part("scorer", otlp.span("second", trace_id, second, b"", otlp.START + 5, attrs=failed), region="c", zone="d"),
        part("agent", otlp.span("child", trace_id, child, first, otlp.START, attrs={"session.id": "c"}), tier="c"),
        part("model", otlp.span("ended", trace_id, again, b"", otlp.START + 9)),
        part(
            "agent", otlp.span("child 2", trace_id, b"4" * 8, first, otlp.START, attrs={"session.id": "b"}), tier="b", zone="e"
        ),
    ]


def test_spans_that_come_again_and_say_something_else_make_the_same_trace_in_any_batches(
    database: Database, database_url: str, experiments: dict[str, int]
) -> None:
    writer = BulkWriter(database, enrich=True)
    results = set()
    for number in range(16):  # each way to cut five requests
        trace_id = (number + 1).to_bytes(16, "big")
        requests = sent_again(trace_id, experiments)
        batches = [requests[:1]]
        for place, request in enumerate(requests[1:]):
            if number >> place & 1:
                batches.append([request])
            else:
                batches[-1].append(request)
        write(writer, batches)
        results.add(stored(database_url, trace_id))
    assert len(results) == 1, "\n=====\n".join(sorted(results)[:2])
    (trace,), *_ = json.loads(results.pop())
    assert (trace["trace_name"], trace["session_id"]) == ("second", "a")
    assert trace["experiment_id"] == experiments["checkout"]  # the best claim that was ever made


def test_a_trace_of_one_root_leaves_nothing_to_remember(
    database: Database, database_url: str, experiments: dict[str, int]
) -> None:
    writer = BulkWriter(database, enrich=True)
    root, child, *_ = parts_of(b"k" * 16, experiments)
    write(writer, [[[child]]])
    assert len(rows(database_url, "SELECT 1 FROM headrace.movable_trace")) == 1
    write(writer, [[[root]]])
    assert rows(database_url, "SELECT 1 FROM headrace.movable_trace") == []


def test_what_hangs_on_a_trace_moves_with_it(database: Database, database_url: str, experiments: dict[str, int]) -> None:
    writer = BulkWriter(database, enrich=True)
    root, child, *_ = parts_of(b"k" * 16, experiments)
    write(writer, [[[child]]])
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO assessments (assessment_id, trace_id, experiment_id, trace_timestamp_ms, name, assessment_type, value,"
            " created_timestamp, last_updated_timestamp, source_type, valid)"
            " SELECT 'a', request_id, experiment_id, timestamp_ms, 'good', 'feedback', 'true', 1, 1, 'HUMAN', true"
            " FROM trace_info"
        )
    write(writer, [[[root]]])
    for table in ("assessments", "spans", "trace_info"):
        found = rows(database_url, f"SELECT DISTINCT experiment_id FROM {table}")
        assert found == [{"experiment_id": experiments["checkout"]}]


def test_a_move_marks_mlflow_s_daily_sums_of_both_experiments(
    database: Database, database_url: str, experiments: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SQL_TRACE_ROLLUPS_ENABLED", "true")
    writer = BulkWriter(database, enrich=True)
    root, child, *_ = parts_of(b"k" * 16, experiments)
    day = 86_400 * otlp.SECOND
    for number, (_, resource_spans) in enumerate((root, child)):
        span = resource_spans.scope_spans[0].spans[0]
        span.start_time_unix_nano = span.end_time_unix_nano = (20_000 - number) * day
    write(writer, [[[child]]])
    with psycopg.connect(database_url) as connection:
        connection.execute("DELETE FROM sql_trace_rollup_rebuild_queue")  # as MLflow, when it has made the sums
    write(writer, [[[root]]])
    marks = {
        (row["experiment_id"], (row["rollup_day"] - date(1970, 1, 1)).days, row["rollup_family"])
        for row in rows(database_url, "SELECT * FROM sql_trace_rollup_rebuild_queue")
    }
    left, entered = experiments["scorer"], experiments["checkout"]
    families = ("trace_metric", "span_cost", "assessment")
    assert marks >= {(experiment, 19_999, family) for experiment in (left, entered) for family in families}
    assert (entered, 20_000, "span_cost") in marks


def test_without_enrichment_a_trace_stays_where_it_began(
    database: Database, database_url: str, experiments: dict[str, int]
) -> None:
    writer = BulkWriter(database, enrich=False)
    root, child, *_ = parts_of(b"k" * 16, experiments)
    write(writer, [[[child]], [[root]]])
    (trace,) = rows(database_url, "SELECT experiment_id, trace_name FROM trace_info")
    assert trace == {"experiment_id": experiments["scorer"], "trace_name": None}
    assert rows(database_url, "SELECT 1 FROM headrace.movable_trace") == []
