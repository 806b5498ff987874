"""A real Jaeger v2, built from its Go module, with the configuration of deploy/jaeger, in front of a `headrace console`.

What its HTTP API says is what our reader says; its user interface and Grafana's Jaeger data source ask nothing else.
"""

import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import CloneDatabase, Launcher, free_port, launcher, wait_until
from contracts.trace_reader import HOUR, ONE, THREE, TWO, shop, spans
from db.reader.test_contract import fill

from headrace.config import load
from headrace.reader import Query
from headrace.reader.postgres import PostgresReader
from headrace.receiver.auth import Keys, new_key
from otlp import SECOND, START

ROOT = Path(__file__).parents[3]
VERSION = "v1.76.0"
"""The newest that is to be had as a Go module: Jaeger 2.13."""
_PROGRAM = "github.com/jaegertracing/jaeger/cmd/jaeger"

pytestmark = [
    pytest.mark.timeout(3600),  # the first build on a machine takes a quarter of an hour
    pytest.mark.slow("reader console receiver/grpc analysis mlflow/write mlflow/translate deploy/jaeger migrations"),
]

Ask = Callable[..., httpx.Response]


@pytest.fixture(scope="session")
def program(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built Jaeger. It is kept in .pytest_cache."""
    if shutil.which("go") is None:
        pytest.skip("go is not installed")
    cache = pytestconfig.cache
    name = f"jaeger-{VERSION}-{platform.machine()}"
    directory = cache.mkdir(name) if cache else tmp_path_factory.mktemp(name)
    built = directory / "jaeger"
    if not built.exists():
        (directory / "go.mod").write_text("module headrace/jaeger\n\ngo 1.24.6\n")
        # `go install` refuses a module that replaces another, as Jaeger's does.
        for command in (
            ["go", "get", "-tool", f"{_PROGRAM}@{VERSION}"],
            ["go", "build", "-trimpath", "-ldflags", "-s -w", "-o", "jaeger.new", _PROGRAM],
        ):
            done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=3000, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
        (directory / "jaeger.new").rename(built)
    return built


@contextmanager
def jaeger(program: Path, console_port: int, log: Path, *more: str) -> Iterator[Ask]:
    """A running Jaeger → what asks its HTTP API."""
    http = free_port()
    environment = os.environ | {
        "JAEGER_STORAGE": f"127.0.0.1:{console_port}",
        "JAEGER_HTTP": f"127.0.0.1:{http}",
        "JAEGER_GRPC": f"127.0.0.1:{free_port()}",
    }
    files = [f"--config={ROOT}/deploy/jaeger/{name}.yaml" for name in ("config", *more)]
    with log.open("wb") as output:
        process = subprocess.Popen([program, *files], env=environment, stdout=output, stderr=output)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{http}", timeout=60) as client:
            wait_until(lambda: process.poll() is not None or _answers(client), 60, "Jaeger")
            assert process.poll() is None, log.read_text()
            yield lambda path, headers=None, **asked: client.get(path, params=asked, headers=headers)
    finally:
        process.terminate()
        process.wait(30)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/").status_code < 500
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def started() -> Iterator[Launcher]:
    """Starts processes that end with the module."""
    with launcher() as made:
        yield made


@pytest.fixture(scope="module")
def filled(clone_database: CloneDatabase) -> Iterator["tuple[str, int]"]:
    """A database with the shop of the reader's contract; and the id of its second experiment."""
    with clone_database() as url:
        yield url, fill(url, shop())


def console(started: Launcher, url: str, **settings: object) -> int:
    """The port of a `headrace console`."""
    running = started("console", wait=False, database_url=url, jaeger_port=0, **settings)
    line = wait_until(lambda: next((line for line in running.log.read_text().splitlines() if "console ready" in line), ""), 60)
    return int(json.loads(line)["jaeger_port"])


@pytest.fixture(scope="module")
def ask(program: Path, started: Launcher, filled: "tuple[str, int]", tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Jaeger's HTTP API, without keys."""
    with jaeger(program, console(started, filled[0]), tmp_path_factory.mktemp("jaeger") / "log") as made:
        yield made


@pytest.fixture(scope="module")
def reader(filled: "tuple[str, int]") -> Iterator[PostgresReader]:
    """Ours."""
    made = PostgresReader(filled[0], load())
    yield made
    made.close()


def data(answer: httpx.Response) -> Any:
    """What an answer of /api holds."""
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def ids(traces: list[dict[str, Any]]) -> set[str]:
    """The ids of traces as /api gives them."""
    return {trace["traceID"] for trace in traces}


RANGE = {"start": (START - HOUR) // 1000, "end": (START + HOUR) // 1000}
"""Microseconds, as the user interface and Grafana send them."""


def test_services_and_operations(ask: Ask, reader: PostgresReader) -> None:
    assert sorted(data(ask("/api/services"))) == reader.services()
    assert sorted(ask("/api/v3/services").json()["services"]) == reader.services()
    for service in reader.services():
        names = sorted({operation.name for operation in reader.operations(service)})
        assert sorted(data(ask(f"/api/services/{service}/operations"))) == names
        v3 = ask("/api/v3/operations", service=service).json()["operations"]
        assert sorted(each["name"] for each in v3) == names
    assert [each["spanKind"] for each in data(ask("/api/operations", service="pay"))] == ["server"]


@pytest.mark.parametrize(
    ("asked", "query"),
    [
        ({"service": "web"}, {"service": "web"}),
        ({"service": "web", "operation": "buy", "limit": 2}, {"service": "web", "operation": "buy", "limit": 2}),
        ({"service": "bank", "tags": '{"ok":"true"}'}, {"service": "bank", "attributes": {"ok": "true"}}),
        ({"service": "pay", "tags": '{"error":"true"}'}, {"service": "pay", "error": True}),
        ({"service": "web", "minDuration": "2s"}, {"service": "web", "min_duration": 2 * SECOND}),
        ({"service": "bank", "maxDuration": "1us"}, {"service": "bank", "max_duration": 1000}),
        ({"service": "web", "minDuration": "9s"}, {"service": "web", "min_duration": 9 * SECOND}),
        ({"service": "nobody"}, {"service": "nobody"}),
    ],
    ids=str,
)
def test_search(ask: Ask, reader: PostgresReader, asked: dict[str, Any], query: dict[str, Any]) -> None:
    expected = {found.trace_id for found in reader.search(Query(**query)).found}
    assert ids(data(ask("/api/traces", **RANGE, **asked))) == expected
    if "tags" not in asked and "minDuration" not in asked and "maxDuration" not in asked:
        v3 = {
            "query.service_name": asked["service"],
            "query.operation_name": asked.get("operation", ""),
            "query.start_time_min": "2020-01-01T00:00:00Z",
            "query.start_time_max": "2040-01-01T00:00:00Z",
            "query.num_traces": asked.get("limit", 20),
        }
        answer = ask("/api/v3/traces", **{key: value for key, value in v3.items() if value})
        assert set(re.findall(r'"traceId":"([0-9a-f]{32})"', answer.text)) == expected, answer.text


def test_a_trace(ask: Ask, reader: PostgresReader) -> None:
    read = reader.trace(TWO.hex())
    assert read is not None
    (trace,) = data(ask(f"/api/traces/{TWO.hex()}"))
    services = {process: found["serviceName"] for process, found in trace["processes"].items()}
    shown = {
        each["spanID"]: (each["operationName"], services[each["processID"]], each["startTime"], each["duration"])
        for each in trace["spans"]
    }
    sent = {
        each.span_id.hex(): (
            each.name,
            resource.resource.attributes[0].value.string_value,
            each.start_time_unix_nano // 1000,
            (each.end_time_unix_nano - each.start_time_unix_nano) // 1000,
        )
        for resource in read.data.resource_spans
        for scope in resource.scope_spans
        for each in scope.spans
    }
    assert shown == sent
    assert all(each["references"][0]["traceID"] == TWO.hex() for each in trace["spans"] if each["operationName"] != "buy")
    (charge,) = (each for each in trace["spans"] if each["operationName"] == "charge")
    assert {"key": "error", "type": "bool", "value": True} in charge["tags"]
    (buy,) = (each for each in trace["spans"] if each["operationName"] == "buy")
    assert {"key": "n", "type": "int64", "value": 1} in buy["tags"]
    v3 = ask(f"/api/v3/traces/{TWO.hex()}").json()["result"]["resourceSpans"]
    assert sum(len(scope["spans"]) for resource in v3 for scope in resource["scopeSpans"]) == len(spans(read.data))
    for unknown in ("/api/traces/" + "9" * 32, "/api/v3/traces/" + "9" * 32):
        assert ask(unknown).status_code == 404


def test_dependencies(ask: Ask, reader: PostgresReader) -> None:
    window = {"endTs": (START + HOUR) // 1_000_000, "lookback": 2 * HOUR // 1_000_000}
    found = data(ask("/api/dependencies", **window))
    expected = [(edge.caller, edge.callee, edge.calls) for edge in reader.dependencies(START - HOUR, START + HOUR)]
    assert sorted((each["parent"], each["child"], each["callCount"]) for each in found) == expected
    assert len(expected) == 2


def test_what_grafana_asks(ask: Ask) -> None:
    """Grafana's Jaeger data source asks five paths, and reads `data` of each answer."""
    assert "web" in data(ask("/api/services"))
    assert data(ask("/api/services/web/operations")) == ["buy"]
    asked = {"service": "web", "operation": "buy", "limit": 20, "tags": "{}", "minDuration": "", "maxDuration": ""}
    traces = data(ask("/api/traces", **asked, start=RANGE["start"], end=RANGE["end"], lookback="custom"))
    assert {len(trace["spans"]) for trace in traces} == {2, 3}
    (trace,) = data(ask(f"/api/traces/{ONE.hex()}"))
    assert {"traceID", "spans", "processes"} <= trace.keys()
    assert {"traceID", "spanID", "operationName", "references", "startTime", "duration", "tags", "logs", "processID"} <= (
        trace["spans"][0].keys()
    )
    window = {"endTs": (START + HOUR) // 1_000_000, "lookback": 2 * HOUR // 1_000_000}
    assert {(each["parent"], each["child"]) for each in data(ask("/api/dependencies", **window))} == {
        ("web", "pay"),
        ("pay", "bank"),
    }


def test_keys_and_tenants(program: Path, started: Launcher, filled: "tuple[str, int]", tmp_path: Path) -> None:
    """The key that a request brings, and the experiment that it names, reach Headrace."""
    keys = Keys(tmp_path / "keys.json")
    limited, secret = new_key("team", experiments=("other",))
    everything, master = new_key("master")
    keys.add(limited)
    keys.add(everything)
    port = console(started, filled[0], api_keys=tmp_path / "keys.json")
    with jaeger(program, port, tmp_path / "log") as ask:
        assert ask("/api/services").status_code >= 400
        assert "UNAUTHENTICATED" in ask("/api/services").text.upper()
        team = {"authorization": f"Bearer {secret}"}
        assert sorted(data(ask("/api/services", team))) == ["pay", "web"]
        assert ids(data(ask("/api/traces", team, service="web", **RANGE))) == {THREE.hex()}
        assert ask(f"/api/traces/{ONE.hex()}", team).status_code == 404
        assert len(data(ask("/api/services", {"authorization": f"Bearer {master}"}))) == 3
    with jaeger(program, port, tmp_path / "log", "tenancy") as ask:
        known = {"authorization": f"Bearer {master}"}
        assert ask("/api/services", known).status_code == 401  # Jaeger itself asks for a tenant
        assert sorted(data(ask("/api/services", known | {"x-tenant": "other"}))) == ["pay", "web"]
        assert ids(data(ask("/api/traces", known | {"x-tenant": "Default"}, service="web", **RANGE))) == {ONE.hex(), TWO.hex()}
        assert not data(ask("/api/services", team | {"x-tenant": "Default"}))
