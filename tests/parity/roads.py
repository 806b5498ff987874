"""The two roads: each takes the scenarios over HTTP into a database of its own, with real servers."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
from conftest import Launcher, Running, free_port, rows, wait_until

from headrace.config import load
from headrace.local.mlflow_server import MlflowServer
from parity.compare import Snapshot, snapshot
from parity.scenario import Exchange, Scenario

_ANSWER_SECONDS = 60.0
"""MLflow can spin for ever over one request, so its answer is never awaited longer than this."""


@dataclass(slots=True)
class Road:
    """What came of the corpus on one road."""

    complaints: list[str] = field(default_factory=list)
    """Everything but a plain 200, with its scenario."""
    rows: Snapshot = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    """Scenarios of `mlflow_breaks()` that were not answered 200 throughout."""
    seconds: float = 0.0


def mlflow_road(directory: Path, url: str, scenarios: Sequence[Scenario], broken: Sequence[Scenario]) -> Road:
    """MLflow's own `/v1/traces`, as a real server has it. What breaks it is sent after the rows have been read."""
    road = Road()
    directory.mkdir()
    server = MlflowServer(load(data_dir=directory, ui_port=free_port()))
    server.start(url)
    try:
        wait_until(server.answers, 60)
        with httpx.Client(base_url=server.url, timeout=_ANSWER_SECONDS) as client:
            started = time.perf_counter()
            for scenario in scenarios:
                for exchange in scenario.exchanges:
                    _send(client, scenario, exchange, road)
            road.seconds = time.perf_counter() - started
            road.rows = snapshot(url)
            for scenario in broken:
                if any(_post(client, exchange).status_code != 200 for exchange in scenario.exchanges):
                    road.refused.add(scenario.name)
    finally:
        server.stop()
    return road


def headrace_road(directory: Path, url: str, scenarios: Sequence[Scenario], piled: bool) -> Road:
    """Headrace without enrichment. Either each request is written before the next is sent, or they all pile up first, so
    that the writer gets as many at once as it ever takes."""
    road = Road()
    directory.mkdir()
    launcher = Launcher(directory)
    running = launcher("serve", database_url=url, enrich="false")
    try:
        with httpx.Client(base_url=running.url, timeout=_ANSWER_SECONDS) as client:
            started = time.perf_counter()
            with _held_back(url) if piled else _nothing():
                for scenario in scenarios:
                    for exchange in scenario.exchanges:
                        _send(client, scenario, exchange, road)
                        if not piled:
                            _drain(client, running, scenario.name, 120)
            _drain(client, running, "the end", 120)
            road.seconds = time.perf_counter() - started
    finally:
        launcher.stop_all()
    road.complaints += [f"dead letter: {row['reason']}" for row in rows(url, "SELECT reason FROM headrace.dead_letter")]
    road.rows = snapshot(url)
    return road


def _send(client: httpx.Client, scenario: Scenario, exchange: Exchange, road: Road) -> None:
    answer = _post(client, exchange)
    if answer.status_code != 200 or answer.content:  # content: a partial success
        road.complaints.append(f"{scenario.name}: {answer.status_code} {answer.text[:300]}")


def _post(client: httpx.Client, exchange: Exchange) -> httpx.Response:
    headers = {**exchange.headers, "content-type": "application/x-protobuf"}
    return client.post("/v1/traces", content=exchange.request.SerializeToString(), headers=headers)


def _drain(client: httpx.Client, running: Running, name: str, seconds: float) -> None:
    """Returns when all is written; asks more often than `wait_until`, as it is called for each request."""
    deadline = time.monotonic() + seconds
    while int(client.get("/readyz").json()["queue"]["requests"]):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{name} is not written; the log ends with: {running.log.read_text()[-3000:]}")
        time.sleep(0.003)


@contextmanager
def _held_back(url: str) -> Iterator[None]:
    """Inside, nobody else can write traces."""
    with psycopg.connect(url) as connection:
        connection.execute("LOCK TABLE trace_info IN ACCESS EXCLUSIVE MODE")
        yield


@contextmanager
def _nothing() -> Iterator[None]:
    yield
