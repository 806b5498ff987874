"""A limited sender changes no trace and no run beyond its own experiments: each writer, with and without enrichment."""

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from conftest import rows
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import otlp
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.envelope.limit import Limit
from headrace.errors import DatabaseUnavailable, PermanentExportError
from headrace.mlflow.fallback import MlflowStoreWriter
from headrace.mlflow.write import Writer
from headrace.mlflow.write.bulk import BulkWriter
from headrace.rejected import RejectedSpans
from headrace.store.database import Database

WRITERS: dict[str, Callable[[Database], Writer]] = {
    "bulk": lambda database: BulkWriter(database, enrich=False),
    "bulk, enriching": lambda database: BulkWriter(database, enrich=True),
    "MLflow's store": MlflowStoreWriter,
}
TABLES = ("trace_info", "spans", "trace_tags", "trace_request_metadata", "entity_associations", "assessments")
TRACE = b"t" * 16
TEAMS = {"team-a": 1001, "team-b": 1002, "shared": 1003}
RUN_OF_B = "b" * 32
RUN_OF_A = "a" * 32

A = Limit.of(["1001"])
A_BY_NAME = Limit.of(["team-a"])
A_AND_SHARED = Limit.of(["team-a", "1003"])


@pytest.fixture
def teams(database_url: str) -> str:
    """A database with an experiment, and a run, of each team."""
    with psycopg.connect(database_url) as connection:
        for name, id_ in TEAMS.items():
            connection.execute(
                "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage, workspace)"
                " VALUES (%s, %s, %s, 'active', 'default')",
                (id_, name, f"mlflow-artifacts:/{id_}"),
            )
        for run, experiment in ((RUN_OF_A, 1001), (RUN_OF_B, 1002)):
            connection.execute(
                "INSERT INTO runs (run_uuid, name, experiment_id, status, lifecycle_stage)"
                " VALUES (%s, 'r', %s, 'RUNNING', 'active')",
                (run, experiment),
            )
    return database_url


@pytest.fixture(params=WRITERS)
def writer(request: pytest.FixtureRequest, teams: str, database: Database) -> Writer:
    return WRITERS[request.param](database)


def delivery(
    *spans: Span,
    team: str,
    limit: Limit | None = None,
    run: str = "",
    routed_by: pb.RoutedBy = pb.ROUTED_BY_HEADER,
    **resource: Any,
) -> Delivery:
    """These spans, for a team's experiment."""
    destination = pb.Destination(experiment_id=str(TEAMS[team]), routed_by=routed_by)
    return Delivery(otlp.request(*spans, **resource), (destination,), run, otlp.START, "", limit=limit)


def root(name: str = "theirs", trace_id: bytes = TRACE, **fields: Any) -> Span:
    return otlp.span(name, trace_id, b"\1" * 8, **fields)


def child(name: str = "child", trace_id: bytes = TRACE, span_id: bytes = b"\2" * 8, **fields: Any) -> Span:
    return otlp.span(name, trace_id, span_id, b"\1" * 8, **fields)


def write(writer: Writer, *deliveries: Delivery) -> None:
    writer.write(writer.translate(deliveries))


def refused(writer: Writer, *deliveries: Delivery) -> list[RejectedSpans]:
    """What the writer says may not be written."""
    with pytest.raises(PermanentExportError) as raised:
        write(writer, *deliveries)
    assert raised.value.rejected
    return [rejected for rejected in raised.value.rejected if isinstance(rejected, RejectedSpans)]


def stored(url: str) -> dict[str, list[str]]:
    """All that MLflow has of traces."""
    return {table: sorted(map(repr, rows(url, f"SELECT * FROM {table}"))) for table in TABLES}


ATTACKS: dict[str, Callable[[], Delivery]] = {
    "the ids of a span, again": lambda: delivery(
        root("mine now", start=otlp.START - 5, attrs={"user.id": "me", "mlflow.traceTag.owner": "me"}), team="team-a", limit=A
    ),
    "a span more": lambda: delivery(child(), team="team-a", limit=A),
    "an earlier root": lambda: delivery(
        otlp.span("decides", TRACE, b"\0" * 7 + b"\1", start=otlp.START - otlp.SECOND), team="team-a", limit=A
    ),
    "an earlier root, by a rule": lambda: delivery(
        otlp.span("decides", TRACE, b"\0" * 7 + b"\1", start=otlp.START - otlp.SECOND),
        team="team-a",
        limit=A,
        routed_by=pb.ROUTED_BY_RULE,
    ),
    "for a key that names its experiment": lambda: delivery(child(), team="team-a", limit=A_BY_NAME),
    "for a key of two experiments": lambda: delivery(child(), team="shared", limit=A_AND_SHARED),
}


@pytest.mark.parametrize("begun_by_rule", [False, True], ids=["named", "by a rule"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_of_another_s_trace_changes(writer: Writer, teams: str, attack: str, begun_by_rule: bool) -> None:
    routed_by = pb.ROUTED_BY_RULE if begun_by_rule else pb.ROUTED_BY_HEADER
    write(writer, delivery(root(), child(span_id=b"\3" * 8), team="team-b", routed_by=routed_by))
    before = stored(teams)
    (rejected,) = refused(writer, ATTACKS[attack]())
    assert (rejected.trace_id, rejected.delivery) == (TRACE, 0)
    assert "stands in experiment 1002" in rejected.reason
    assert stored(teams) == before


def test_a_trace_is_linked_to_no_run_of_another(writer: Writer, teams: str) -> None:
    before = stored(teams)
    (rejected,) = refused(writer, delivery(root(), team="team-a", limit=A, run=RUN_OF_B))
    assert f"Run {RUN_OF_B} stands in experiment 1002" in rejected.reason
    assert stored(teams) == before


@pytest.mark.parametrize("limit", [A, A_BY_NAME, A_AND_SHARED, None], ids=str)
def test_its_own_traces_and_runs_are_a_key_s_to_change(writer: Writer, teams: str, limit: Limit | None) -> None:
    write(writer, delivery(root(), team="team-a", run=RUN_OF_A, limit=limit))
    write(writer, delivery(child(), team="team-a", limit=limit))
    assert {row["name"] for row in rows(teams, "SELECT name FROM spans")} == {"theirs", "child"}
    (link,) = rows(teams, "SELECT * FROM entity_associations")
    assert link["destination_id"] == RUN_OF_A


def test_a_key_of_two_experiments_joins_a_trace_of_either(writer: Writer, teams: str) -> None:
    write(writer, delivery(root(), team="team-a"))
    write(writer, delivery(child(), team="shared", limit=A_AND_SHARED))
    assert {row["experiment_id"] for row in rows(teams, "SELECT experiment_id FROM spans")} == {1001}


def test_a_sender_without_a_limit_joins_any_trace(writer: Writer, teams: str) -> None:
    write(writer, delivery(root(), team="team-b"))
    write(writer, delivery(child(), team="team-a", run=RUN_OF_B))
    assert len(rows(teams, "SELECT 1 FROM spans")) == 2


def test_of_one_batch_only_the_stranger_s_spans_are_named(writer: Writer, teams: str) -> None:
    """The same trace and the same experiment, from one who may and from one who may not."""
    deliveries = [
        delivery(root(), team="team-b"),
        delivery(child("may", span_id=b"\3" * 8), team="team-a"),
        delivery(child("may not"), team="team-a", limit=A),
        delivery(root("own", b"o" * 16), team="team-a", limit=A),
    ]
    (rejected,) = refused(writer, *deliveries)
    assert (rejected.trace_id, rejected.delivery) == (TRACE, 2)
    write(writer, deliveries[0], deliveries[1], deliveries[3])
    assert {row["name"] for row in rows(teams, "SELECT name FROM spans")} == {"theirs", "may", "own"}


def test_an_experiment_that_is_called_as_another_s_id_is_another_s(writer: Writer, teams: str) -> None:
    with psycopg.connect(teams) as connection:
        connection.execute("UPDATE experiments SET name = '1001' WHERE experiment_id = 1002")
    write(writer, delivery(root(), team="team-b"))
    assert refused(writer, delivery(child(), team="team-a", limit=A))


def test_a_name_of_another_workspace_is_another_s(writer: Writer, teams: str) -> None:
    with psycopg.connect(teams) as connection:
        connection.execute("UPDATE experiments SET name = 'x' WHERE experiment_id = 1001")
        connection.execute("UPDATE experiments SET name = 'team-a', workspace = 'w' WHERE experiment_id = 1002")
    write(writer, delivery(root(), team="team-b"))
    assert refused(writer, delivery(child(), team="team-a", limit=A_BY_NAME))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", WRITERS)
def test_of_two_teams_with_one_trace_id_one_wins_and_nothing_is_mixed(name: str, teams: str) -> None:
    """Both write the first spans of the same traces at the same moment, each with connections of its own."""
    ids = [bytes([n]) * 16 for n in range(1, 41)]
    together = threading.Barrier(2)
    lost: dict[str, set[bytes]] = {"team-a": set(), "team-b": set()}
    faults: list[BaseException] = []

    def team(team: str) -> None:
        database = Database(teams)
        try:
            writer, limit = WRITERS[name](database), Limit.of([team])
            for trace_id in ids:
                span = otlp.span(team, trace_id, team[-1].encode() * 8)
                together.wait(30)
                lost[team] |= _write_or_lose(writer, delivery(span, team=team, limit=limit))
        except BaseException as fault:
            faults.append(fault)
            together.abort()
        finally:
            database.close()

    threads = [threading.Thread(target=team, args=[name]) for name in lost]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert lost["team-a"] | lost["team-b"] == set(ids)
    assert not lost["team-a"] & lost["team-b"]
    _is_unmixed(teams, ids, lost)


def _write_or_lose(writer: Writer, given: Delivery) -> set[bytes]:
    """As the worker: what Postgres cannot do now is tried again. Returns the traces that turned out to be another's."""
    while True:
        try:
            write(writer, given)
            return set()
        except DatabaseUnavailable:
            continue
        except PermanentExportError as error:
            return {spans.trace_id for spans in error.rejected if isinstance(spans, RejectedSpans)}


def _is_unmixed(url: str, ids: list[bytes], lost: dict[str, set[bytes]]) -> None:
    found = rows(url, "SELECT s.trace_id, s.name, t.experiment_id FROM spans s JOIN trace_info t ON t.request_id = s.trace_id")
    assert len(found) == len(ids)
    for row in found:
        trace_id = bytes.fromhex(row["trace_id"].removeprefix("tr-"))
        assert row["experiment_id"] == TEAMS[row["name"]]
        assert trace_id not in lost[row["name"]]
