"""One trace over three processes and three SDKs: Python calls the service of examples/node, which calls that of examples/go."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import httpx
import pytest
from conftest import Running, rows, wait_until
from jaeger import JaegerClient
from mlflow import MlflowClient
from mlflow.entities import TraceState
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from order_worker import EXAMPLES, build, build_go

from headrace.console.jaeger import dependency_storage_pb2 as dependency

pytestmark = [
    pytest.mark.timeout(900),  # `npm ci` and Go's modules on a slow network
    pytest.mark.slow(
        "errors otlp receiver processor pipeline mlflow/experiments mlflow/translate mlflow/fold mlflow/write reader console",
        "examples/node examples/go examples/python",
    ),
]

_ROW = re.compile(r'<tr><td[^>]*><a[^>]*>([^<]*)</a></td><td[^>]*><a[^>]*>([^<]*)</a></td><td class="num">(\d+)</td>')
"""Of the table below the map: caller, callee and calls."""


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of the Go service."""
    return [str(build_go(tmp_path_factory.mktemp("go-service"))), "serve", "0"]


@pytest.fixture(scope="session")
def offers(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of the Node service, without the URL of the Go service."""
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    directory = tmp_path_factory.mktemp("node-service") / "example"
    shutil.copytree(EXAMPLES / "node", directory, ignore=shutil.ignore_patterns("node_modules"))
    build(["npm", "ci"], directory)
    return ["node", str(directory / "service.mjs"), "0"]


@contextmanager
def running(command: list[str], service: str, headers: str, **settings: str) -> Iterator[str]:
    """A service's URL. SIGTERM ends it, with which it exports its spans; before that it does not."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    environment |= {
        "OTEL_SERVICE_NAME": service,
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": headers,
        "OTEL_BSP_SCHEDULE_DELAY": "600000",
        **settings,
    }
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("listening on "), line + process.communicate(timeout=10)[1]
            yield line.removeprefix("listening on ").strip()
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=60)
            assert (process.returncode, errors) == (0, "")
        finally:
            if process.poll() is None:
                process.kill()


def call(provider: TracerProvider, url: str) -> str:
    """Python's part: asks for an offer, inside two spans. Returns the trace's id in MLflow's spelling."""
    tracer = provider.get_tracer("shop", "1.0.0")
    with tracer.start_as_current_span("POST /checkout", kind=SpanKind.SERVER) as root:
        with tracer.start_as_current_span("ask for an offer", kind=SpanKind.CLIENT):
            headers: dict[str, str] = {}
            TraceContextTextMapPropagator().inject(headers)
            assert httpx.get(f"{url}/offers/mug", headers=headers, timeout=30).json() == {"sku": "mug", "available": True}
        return f"tr-{root.get_span_context().trace_id:032x}"


def assert_one_trace(up: Running, experiment: str, trace_id: str) -> None:
    """The experiment holds this trace and no other; each span has the right parent and names its own service."""
    wait_until(up.drained, 60, "the queue is not drained")
    (trace,) = MlflowClient(up.ui_url).search_traces(locations=[experiment])
    assert trace.info.trace_id == trace_id
    names: dict[str | None, str] = {span.span_id: span.name for span in trace.data.spans}
    assert {
        (span.attributes["service.name"], span.attributes["span.kind"], span.name, names.get(span.parent_id))
        for span in trace.data.spans
    } == {
        ("shop", "server", "POST /checkout", None),
        ("shop", "client", "ask for an offer", "POST /checkout"),
        ("offers", "server", "GET /offers/{sku}", "ask for an offer"),
        ("offers", "client", "GET", "GET /offers/{sku}"),
        ("stock", "server", "GET /stock/{sku}", "GET"),
        ("stock", "internal", "look up stock", "GET /stock/{sku}"),
    }
    assert len(trace.data.spans) == 6
    assert trace.info.state == TraceState.OK
    assert trace.info.tags["mlflow.traceName"] == "POST /checkout"
    assert trace.info.tags["service.name"] == "shop"


def send(stock: list[str], offers: list[str], up: Running, experiment: str, protocol: str, first: str) -> str:
    """Runs the three services for one call. `first`: who exports first. Returns the trace's id in MLflow's spelling."""
    headers = f"x-mlflow-experiment-id={experiment}"
    http = f"{up.url}/v1/traces"
    go = {
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": up.grpc_url if protocol == "grpc" else http,
    }
    provider = TracerProvider(resource=Resource({"service.name": "shop"}))
    exporter = OTLPSpanExporter(endpoint=http, headers={"x-mlflow-experiment-id": experiment})
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=600_000))
    with (
        running(stock, "stock", headers, **go) as stock_url,
        running([*offers, stock_url], "offers", headers, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http) as offers_url,
    ):
        trace_id = call(provider, offers_url)
        if first == "caller":
            provider.shutdown()
            wait_until(up.drained, 60, "the queue is not drained")
    if first == "callees":
        provider.shutdown()
    return trace_id


@pytest.mark.parametrize("first", ["caller", "callees"])
@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_three_services_are_one_trace(stock: list[str], offers: list[str], up: Running, protocol: str, first: str) -> None:
    """Whoever exports first, the one that has the root or the ones that do not."""
    experiment = MlflowClient(up.ui_url).create_experiment(f"three services, {protocol}, {first} first")
    assert_one_trace(up, experiment, send(stock, offers, up, experiment, protocol, first))


def test_three_languages_are_one_map(stock: list[str], offers: list[str], up: Running) -> None:
    """Two calls, exported in different orders: the edges in the tables, on the console's map, and as Jaeger is told them."""
    experiment = MlflowClient(up.ui_url).create_experiment("a map of three languages")
    for first in ("caller", "callees"):
        send(stock, offers, up, experiment, "http/protobuf", first)
    wait_until(up.drained, 60, "the queue is not drained")
    expected = [("offers", "stock", 2), ("shop", "offers", 2)]
    postgres = f"postgresql://postgres@/mlflow?host={up.log.parent / 'data' / 'postgres'}"
    for table in ("edge", "edge_day"):
        query = (
            f"SELECT caller, callee, sum(calls)::int AS calls, sum(errors)::int AS errors FROM headrace.{table} "
            f"WHERE experiment_id = {experiment} GROUP BY caller, callee ORDER BY caller"
        )
        assert [tuple(row.values()) for row in rows(postgres, query)] == [(*edge, 0) for edge in expected]
    for window in ("hour", "day", "week"):
        page = httpx.get(f"{up.console_url}/map", params={"experiment": experiment, "window": window}, timeout=30).text
        assert sorted((caller, callee, int(calls)) for caller, callee, calls in _ROW.findall(page)) == expected
    with grpc.insecure_channel(f"127.0.0.1:{up.jaeger_port}") as channel:
        client = JaegerClient(channel, x_tenant="a map of three languages")
        found = client.ask("GetDependencies", dependency.GetDependenciesRequest()).dependencies
    assert [(each.parent, each.child, each.call_count) for each in found] == expected
