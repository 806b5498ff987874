"""MLflow's own client as the source, in processes of its own: over OTLP alone, to Headrace and MLflow's tracking server at
once, and in one trace with OpenTelemetry's instrumentation."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from conftest import Launcher, Running, free_port, wait_until
from mlflow import MlflowClient
from mlflow.entities import SpanStatusCode, Trace, TraceState
from mlflow.version import VERSION
from parity.compare import Snapshot, diff, explain, snapshot
from parity.databases import MLFLOW_SETTINGS

from headrace.config import load
from headrace.local.mlflow_server import MlflowServer

pytestmark = pytest.mark.slow("config errors otlp envelope queue processor pipeline mlflow export receiver local tests/parity")

# Prints its trace's id.
AGENT = """
import os

import mlflow
from mlflow.entities import SpanEvent

@mlflow.trace(span_type="TOOL")
def look_up(city):
    if city == "Atlantis":
        raise LookupError("no such city")
    return {"city": city, "celsius": 21.5}

@mlflow.trace(span_type="CHAT_MODEL")
def complete(messages):
    span = mlflow.get_current_active_span()
    span.set_attributes({"mlflow.llm.model": "gpt-4o", "temperature": 0.2})
    span.set_attribute("mlflow.chat.tokenUsage", {"input_tokens": 12, "output_tokens": 3, "total_tokens": 15})
    return {"choices": [{"message": {"role": "assistant", "content": "21.5 °C"}}]}

@mlflow.trace(name="agent", span_type="AGENT", attributes={"tries": 2})
def answer(question):
    root = mlflow.get_current_active_span()
    print(root.trace_id)
    mlflow.update_current_trace(metadata={"release": "7"}, session_id="session-1", user="user-1")
    if os.environ.get("MLFLOW_TRACE_ENABLE_OTLP_DUAL_EXPORT"):
        mlflow.update_current_trace(tags={"team": "search"})
    else:
        # As update_current_trace does it there; with OpenTelemetry's SDK 1.43 and later that makes it lose the root span.
        root.set_attribute("mlflow.traceTag.team", "search")
    for city in ("Atlantis", "Köln"):
        try:
            look_up(city)
        except LookupError:
            pass
    with mlflow.start_span("summary", span_type="PARSER") as span:
        span.set_inputs({"lines": [1, 2]})
        span.add_event(SpanEvent("cut", attributes={"to": 1}))
        span.set_outputs("short")
    return complete([{"role": "user", "content": question}])

answer("Wie warm ist es in Köln? 🌡")
mlflow.flush_trace_async_logging()
"""

AGENT_PARENTS = {"agent": None, "look_up": "agent", "summary": "agent", "complete": "agent"}

# A FastAPI service and its caller. MLflow joins the tracer provider that is there, and then exports each span a second time.
SHOP = """
import json
import threading
import urllib.request

import mlflow
import uvicorn
from fastapi import FastAPI
from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
mlflow.tracing.enable()
tracer = trace.get_tracer("shop")
app = FastAPI()
FastAPIInstrumentor.instrument_app(app)

@app.get("/orders/{order}")
def read_order(order: int):
    attributes = {"db.system.name": "postgresql", "db.operation.name": "SELECT", "db.collection.name": "orders"}
    with tracer.start_as_current_span("SELECT orders", kind=trace.SpanKind.CLIENT, attributes=attributes):
        pass
    return explain(order)

@mlflow.trace(span_type="AGENT")
def explain(order):
    with tracer.start_as_current_span("rank", attributes={"candidates": 3}):
        return complete(f"order {order}")

@mlflow.trace(span_type="LLM")
def complete(prompt):
    return prompt.upper()

server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
threading.Thread(target=server.run, daemon=True).start()
while not server.started:
    pass
port = server.servers[0].sockets[0].getsockname()[1]
with tracer.start_as_current_span("checkout", kind=trace.SpanKind.CLIENT) as span:
    headers = {}
    propagate.inject(headers)
    with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/orders/7", headers=headers)) as answer:
        assert json.load(answer) == "ORDER 7"
    print("tr-" + trace.format_trace_id(span.get_span_context().trace_id))
provider.shutdown()
"""


def run(directory: Path, program: str, endpoint: str, experiment: str = "0", **settings: str) -> str:
    """Runs a program that exports to this endpoint, with no other OTEL_* and MLFLOW_* settings; returns what it printed."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "MLFLOW_"))}
    environment |= {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": f"x-mlflow-experiment-id={experiment}",
        **settings,
    }
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, cwd=directory, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "Failed to" not in done.stderr  # end a span, export, send
    return done.stdout.strip()


def both(tracking_uri: str, experiment: str = "0") -> dict[str, str]:
    """Settings by which MLflow's client writes to its tracking server too."""
    return {
        "MLFLOW_TRACE_ENABLE_OTLP_DUAL_EXPORT": "true",
        "MLFLOW_TRACKING_URI": tracking_uri,
        "MLFLOW_EXPERIMENT_ID": experiment,
    }


def read(up: Running, trace_id: str) -> Trace:
    """The trace, through MLflow's client and server, once Headrace has written all."""
    wait_until(up.drained, 60, "the queue is not drained")
    trace: Trace = MlflowClient(up.ui_url).get_trace(trace_id)
    return trace


def parents(trace: Trace) -> dict[str, str | None]:
    """Span → parent, by their names."""
    names: dict[str | None, str] = {span.span_id: span.name for span in trace.data.spans}
    return {span.name: names.get(span.parent_id) for span in trace.data.spans}


def assert_is_the_agent_s(trace: Trace) -> None:
    """All of its spans are there, once, as the client made them."""
    assert parents(trace) == AGENT_PARENTS
    assert len(trace.data.spans) == 5
    spans = {span.name: span for span in trace.data.spans}
    types = {"agent": "AGENT", "look_up": "TOOL", "summary": "PARSER", "complete": "CHAT_MODEL"}
    assert {name: span.span_type for name, span in spans.items()} == types
    assert spans["agent"].inputs == {"question": "Wie warm ist es in Köln? 🌡"}
    assert spans["agent"].outputs == {"choices": [{"message": {"role": "assistant", "content": "21.5 °C"}}]}
    # Over OTLP, MLflow's client sends each value as JSON within a text; to its tracking server, as it is.
    assert spans["agent"].get_attribute("tries") in (2, "2")
    assert (spans["summary"].inputs, spans["summary"].outputs) == ({"lines": [1, 2]}, "short")
    assert [(event.name, event.attributes) for event in spans["summary"].events] == [("cut", {"to": 1})]
    assert spans["complete"].get_attribute("temperature") in (0.2, "0.2")
    lookups = {span.inputs["city"]: span for span in trace.data.spans if span.name == "look_up"}
    assert lookups["Köln"].status.status_code == SpanStatusCode.OK
    assert lookups["Köln"].outputs == {"city": "Köln", "celsius": 21.5}
    assert lookups["Atlantis"].status.status_code == SpanStatusCode.ERROR
    (exception,) = lookups["Atlantis"].events
    assert exception.attributes["exception.type"] == "LookupError"
    assert exception.attributes["exception.message"] == "no such city"
    assert trace.info.state == TraceState.OK
    assert trace.info.tags["team"] == "search"
    asked = trace.info.request_preview or ""  # the object, from MLflow's server; with enrichment what it says
    assert (json.loads(asked)["question"] if asked.startswith("{") else asked) == "Wie warm ist es in Köln? 🌡"
    assert trace.info.response_preview == "21.5 °C"
    assert trace.info.token_usage == {"input_tokens": 12, "output_tokens": 3, "total_tokens": 15}


def test_mlflow_s_client_over_otlp_alone(up: Running, tmp_path: Path) -> None:
    experiment = MlflowClient(up.ui_url).create_experiment("client over OTLP")
    trace = read(up, run(tmp_path, AGENT, f"{up.url}/v1/traces", experiment, OTEL_SERVICE_NAME="weather"))
    assert_is_the_agent_s(trace)
    assert trace.info.experiment_id == experiment
    assert trace.info.tags["service.name"] == "weather"
    assert trace.info.tags["mlflow.traceName"] == "agent"


def test_mlflow_s_client_to_both(up: Running, tmp_path: Path) -> None:
    experiment = MlflowClient(up.ui_url).create_experiment("client to both")
    settings = both(up.ui_url, experiment)
    trace = read(up, run(tmp_path, AGENT, f"{up.url}/v1/traces", experiment, **settings))
    assert_is_the_agent_s(trace)
    assert trace.info.experiment_id == experiment
    assert trace.info.tags["mlflow.traceName"] == "agent"
    known = {"release": "7", "mlflow.trace.session": "session-1", "mlflow.trace.user": "user-1"}
    assert trace.info.trace_metadata.items() >= known.items()


def test_one_trace_of_fastapi_s_instrumentation_manual_spans_and_mlflow_s_client(up: Running, tmp_path: Path) -> None:
    client = MlflowClient(up.ui_url)
    experiment = client.create_experiment("mixed")
    settings = {"MLFLOW_USE_DEFAULT_TRACER_PROVIDER": "false", "OTEL_SERVICE_NAME": "shop"}
    trace = read(up, run(tmp_path, SHOP, f"{up.url}/v1/traces", experiment, **settings))
    (found,) = client.search_traces(locations=[experiment])
    assert found.info.trace_id == trace.info.trace_id
    assert parents(trace) == {
        "checkout": None,
        "GET /orders/{order}": "checkout",
        "SELECT orders": "GET /orders/{order}",
        "explain": "GET /orders/{order}",
        "rank": "explain",
        "complete": "rank",
        "GET /orders/{order} http send": "GET /orders/{order}",
    }
    assert len(trace.data.spans) == 8  # the answer's head and its body are sent apart
    spans = {span.name: span for span in trace.data.spans}
    assert (spans["explain"].span_type, spans["complete"].span_type) == ("AGENT", "LLM")
    assert (spans["complete"].inputs, spans["complete"].outputs) == ({"prompt": "order 7"}, "ORDER 7")
    assert spans["rank"].get_attribute("candidates") == 3
    assert spans["GET /orders/{order}"].get_attribute("http.route") == "/orders/{order}"
    assert trace.info.tags["service.name"] == "shop"


@dataclass(frozen=True)
class Request:
    """What a client has sent, to be sent again."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def tracking(self) -> bool:
        """Whether it was for the tracking server."""
        return not self.path.startswith("/otlp")

    def send(self, url: str) -> None:
        """Sends it."""
        answer = httpx.post(url + self.path.removeprefix("/otlp"), content=self.body, headers=self.headers, timeout=60)
        assert answer.status_code == 200, answer.text


class Recorder(ThreadingHTTPServer):
    """Stands in for the tracking server and, under /otlp, for Headrace."""

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.requests: list[Request] = []


_EXPERIMENT = b'{"experiment": {"experiment_id": "0", "name": "Default", "lifecycle_stage": "active"}}'


class _Handler(BaseHTTPRequestHandler):
    server: Recorder

    def do_GET(self) -> None:
        self._answer(VERSION.encode() if self.path == "/version" else _EXPERIMENT)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        kept = ("content-type", "content-encoding", "user-agent", "x-mlflow-experiment-id")
        headers = {name: value for name, value in self.headers.items() if name.lower() in kept}
        self.server.requests.append(Request(self.path, headers, body))
        if self.path.startswith("/api/"):  # start_trace is answered with the trace
            message = json.loads(body)
            message["trace"]["trace_info"]["tags"]["mlflow.trace.spansLocation"] = "TRACKING_STORE"
            body = json.dumps(message).encode()
        self._answer(body if self.path.startswith("/api/") else b"")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def record(directory: Path, dual: bool) -> tuple[str, list[Request]]:
    """Runs the agent; returns its trace's id, and all that it has sent, few spans a request."""
    few = {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "2", "MLFLOW_ASYNC_TRACE_LOGGING_MAX_SPAN_BATCH_SIZE": "2"}
    with Recorder() as recorder:
        thread = threading.Thread(target=recorder.serve_forever, daemon=True)
        thread.start()
        try:
            settings = both(recorder.url) if dual else {}
            return run(directory, AGENT, f"{recorder.url}/otlp/v1/traces", **few, **settings), recorder.requests
        finally:
            recorder.shutdown()
            thread.join()


def by_turns(tracking: Sequence[Request], otlp: Sequence[Request]) -> list[Request]:
    """One of the one, one of the other, and so on."""
    return [request for request in chain.from_iterable(zip_longest(otlp, tracking)) if request]


ORDERS: dict[str, Callable[[list[Request], list[Request]], list[Request]]] = {
    "tracking server first": lambda tracking, otlp: tracking + otlp,
    "OTLP first": lambda tracking, otlp: otlp + tracking,
    "by turns": by_turns,
}
"""The client's requests to the tracking server, and those over OTLP → the order in which they arrive."""


@pytest.fixture
def mlflow_server(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowServer]:
    """MLflow's server on the test's database."""
    for name, value in MLFLOW_SETTINGS.items():
        monkeypatch.setenv(name, value)
    directory = tmp_path / "mlflow"
    directory.mkdir()
    server = MlflowServer(load(data_dir=directory, ui_port=free_port()))
    server.start(database_url)
    yield server
    server.stop()


def test_what_the_client_sends_leaves_what_mlflow_s_own_endpoint_leaves(
    mlflow_server: MlflowServer, headrace: Launcher, database_url: str, tmp_path: Path
) -> None:
    """Over OTLP alone, and to both in each order."""
    with ThreadPoolExecutor() as pool:  # while the server starts
        recordings = [pool.submit(record, tmp_path, dual) for dual in (False, True)]
        running = headrace("serve", database_url=database_url, enrich="false")
        (alone_id, alone), (dual_id, dual) = (recording.result() for recording in recordings)
    wait_until(mlflow_server.answers, 60)
    tracking, otlp = ([request for request in dual if request.tracking is wanted] for wanted in (True, False))
    assert min(len(alone), len(tracking), len(otlp)) > 1  # so that their order matters
    arrivals = {"OTLP alone": (alone_id, alone)} | {name: (dual_id, order(tracking, otlp)) for name, order in ORDERS.items()}
    found = []
    for name, (trace_id, requests) in arrivals.items():
        expected = replay(requests, mlflow_server.url, mlflow_server.url, database_url)
        rows = replay(requests, mlflow_server.url, running.url, database_url, running.drained)
        if differences := diff(expected, rows):
            found.append(f"{name}:\n{explain(differences, {})}")
        assert_is_the_agent_s(MlflowClient(mlflow_server.url).get_trace(trace_id))
    if found:
        pytest.fail("\n".join(found), pytrace=False)


def replay(
    requests: Sequence[Request], tracking_url: str, otlp_url: str, database_url: str, written: Callable[[], bool] = lambda: True
) -> Snapshot:
    """Sends them into an empty database, each once the one before is written; returns the rows."""
    with psycopg.connect(database_url) as connection:
        connection.execute("TRUNCATE trace_info CASCADE")
    for request in requests:
        request.send(tracking_url if request.tracking else otlp_url)
        wait_until(written, 60, "the request is not written")
    return snapshot(database_url)
