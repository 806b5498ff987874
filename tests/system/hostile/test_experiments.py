"""Names and ids of experiments by the thousand, and MLflow's own experiment 0, which must be MLflow's to make."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import psycopg
import pytest
from conftest import Launcher, Running, free_port, rows, wait_until
from google.rpc import status_pb2
from hostile import assert_serves
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from scrape import Scrape

import otlp
from headrace.config import load
from headrace.local.mlflow_server import MlflowServer

MANY = 3000
"""Resources of one request of about 300 KB."""


@pytest.fixture(params=["http", "grpc"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Answer:
    """What one request got: `code` is HTTP's, gRPC's translated; `rejected` spans and the words of a partial success."""

    def __init__(self, code: int, body: bytes = b"", words: str = "", retry_after: float | None = None) -> None:
        partial = ExportTraceServiceResponse.FromString(body).partial_success if code == 200 else None
        self.code, self.retry_after = code, retry_after
        self.rejected = partial.rejected_spans if partial else 0
        self.words = partial.error_message if partial else words


def send(running: Running, transport: str, request: ExportTraceServiceRequest, **headers: str) -> Answer:
    """Over HTTP or gRPC; underscores in the names of headers become hyphens."""
    if transport == "http":
        answer = running.post(request.SerializeToString(), **headers)
        if answer.status_code == 200:
            return Answer(200, answer.content)
        words = status_pb2.Status.FromString(answer.content).message
        return Answer(answer.status_code, words=words, retry_after=float(answer.headers.get("retry-after", "nan")))
    metadata = [(name.replace("_", "-"), value) for name, value in headers.items()]
    with grpc.insecure_channel(running.grpc_url.removeprefix("http://")) as channel:
        export: Any = TraceServiceStub(channel).Export  # type: ignore[no-untyped-call]
        try:
            return Answer(200, export(request, metadata=metadata, timeout=30).SerializeToString())
        except grpc.RpcError as error:
            codes = {grpc.StatusCode.UNAVAILABLE: 429, grpc.StatusCode.INVALID_ARGUMENT: 400}
            trailers: Any = error.trailing_metadata() or ()
            told = "google.rpc.retryinfo-bin" in dict(trailers)
            return Answer(codes[error.code()], words=error.details() or "", retry_after=1.0 if told else None)


def warm(running: Running) -> Running:
    """Returns when its writer, which imports MLflow first, has written something."""
    assert send(running, "http", many(1, mlflow_experiment_id="0")).code == 200
    wait_until(running.drained, 60)
    return running


def names(url: str) -> set[str]:
    return {row["name"] for row in rows(url, "SELECT name FROM experiments")}


def many(count: int, **resource: str) -> ExportTraceServiceRequest:
    """A span each of so many resources; `{}` in an attribute's value is the resource's number."""
    request = ExportTraceServiceRequest()
    for number in range(count):
        filled = {name: value.format(number) for name, value in resource.items()}
        request.resource_spans.append(otlp.resource_spans(otlp.span(), service=filled.pop("service", None), **filled))
    return request


WAYS: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "attribute": ({"mlflow_experiment_name": "n{}"}, {}),
    "rule": (
        {"service": "n{}"},
        {"routes": json.dumps([{"match": {"service.name": "n*"}, "experiment": "{service.name}"}])},
    ),
    "default": ({"service": "n{}"}, {"default_experiment": "{service.name}"}),
}


@pytest.mark.parametrize("way", WAYS)
def test_one_request_creates_no_more_than_it_may(way: str, transport: str, headrace: Launcher, database_url: str) -> None:
    attributes, settings = WAYS[way]
    running = headrace("serve", database_url=database_url, **settings)
    answer = send(running, transport, many(MANY, **attributes))
    assert (answer.code, answer.rejected) == (200, MANY - 20)
    assert "HEADRACE_MAX_NEW_EXPERIMENTS_PER_REQUEST" in answer.words
    assert names(database_url) == {"Default"} | {f"n{number}" for number in range(20)}
    wait_until(lambda: len(rows(database_url, "SELECT 1 FROM spans")) == 20)
    scrape = Scrape(running)
    assert scrape.counted("headrace_spans_rejected_total", "reason") == {"too_many_experiments": MANY - 20}
    assert scrape.counted("headrace_experiments_limited_total", "limit") == {"named": MANY - 1000, "request": 980}
    assert_serves(running, database_url)


def test_all_clients_together_create_no_more_than_they_may_in_a_minute(
    transport: str, headrace: Launcher, database_url: str
) -> None:
    """What is over it is stored nowhere, and its sender shall come back; what needs no new experiment is taken."""
    running = headrace("serve", database_url=database_url, max_new_experiments_per_minute=4)
    answers = [
        send(running, transport, otlp.request(otlp.span(f"{number}")), x_mlflow_experiment_name=f"n{number}")
        for number in range(30)
    ]
    assert [answer.code for answer in answers[:4]] == [200] * 4
    late = [answer for answer in answers if answer.code != 200]
    assert len(late) >= 25  # one more every 15 s
    assert all(answer.code == 429 and answer.retry_after and 1 <= answer.retry_after <= 5 for answer in late)
    assert "HEADRACE_MAX_NEW_EXPERIMENTS_PER_MINUTE" in late[0].words
    assert len(names(database_url)) == 1 + 30 - len(late)
    assert send(running, transport, otlp.request(otlp.span()), x_mlflow_experiment_name="n1").code == 200
    assert Scrape(running).counted("headrace_experiments_limited_total", "limit") == {"minute": len(late)}
    mixed = many(2, mlflow_experiment_name="mixed{}")
    mixed.resource_spans.append(otlp.resource_spans(otlp.span("known"), mlflow_experiment_id="0"))
    assert send(running, transport, mixed).code == 429  # whole: a partial success would not be sent again
    assert not rows(database_url, "SELECT 1 FROM spans WHERE name = 'known'")
    assert_serves(running, database_url)


def test_several_workers_share_the_limit(headrace: Launcher, database_url: str) -> None:
    running = headrace("serve", database_url=database_url, workers=2, max_new_experiments_per_minute=8)
    for _ in range(8):  # to both of them
        warm(running)
    with ThreadPoolExecutor(4) as pool:
        began = time.monotonic()
        list(pool.map(lambda n: send(running, "http", many(40, mlflow_experiment_name=f"{n}-{{}}")), range(12)))
    assert len(names(database_url)) - 1 <= 8 + 2 * (1 + (time.monotonic() - began) * 8 / 60)
    assert_serves(running, database_url)


def test_unknown_ids_by_the_thousand_are_asked_for_at_once(transport: str, headrace: Launcher, database_url: str) -> None:
    running = warm(headrace("serve", database_url=database_url, max_experiments_per_request=5000))
    began = time.monotonic()
    request = many(MANY, mlflow_experiment_id="1{:06}")
    request.resource_spans.append(otlp.resource_spans(otlp.span(), mlflow_experiment_id="0"))
    answer = send(running, transport, request)
    assert (answer.code, answer.rejected) == (200, MANY)
    assert time.monotonic() - began < 10
    assert Scrape(running)("headrace_database_up") == 1
    assert_serves(running, database_url)


@contextmanager
def away(database_url: str) -> Iterator[None]:
    """Postgres takes no connections to this database inside the block."""
    base, _, tail = database_url.partition("?")
    name = base.rpartition("/")[2]
    with psycopg.connect(f"{base.rpartition('/')[0]}/postgres?{tail}", autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        try:
            yield
        finally:
            admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


def test_the_limit_holds_for_names_that_come_while_postgres_is_away(
    transport: str, headrace: Launcher, database_url: str
) -> None:
    """And all that was accepted is written once it is back; none of it becomes a dead letter."""
    settings: dict[str, Any] = {"max_new_experiments_per_request": 3, "max_new_experiments_per_minute": 6}
    running = warm(headrace("serve", database_url=database_url, **settings))
    with away(database_url):
        wait_until(lambda: not running.ready()["database"]["reachable"])
        assert send(running, transport, many(1, mlflow_experiment_id="0")).code == 200
        assert send(running, transport, many(MANY, mlflow_experiment_name="x{:04}")).code == 429
        accepted = [send(running, transport, many(1, mlflow_experiment_name=f"n{n}")).code for n in range(20)].count(200)
        again = [send(running, transport, many(1, mlflow_experiment_name="n0")).code for _ in range(5)]
    assert 1 <= accepted <= 6
    assert again == [200] * 5  # a name is new but once
    wait_until(running.drained, 30)
    assert len(names(database_url)) == 1 + accepted
    assert len(rows(database_url, "SELECT 1 FROM spans WHERE name = 'work'")) == 2 + accepted + 5
    assert not rows(database_url, "SELECT 1 FROM headrace.dead_letter")
    assert_serves(running, database_url)


def test_a_long_attribute_does_not_hold_the_event_loop(headrace: Launcher, database_url: str) -> None:
    """A glob is not tried on megabytes: it takes some 20 ms for one, and nobody else is answered meanwhile."""
    rules = [{"match": {"service.name": f"*a*b*{number}*"}, "experiment": "shop"} for number in range(50)]
    running = headrace("serve", database_url=database_url, routes=json.dumps(rules), default_experiment="Default")
    request = otlp.request(otlp.span(), service="a" * 8_000_000)
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(send, running, "http", request)
        slowest = 0.0
        while not sent.done():
            began = time.monotonic()
            httpx.get(f"{running.url}/healthz", timeout=30)
            slowest = max(slowest, time.monotonic() - began)
    assert sent.result().code == 200
    assert slowest < 3
    wait_until(running.drained)
    assert_serves(running, database_url)


StartMlflow = Callable[[], MlflowServer]


@pytest.fixture
def fresh_url(database_url: str) -> str:
    """A database as `mlflow db upgrade` leaves it: MLflow's server has never started on it."""
    with psycopg.connect(database_url) as connection:
        connection.execute("DELETE FROM experiments")
    return database_url


@pytest.fixture
def start_mlflow(fresh_url: str, tmp_path: Path) -> Iterator[StartMlflow]:
    """Starts a real MLflow server on it, and ends it after the test."""
    servers: list[MlflowServer] = []

    def start() -> MlflowServer:
        directory = tmp_path / f"mlflow-{len(servers)}"
        directory.mkdir()
        servers.append(MlflowServer(load(data_dir=directory, ui_port=free_port())))
        servers[-1].start(fresh_url)
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def test_mlflow_starts_after_requests_for_experiments_that_it_has_not_made(
    headrace: Launcher, fresh_url: str, start_mlflow: StartMlflow
) -> None:
    """They are accepted, kept, and written when MLflow has started; nothing is created before that."""
    running = headrace("serve", database_url=fresh_url, default_experiment="Default")
    for transport in ("http", "grpc"):
        for headers in ({}, {"x_mlflow_experiment_id": "0"}, {"x_mlflow_experiment_name": "Default"}):
            assert send(running, transport, many(1), **headers).code == 200
        assert send(running, transport, many(1), x_mlflow_experiment_name="shop").code == 200
        assert send(running, transport, many(1), x_mlflow_experiment_id="7").code == 400
    ready = running.ready()
    assert ready["status"] == "ready"
    assert "MLflow's server" in ready["waits_for"]
    assert ready["queue"]["requests"] == 8
    wait_until(lambda: "has not started on this database" in running.log.read_text(), what="a word in the log")
    assert not rows(fresh_url, "SELECT 1 FROM experiments")
    wait_until(start_mlflow().answers, 60)
    wait_until(running.drained)
    assert_serves(running, fresh_url)
    assert "waits_for" not in running.ready()
    query = "SELECT name, experiment_id, artifact_location FROM experiments ORDER BY experiment_id"
    zero, shop = rows(fresh_url, query)
    assert (zero["name"], zero["experiment_id"]) == ("Default", 0)
    assert shop["artifact_location"] == f"{zero['artifact_location'].removesuffix('/0')}/{shop['experiment_id']}"
    counts = rows(fresh_url, "SELECT experiment_id AS id, count(*) AS n FROM spans WHERE name = 'work' GROUP BY 1 ORDER BY 1")
    assert [(row["id"], row["n"]) for row in counts] == [(0, 6), (shop["experiment_id"], 2)]
    assert not rows(fresh_url, "SELECT 1 FROM headrace.dead_letter")
    wait_until(start_mlflow().answers, 60)  # and so it does the next time


def test_two_receivers_and_mlflow_s_first_start_may_race(headrace: Launcher, fresh_url: str, start_mlflow: StartMlflow) -> None:
    both = [
        headrace("serve", database_url=fresh_url, default_experiment="Default", data_dir=headrace.directory / name)
        for name in ("one", "two")
    ]
    mlflow = start_mlflow()
    sent = 0
    deadline = time.monotonic() + 60
    while not rows(fresh_url, "SELECT 1 FROM experiments") and time.monotonic() < deadline:
        for running in both:
            assert send(running, "http", many(2, service="s{}"), x_mlflow_experiment_name="Default").code == 200
            sent += 2
    wait_until(mlflow.answers, 60)
    for running in both:
        wait_until(running.drained)
    assert [(row["name"], row["experiment_id"]) for row in rows(fresh_url, "SELECT * FROM experiments")] == [("Default", 0)]
    assert len(rows(fresh_url, "SELECT 1 FROM spans WHERE name = 'work' AND experiment_id = 0")) == sent
    assert_serves(both[0], fresh_url)


def test_up_takes_requests_at_once_and_leaves_default_to_mlflow(headrace: Launcher) -> None:
    running = headrace("up", wait=False)
    wait_until(lambda: headrace._answers(running), 120, "the receiver")
    spans = [otlp.span() for _ in range(2)]
    assert send(running, "http", otlp.request(spans[0])).code == 200
    assert send(running, "grpc", otlp.request(spans[1]), x_mlflow_experiment_id="0").code == 200
    wait_until(running.shows_panel, 90, "MLflow's server")
    wait_until(running.drained)
    for span in spans:
        found = httpx.get(f"{running.ui_url}/api/3.0/mlflow/traces/{otlp.trace_id_of(span)}", timeout=30).json()
        assert found["trace"]["trace_info"]["trace_location"]["mlflow_experiment"]["experiment_id"] == "0"
