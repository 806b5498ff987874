"""Two teams with a key each on one Headrace: what is the other's stays as it was, over each transport and by replay."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
import psycopg
import pytest
from conftest import CloneDatabase, Running, launcher, rows, wait_until
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from scrape import Scrape

import otlp
from headrace.otlp.json_encoding import encode_json
from headrace.receiver.auth import Keys, new_key

TABLES = ("trace_info", "spans", "trace_tags", "trace_request_metadata", "entity_associations")
RUN_OF_B = "b" * 32
SERVERS: dict[str, dict[str, Any]] = {
    "enriching": {"enrich": "true"},
    "as MLflow": {"enrich": "false"},
    "two workers": {"workers": 2},
}


@dataclass
class Stand:
    """A Headrace with the teams' experiments and keys."""

    running: Running
    url: str
    secrets: dict[str, str]

    def send(self, transport: str, team: str, request: ExportTraceServiceRequest, **headers: str) -> None:
        """As the team; it is accepted."""
        headers = {"authorization": f"Bearer {self.secrets[team]}", "x_mlflow_experiment_name": team} | headers
        if transport == "grpc":
            metadata = [(name.replace("_", "-"), value) for name, value in headers.items()]
            with grpc.insecure_channel(self.running.grpc_url.removeprefix("http://")) as channel:
                export: Any = TraceServiceStub(channel).Export  # type: ignore[no-untyped-call]
                export(request, metadata=metadata, timeout=30)
        elif transport == "json":
            body = json.dumps(encode_json(request)).encode()
            assert self.running.post(body, "application/json", **headers).status_code == 200
        else:
            assert self.running.post(request.SerializeToString(), **headers).status_code == 200

    def settled(self) -> None:
        """Returns when all that was sent is written, or a dead letter."""
        wait_until(self._drained, 60, "the queue is empty")

    def _drained(self) -> bool:
        """Told by counters, which are those of all workers."""
        scrape = Scrape(self.running)
        done = scrape("headrace_spans_written_total") + scrape("headrace_spans_dead_lettered_total")
        return done == scrape("headrace_spans_accepted_total")

    def stored(self, trace_id: bytes) -> dict[str, list[str]]:
        """All that MLflow has of the trace."""
        id_ = f"tr-{trace_id.hex()}"
        keys = {"spans": "trace_id", "entity_associations": "source_id"}
        return {
            table: sorted(map(repr, rows(self.url, f"SELECT * FROM {table} WHERE {keys.get(table, 'request_id')} = %s", id_)))
            for table in TABLES
        }

    def letters(self, trace_id: bytes) -> list[str]:
        """The reasons of the trace's dead letters."""
        query = "SELECT reason FROM headrace.dead_letter WHERE trace_id = %s AND key_name = 'team-a' ORDER BY id"
        return [row["reason"] for row in rows(self.url, query, trace_id.hex())]

    def replay(self, trace_id: bytes, *more: str) -> int:
        """`headrace dead-letters replay` of the trace; returns the exit status."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HEADRACE_")}
        command = [sys.executable, "-m", "headrace", "dead-letters", "replay", "--trace", trace_id.hex(), *more]
        return subprocess.run(
            command, env=environment | {"HEADRACE_DATABASE_URL": self.url}, capture_output=True, timeout=60, check=False
        ).returncode


@pytest.fixture(scope="module", params=SERVERS)
def stand(
    request: pytest.FixtureRequest, clone_database: CloneDatabase, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stand]:
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    secrets = {}
    for team in ("team-a", "team-b"):
        key, secrets[team] = new_key(team, (team,))
        Keys(file).add(key)
    with clone_database() as url, launcher() as launch:
        _make_teams(url)
        yield Stand(launch(database_url=url, api_keys=file, **SERVERS[request.param]), url, secrets)


def _make_teams(url: str) -> None:
    """An experiment for each team, and a run of team B."""
    create = (
        "INSERT INTO experiments (name, artifact_location, lifecycle_stage, workspace)"
        " VALUES (%s, 'mlflow-artifacts:/1', 'active', 'default') RETURNING experiment_id"
    )
    with psycopg.connect(url) as connection:
        for team in ("team-a", "team-b"):
            made = connection.execute(create, (team,)).fetchone()
        assert made is not None
        connection.execute(
            "INSERT INTO runs (run_uuid, name, experiment_id, status, lifecycle_stage)"
            " VALUES (%s, 'r', %s, 'RUNNING', 'active')",
            (RUN_OF_B, made[0]),
        )


@pytest.fixture(params=["protobuf", "json", "grpc"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def root(trace_id: bytes, name: str = "theirs", **fields: Any) -> Span:
    return otlp.span(name, trace_id, b"\1" * 8, **fields)


ATTACKS: dict[str, Callable[[bytes], Span]] = {
    "the same ids": lambda trace_id: root(trace_id, "mine now", start=otlp.START - 7, attrs={"mlflow.traceTag.owner": "me"}),
    "a span more": lambda trace_id: otlp.span("guest", trace_id, b"\2" * 8, b"\1" * 8),
    "an earlier root": lambda trace_id: otlp.span("decides", trace_id, b"\0" * 7 + b"\2", start=otlp.START - otlp.SECOND),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_another_team_s_trace_stays_as_it_is(stand: Stand, transport: str, attack: str) -> None:
    trace_id, own = os.urandom(16), otlp.span("own")
    stand.send(transport, "team-b", otlp.request(root(trace_id)))
    stand.settled()
    before = stand.stored(trace_id)
    assert len(before["spans"]) == 1
    stand.send(transport, "team-a", otlp.request(ATTACKS[attack](trace_id), own))
    stand.settled()
    assert stand.stored(trace_id) == before
    (reason,) = stand.letters(trace_id)
    assert "The API key may change traces of these only: team-a." in reason
    assert len(stand.stored(own.trace_id)["spans"]) == 1  # in the same request
    assert stand.replay(trace_id) == 1
    assert stand.stored(trace_id) == before
    assert stand.letters(trace_id) == [reason]


def test_another_team_s_run_is_linked_to_nothing(stand: Stand, transport: str) -> None:
    trace_id = os.urandom(16)
    stand.send(transport, "team-a", otlp.request(root(trace_id)), x_mlflow_run_id=RUN_OF_B)
    stand.settled()
    (reason,) = stand.letters(trace_id)
    assert f"Run {RUN_OF_B} stands in experiment" in reason
    assert stand.replay(trace_id) == 1
    assert not any(stand.stored(trace_id).values())
    assert rows(stand.url, "SELECT 1 FROM entity_associations WHERE destination_id = %s", RUN_OF_B) == []


def test_an_operator_may_replay_into_the_experiment_where_the_trace_stands(stand: Stand) -> None:
    """He names it: the key's limit is lifted for that one."""
    trace_id = os.urandom(16)
    stand.send("protobuf", "team-b", otlp.request(root(trace_id)))
    stand.settled()
    stand.send("protobuf", "team-a", otlp.request(ATTACKS["a span more"](trace_id)))
    stand.settled()
    assert stand.replay(trace_id, "--to", "team-a") == 1
    assert stand.replay(trace_id, "--to", "team-b") == 0
    assert len(stand.stored(trace_id)["spans"]) == 2


def test_of_first_spans_that_come_at_once_one_team_s_are_stored(stand: Stand) -> None:
    ids = [os.urandom(16) for _ in range(40)]

    def send(team: str, trace_id: bytes) -> None:
        stand.send("protobuf", team, otlp.request(otlp.span(team, trace_id, team[-1].encode() * 8)))

    with ThreadPoolExecutor(8) as clients:
        list(clients.map(send, ["team-a", "team-b"] * len(ids), [trace_id for trace_id in ids for _ in range(2)]))
    stand.settled()
    query = (
        "SELECT s.name AS team, e.name FROM spans s JOIN trace_info t ON t.request_id = s.trace_id"
        " JOIN experiments e ON e.experiment_id = t.experiment_id WHERE s.trace_id = ANY (%s)"
    )
    found = rows(stand.url, query, [f"tr-{trace_id.hex()}" for trace_id in ids])
    assert len(found) == len(ids)
    assert all(row["team"] == row["name"] for row in found)
    lost = rows(stand.url, "SELECT 1 FROM headrace.dead_letter WHERE trace_id = ANY (%s)", [trace_id.hex() for trace_id in ids])
    assert len(lost) == len(ids)
