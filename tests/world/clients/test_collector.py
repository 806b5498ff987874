"""examples/collector, built and run as a user does: a real OpenTelemetry Collector between services and Headrace, and what
becomes of their spans when either of the two is killed."""

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import httpx
import metrics as build
import psycopg
import pytest
import yaml
from conftest import CloneDatabase, Launcher, Running, database_directory, free_port, launcher, rows, wait_until
from endpoint import otlp_endpoint
from faults.signals import Programs, Promised, verify
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

import otlp

pytestmark = [
    pytest.mark.timeout(900),  # the modules on a slow network, and the build: one and a half minutes on two cores
    pytest.mark.slow(
        "errors otlp receiver processor pipeline mlflow/experiments mlflow/translate mlflow/fold queue examples/collector"
    ),
]

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "collector"
HTTP = ("config.yaml",)
GRPC = ("config.yaml", "grpc.yaml")
BY_HEADER = ("config.yaml", "experiments.yaml")
JSON = {"encoding": "json"}
PROTOCOLS = pytest.mark.parametrize("configs", [HTTP, GRPC], ids=["http", "grpc"])
SENDERS = pytest.mark.parametrize(("configs", "encoding"), [(HTTP, {}), (HTTP, JSON), (GRPC, {})], ids=["http", "json", "grpc"])

READY = "Everything is ready. Begin running and processing data."
SAMPLED = ("config.yaml", "sampling.yaml")
SIGNALS = ("config.yaml", "signals.yaml")
ABSOLUTE = ("processors.", "service.")
MIB = 1024 * 1024
RETRY = "Exporting failed. Will retry the request after interval."


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built Collector."""
    if shutil.which("go") is None:
        pytest.skip("go is not installed")
    wanted = re.findall(r"^go (\d+)\.(\d+)", (EXAMPLE / "go.mod").read_text(), re.MULTILINE)[0]
    here = {**os.environ, "GOTOOLCHAIN": "local"}  # else an old Go fetches a newer one
    version = subprocess.run(["go", "env", "GOVERSION"], env=here, capture_output=True, text=True, check=True).stdout.strip()
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < tuple(map(int, wanted)):
        pytest.skip(f"examples/collector needs Go {'.'.join(wanted)}, and here is {version}")
    built = tmp_path_factory.mktemp("collector") / "collector"
    command = ["go", "build", "-buildvcs=false", "-o", str(built), "."]  # who owns the checkout is of no account
    done = subprocess.run(command, cwd=EXAMPLE, env=here, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr
    return built


def exporter_of(configs: tuple[str, ...]) -> str:
    """The exporter that the last of these files has in its pipeline."""
    services = [yaml.safe_load((EXAMPLE / config).read_text()).get("service", {}) for config in configs]
    pipelines = [service["pipelines"]["traces"] for service in services if "traces" in service.get("pipelines", {})]
    name: str = [pipeline["exporters"][0] for pipeline in pipelines if "exporters" in pipeline][-1]
    return name


@dataclass
class Collector:
    """A Collector in front of a Headrace; may be killed and started again, with the same ports and the same queue."""

    program: Path
    directory: Path
    headrace: Running
    arguments: list[str]
    http_port: int = field(default_factory=free_port)
    grpc_port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def grpc_url(self) -> str:
        return f"http://127.0.0.1:{self.grpc_port}"

    def start(self) -> None:
        """Starts it, and waits until it takes spans."""
        environment = os.environ | {
            "COLLECTOR_HTTP": f"127.0.0.1:{self.http_port}",
            "COLLECTOR_GRPC": f"127.0.0.1:{self.grpc_port}",
            "COLLECTOR_QUEUE": str(self.directory / "queue"),
            "COLLECTOR_TO_HTTP": self.headrace.url,
            "COLLECTOR_TO_GRPC": self.headrace.grpc_url.removeprefix("http://"),
        }
        starts = len(self.logged(READY))
        with self.log.open("ab") as output:
            command = [str(self.program), *self.arguments]
            self.process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        wait_until(lambda: self._is_ready(starts), 30, "the Collector is not ready")

    def _is_ready(self, starts: int) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            pytest.fail(f"the Collector ended with {self.process.returncode}: {self.log.read_text()}")
        return len(self.logged(READY)) > starts

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        """SIGTERM; what it has not got rid of stays in its queue."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)

    @property
    def log(self) -> Path:
        return self.directory / "collector.log"

    def logged(self, message: str) -> list[dict[str, Any]]:
        """The entries of its log with this message."""
        if not self.log.exists():
            return []
        whole = [line for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        entries = [json.loads(line) for line in whole if line.startswith("{")]
        return [entry for entry in entries if entry["msg"] == message]

    def post(self, request: ExportTraceServiceRequest, **headers: str) -> httpx.Response:
        """A service's POST, in protobuf."""
        named = {"content-type": "application/x-protobuf"} | {k.replace("_", "-"): v for k, v in headers.items()}
        return httpx.post(f"{self.url}/v1/traces", content=request.SerializeToString(), headers=named, timeout=30)


Collect = Callable[..., Collector]


@pytest.fixture
def collect(program: Path, headrace: Launcher) -> Iterator[Collect]:
    """`collect(running, configs, compression="zstd")` → a Collector that runs the example's files, with these settings of the
    exporter over them; ended with the test, before Headrace is."""
    with database_directory() as directory:
        collectors: list[Collector] = []

        def run(running: Running, configs: tuple[str, ...] = HTTP, **exporter: object) -> Collector:
            place = directory / str(len(collectors))
            place.mkdir()
            exporter = {"retry_on_failure.initial_interval": "100ms", "retry_on_failure.max_interval": "500ms"} | exporter
            prefix = f"exporters.{exporter_of(configs)}."
            settings = {prefix * (not name.startswith(ABSOLUTE)) + name: value for name, value in exporter.items()} | {
                "service.telemetry.logs.encoding": "json",
                "service.telemetry.metrics.level": "none",  # else each wants port 8888
            }
            arguments = [argument for config in configs for argument in ("--config", str(EXAMPLE / config))]
            arguments += [argument for name, value in settings.items() for argument in ("--set", f"{name}={json.dumps(value)}")]
            collectors.append(Collector(program, place, running, arguments))
            collectors[-1].start()
            return collectors[-1]

        yield run
        for collector in collectors:
            collector.stop()


# What is sent

SCALARS = {
    "text": "Grüße, 世界 🌍",
    "int": 2**53 + 1,
    "double": 0.1,
    "whole": 1.0,
    "yes": True,
    "bytes": b"\x00\xff",
    "empty": "",
}
NESTED = {"list": ["a", 1, 2.5, False], "map": {"deep": [{"er": 1}], "none": {}}, "strings": ["x", "y"]}


def usage(tokens: int) -> dict[str, Any]:
    """The attributes of a call of an LLM."""
    return {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini", "gen_ai.usage.input_tokens": tokens}


def shop(number: int) -> ExportTraceServiceRequest:
    """The same request for the same number: one trace of two services, with some of everything that OTLP has. Each span has a
    status and each scope is there, if empty, as the Collector adds them where they are not."""
    trace_id, root = number.to_bytes(16, "big"), (number * 8 + 1).to_bytes(8, "big")
    event = Span.Event(name="retry", time_unix_nano=otlp.START + 7, attributes=otlp.attributes(SCALARS | NESTED))
    link = Span.Link(
        trace_id=b"\x4b" * 16, span_id=b"\xf9" * 8, trace_state="a=b", attributes=otlp.attributes({"kind": "cause"})
    )
    request = otlp.request(
        otlp.span(f"POST /orders/{number}", trace_id, root, attrs=SCALARS | {"number": number}, kind=Span.SPAN_KIND_SERVER,
                  flags=0x101, trace_state="vendor=1", dropped_attributes_count=3,
                  status=Status()),
        otlp.span("chat", trace_id, (number * 8 + 2).to_bytes(8, "big"), root, end=otlp.START + 1, attrs=usage(48),
                  status=Status(code=Status.STATUS_CODE_OK)),
    )  # fmt: skip
    request.resource_spans.append(
        otlp.resource_spans(
            otlp.span("charge", trace_id, (number * 8 + 3).to_bytes(8, "big"), root, attrs=NESTED, events=[event], links=[link],
                      status=Status(code=Status.STATUS_CODE_ERROR, message="card declined")),
            service="payment", deployment_region="eu",
        )
    )  # fmt: skip
    for resource_spans, scope in zip(request.resource_spans, (InstrumentationScope(name="shop"), None), strict=True):
        resource_spans.scope_spans[0].scope.CopyFrom(scope or InstrumentationScope())
    return request


# What is stored


def stored(url: str) -> dict[str, list[dict[str, Any]]]:
    """All that the tables say of all traces."""
    tables = {"spans": "trace_id, span_id", "trace_info": "request_id"}
    tables |= {"trace_tags": "request_id, key", "trace_request_metadata": "request_id, key", "headrace.origin": "digest"}
    found = {table: rows(url, f"SELECT * FROM {table} ORDER BY {key}") for table, key in tables.items()}
    for trace in found["trace_info"]:
        trace.pop("db_payload_generation")  # counts how often MLflow's tables were written
    for origin in found["headrace.origin"]:
        origin.pop("trace_id")  # one of the traces that have it: the last of the batch that came first
    return found


def assert_same(found: dict[str, list[dict[str, Any]]], expected: dict[str, list[dict[str, Any]]]) -> None:
    """Row by row: a failure shows the row."""
    for table, others in expected.items():
        for row, other in zip(found[table], others, strict=True):
            assert row == other, table


def count(url: str, table: str = "spans") -> int:
    """How many rows a table has."""
    return int(rows(url, f"SELECT count(*) AS rows FROM {table}")[0]["rows"])


def arrived(url: str, spans: int, seconds: float = 30) -> None:
    """Waits for so many spans in the table."""
    wait_until(lambda: count(url) >= spans, seconds, f"{spans} spans")


def experiment_of(url: str) -> dict[str, int]:
    """Trace id → experiment id."""
    return {row["request_id"]: row["experiment_id"] for row in rows(url, "SELECT request_id, experiment_id FROM trace_info")}


def new_experiment(url: str, name: str) -> int:
    """The id of an experiment that was not there before."""
    create = (
        "INSERT INTO experiments (name, artifact_location, lifecycle_stage) VALUES (%s, %s, 'active') RETURNING experiment_id"
    )
    with psycopg.connect(url) as connection:
        found = connection.execute(create, (name, f"mlflow-artifacts:/{name}")).fetchone()
    assert found is not None
    return int(found[0])


def metric(running: Running, name: str) -> float:
    """A metric of Headrace, summed over its labels."""
    lines = httpx.get(f"{running.url}/metrics", timeout=30).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if re.match(rf"{name}[ {{]", line))


# Through the Collector, whatever the protocol


SENT = [shop(number) for number in range(1, 21)]


@pytest.fixture(scope="module")
def direct(clone_database: CloneDatabase) -> dict[str, list[dict[str, Any]]]:
    """What is stored when `SENT` goes to Headrace directly."""
    with clone_database() as url, launcher() as launch:
        experiment = new_experiment(url, "shop")
        running = launch(database_url=url)
        for request in SENT:
            running.post(request.SerializeToString(), x_mlflow_experiment_id=str(experiment)).raise_for_status()
        assert running.stop() == 0
        return stored(url)


@pytest.mark.parametrize(
    ("configs", "exporter"),
    [
        pytest.param(configs, {**encoding, "compression": compression}, id=f"{name} {compression}")
        for name, configs, encoding in (("http", HTTP, {}), ("json", HTTP, JSON), ("grpc", GRPC, {}))
        for compression in ("none", "gzip", "zstd")
    ],
)
def test_what_is_stored_is_what_would_be_without_a_collector(
    collect: Collect,
    headrace: Launcher,
    database_url: str,
    direct: dict[str, list[dict[str, Any]]],
    configs: tuple[str, ...],
    exporter: dict[str, str],
) -> None:
    """Twenty requests become a few; every row of every table is as if they had been sent to Headrace directly."""
    experiment = new_experiment(database_url, "shop")
    headers = {"headers.x-mlflow-experiment-id": str(experiment)}
    running = headrace(database_url=database_url)
    collector = collect(running, configs, **headers, **exporter)
    for request in SENT:
        assert collector.post(request).status_code == 200
    arrived(database_url, 60)
    wait_until(running.drained)
    assert_same(stored(database_url), direct)
    assert set(experiment_of(database_url).values()) == {experiment}
    assert 1 <= metric(running, "headrace_requests_total") < len(SENT)
    assert collector.logged(RETRY) == []


@PROTOCOLS
@pytest.mark.parametrize("sdk", [HttpExporter, GrpcExporter], ids=["from python http", "from python grpc"])
def test_spans_of_the_python_sdk(
    collect: Collect, headrace: Launcher, database_url: str, sdk: type, configs: tuple[str]
) -> None:
    collector = collect(headrace(database_url=database_url), configs)
    grpc_url = f"http://127.0.0.1:{collector.grpc_port}"
    exporter = HttpExporter(f"{collector.url}/v1/traces") if sdk is HttpExporter else GrpcExporter(grpc_url, insecure=True)
    provider = TracerProvider(resource=Resource.create({"service.name": "fraud-scorer"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("fraud-scorer", "1.0.0")
    with tracer.start_as_current_span("POST /score", attributes={"order": 4711}) as root:
        for name in ("load features", "predict"):
            with tracer.start_as_current_span(name, attributes={"features": [0.3, 1.0]}):
                pass
    provider.shutdown()

    arrived(database_url, 3)
    spans = {row["name"]: row for row in rows(database_url, "SELECT * FROM spans")}
    assert set(spans) == {"POST /score", "load features", "predict"}
    trace_id = f"tr-{root.get_span_context().trace_id:032x}"
    assert {row["trace_id"] for row in spans.values()} == {trace_id}
    parents = {json.loads(spans[name]["content"])["parent_span_id"] for name in ("load features", "predict")}
    assert parents == {json.loads(spans["POST /score"]["content"])["span_id"]}
    assert json.loads(spans["POST /score"]["content"])["attributes"]["order"] == "4711"
    assert json.loads(spans["predict"]["content"])["attributes"]["features"] == "[0.3, 1.0]"
    (service,) = rows(database_url, "SELECT value FROM trace_tags WHERE key = 'service.name'")
    assert service["value"] == "fraud-scorer"


def test_the_readme_s_exporter(collect: Collect, headrace: Launcher, database_url: str, tmp_path: Path) -> None:
    """The snippet in the project's README, in an otherwise plain Collector: no queue on disk, no batches."""
    block = re.findall(r"```yaml\n(# OpenTelemetry Collector\n.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]
    running = headrace(database_url=database_url)
    (name,) = yaml.safe_load(block)["exporters"]
    (tmp_path / "readme.yaml").write_text(block.replace("http://localhost:4318", running.url))
    (tmp_path / "service.yaml").write_text(yaml.safe_dump({"service": {"pipelines": {"traces": {"exporters": [name]}}}}))
    configs = ("config.yaml", str(tmp_path / "readme.yaml"), str(tmp_path / "service.yaml"))
    collector = collect(running, configs)
    assert collector.post(shop(1)).status_code == 200
    arrived(database_url, 3)
    assert set(experiment_of(database_url).values()) == {0}


# Bad spans, bad requests


@SENDERS
def test_one_bad_span_costs_one_span_and_the_collector_says_why(
    collect: Collect, headrace: Launcher, database_url: str, configs: tuple[str, ...], encoding: dict[str, str]
) -> None:
    collector = collect(headrace(database_url=database_url), configs, **encoding)
    good = [otlp.span("good"), otlp.span("also good")]
    answer = collector.post(otlp.request(good[0], otlp.span("bad", trace_id=bytes(16)), good[1]))
    assert answer.status_code == 200
    assert not ExportTraceServiceResponse.FromString(answer.content).partial_success.rejected_spans  # it looks at lengths only
    arrived(database_url, 2)
    assert {row["span_id"] for row in rows(database_url, "SELECT span_id FROM spans")} == {span.span_id.hex() for span in good}
    (entry,) = wait_until(lambda: collector.logged("Partial success response"))
    assert entry["level"] == "warn"
    assert entry["dropped_spans"] == 1
    assert entry["message"] == "1 of 3 spans rejected: trace_id must be 16 bytes, not all zero (1)."


def test_an_id_of_the_wrong_length_never_leaves_the_collector(collect: Collect, headrace: Launcher, database_url: str) -> None:
    """It refuses the request, good spans included: the one thing that is worse with a Collector in front."""
    running = headrace(database_url=database_url)
    collector = collect(running)
    answer = collector.post(otlp.request(otlp.span("good"), otlp.span("bad", trace_id=bytes(15))))
    assert answer.status_code == 400
    assert b"invalid TraceID length" in answer.content
    assert metric(running, "headrace_requests_total") == 0


@SENDERS
def test_a_refusal_is_logged_with_the_reason(
    collect: Collect, headrace: Launcher, database_url: str, configs: tuple[str, ...], encoding: dict[str, str]
) -> None:
    """An experiment that does not exist: the Collector drops the spans, and says what Headrace said."""
    collector = collect(headrace(database_url=database_url), configs, **{"headers.x-mlflow-experiment-id": "4711"}, **encoding)
    assert collector.post(shop(1)).status_code == 200
    (entry,) = wait_until(lambda: collector.logged("Exporting failed. Dropping data."))
    assert entry["dropped_items"] == 3
    if encoding == JSON:  # the Collector reads the reason in protobuf only
        assert "HTTP Status Code 400" in entry["error"]
    else:
        assert "MLflow has no experiment with id 4711" in entry["error"]
    assert count(database_url) == 0


def test_a_compression_that_nobody_knows_is_refused_and_the_spans_are_lost(
    collect: Collect, headrace: Launcher, database_url: str
) -> None:
    """The answer names those that are known; it is one that no client may retry."""
    collector = collect(headrace(database_url=database_url), GRPC, compression="snappy")
    assert collector.post(shop(1)).status_code == 200
    (entry,) = wait_until(lambda: collector.logged("Exporting failed. Dropping data."))
    assert entry["dropped_items"] == 3
    assert "code = Unimplemented desc = grpc-encoding 'snappy' is not supported: send identity, deflate, gzip" in entry["error"]
    assert count(database_url) == 0


# Several experiments through one Collector


def test_each_service_s_resource_names_its_experiment_where_the_collector_sets_no_header(
    collect: Collect, headrace: Launcher, database_url: str
) -> None:
    running = headrace(database_url=database_url)
    collector = collect(running, headers=None)
    for name in ("shop", "lab"):
        assert collector.post(otlp.request(otlp.span(name), mlflow_experiment_name=name)).status_code == 200
    arrived(database_url, 2)
    query = "SELECT s.name AS span, e.name AS experiment FROM spans s JOIN experiments e USING (experiment_id)"
    assert {row["span"]: row["experiment"] for row in rows(database_url, query)} == {"shop": "shop", "lab": "lab"}


@pytest.mark.parametrize("batches", [3, 0], ids=["batched", "one by one"])
def test_each_service_s_header_goes_on_even_through_the_queue(
    collect: Collect, headrace: Launcher, database_url: str, batches: int
) -> None:
    """Headrace is away, the Collector is killed: the headers were kept apart, and with their spans."""
    shop_id, lab_id = (new_experiment(database_url, name) for name in ("shop", "lab"))
    start = partial(headrace, database_url=database_url, http_port=free_port(), grpc_port=free_port())
    running = start()
    running.kill()
    # What the batch processor still holds would be lost with the Collector: it lets go of each batch when it is full.
    full = {"processors.batch.send_batch_size": 12, "processors.batch.timeout": "60s"}
    settings = full if batches else {"service.pipelines.traces.processors": []}
    collector = collect(running, BY_HEADER, **settings, **{"retry_on_failure.initial_interval": "60s"})
    wanted = {}
    for number in range(1, 13):
        experiment = (0, shop_id, lab_id)[number % 3]
        headers = {"x_mlflow_experiment_id": str(experiment)} if experiment else {}
        assert collector.post(shop(number), **headers).status_code == 200
        wanted[f"tr-{number:032x}"] = experiment
    wait_until(lambda: len(collector.logged(RETRY)) >= batches)
    collector.kill()
    running = start()
    collector.start()
    arrived(database_url, 36)
    assert experiment_of(database_url) == wanted
    assert metric(running, "headrace_requests_total") == (batches or 12)


# Sizes


@PROTOCOLS
def test_a_backlog_fills_the_queue_and_then_goes_out_in_batches_that_headrace_takes(
    collect: Collect, headrace: Launcher, database_url: str, configs: tuple[str, ...]
) -> None:
    """Each request is over Headrace's limit: the Collector cuts it. A service that meets a full queue may send again."""
    start = partial(headrace, database_url=database_url, http_port=free_port(), grpc_port=free_port(), max_body_bytes=5 * MIB)
    running = start()
    running.kill()
    collector = collect(running, configs, **{"sending_queue.queue_size": 32 * MIB, "sending_queue.batch.max_size": 4 * MIB})
    answers = []
    for number in range(6):
        spans = [otlp.span(f"{number}", attrs={"text": "x" * MIB}) for _ in range(6)]
        answers.append(collector.post(otlp.request(*spans)).status_code)
    assert answers == [200] * 5 + [503]
    start()
    arrived(database_url, 30)
    assert {row["name"] for row in rows(database_url, "SELECT name FROM spans")} == {str(number) for number in range(5)}
    assert collector.logged("Exporting failed. Dropping data.") == []


def test_large_requests_pass(collect: Collect, headrace: Launcher, database_url: str) -> None:
    """Larger than a Collector's receivers take by default, and than the batches of the example; too large for no one here."""
    collector = collect(headrace(database_url=database_url))
    large = otlp.request(otlp.span("over HTTP", attrs={"text": "x" * 21 * MIB}))
    assert collector.post(large).status_code == 200
    with grpc.insecure_channel(f"127.0.0.1:{collector.grpc_port}") as channel:
        stub = TraceServiceStub(channel)  # type: ignore[no-untyped-call]
        stub.Export(otlp.request(otlp.span("over gRPC", attrs={"text": "x" * 5 * MIB})), timeout=30)
    arrived(database_url, 2)
    assert {row["name"] for row in rows(database_url, "SELECT name FROM spans")} == {"over HTTP", "over gRPC"}


# Kills


class Load:
    """Services that send one trace after the other, each again and again until the Collector takes it."""

    def __init__(self, collector: Collector, services: int = 2) -> None:
        self.accepted: set[int] = set()
        self._collector = collector
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(n, services)) for n in range(1, services + 1)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def more(self, traces: int) -> None:
        """Waits until that many more were accepted."""
        before = len(self.accepted)
        wait_until(lambda: len(self.accepted) >= before + traces, 60, f"{traces} more traces accepted")

    def _send(self, number: int, step: int) -> None:
        headers = {"content-type": "application/x-protobuf"}
        with httpx.Client(base_url=self._collector.url, headers=headers, timeout=30) as client:
            while not self._stopping.is_set():
                if self._accepts(client, shop(number).SerializeToString()):
                    self.accepted.add(number)
                    number += step
                else:
                    self._stopping.wait(0.02)

    @staticmethod
    def _accepts(client: httpx.Client, body: bytes) -> bool:
        try:
            return client.post("/v1/traces", content=body).status_code == 200
        except httpx.TransportError:
            return False  # killed


def assert_each_is_there_once(url: str, accepted: set[int]) -> None:
    """Every trace has its three spans, and what MLflow sums up over them was not summed up twice."""
    query = "SELECT trace_id, array_agg(name ORDER BY name) AS names FROM spans GROUP BY trace_id"
    spans = {row["trace_id"]: row["names"] for row in rows(url, query)}
    assert {trace: names for trace, names in spans.items() if len(names) != 3} == {}
    assert {number for number in accepted if spans.get(f"tr-{number:032x}", [""])[0] != f"POST /orders/{number}"} == set()
    infos = rows(url, "SELECT request_id, input_tokens, status FROM trace_info")
    assert {info["request_id"] for info in infos} == set(spans)
    assert {(info["input_tokens"], info["status"]) for info in infos} == {(48, "OK")}
    assert count(url, "headrace.dead_letter") == 0


@PROTOCOLS
def test_headrace_is_killed_again_and_again_under_load(
    collect: Collect, headrace: Launcher, database_url: str, configs: tuple[str, ...]
) -> None:
    start = partial(headrace, database_url=database_url, http_port=free_port(), grpc_port=free_port())
    running = start()
    collector = collect(running, configs, **{"sending_queue.batch.flush_timeout": "50ms"})  # more requests to be killed in
    with Load(collector) as load:
        for _ in range(3):
            load.more(50)
            running.kill()
            load.more(50)  # accepted while Headrace is away
            running = start()
        load.more(50)
    arrived(database_url, 3 * len(load.accepted), 60)
    wait_until(running.drained)
    assert_each_is_there_once(database_url, load.accepted)
    assert len(collector.logged(RETRY)) >= 3
    assert collector.logged("Exporting failed. Dropping data.") == []


@PROTOCOLS
def test_the_collector_is_killed_again_and_again_under_load(
    collect: Collect, headrace: Launcher, database_url: str, configs: tuple[str, ...]
) -> None:
    """Services whose request got no answer send it again: some traces come twice to the Collector, some to Headrace."""
    running = headrace(database_url=database_url)
    collector = collect(running, configs, **{"sending_queue.batch.flush_timeout": "50ms"})
    with Load(collector) as load:
        for traces in (20, 60, 110, 40, 90):
            load.more(traces)
            collector.kill()
            collector.start()
        load.more(20)
    arrived(database_url, 3 * len(load.accepted), 60)
    wait_until(running.drained)
    assert_each_is_there_once(database_url, load.accepted)


@PROTOCOLS
def test_what_comes_twice_is_stored_once(
    collect: Collect, headrace: Launcher, database_url: str, configs: tuple[str, ...]
) -> None:
    """The Collector's disk is set back to before it sent: every batch comes a second time, and no row changes."""
    start = partial(headrace, database_url=database_url, http_port=free_port(), grpc_port=free_port())
    running = start()
    running.kill()
    collector = collect(running, configs)
    for request in SENT:
        assert collector.post(request).status_code == 200
    collector.kill()
    queue, copy = collector.directory / "queue", collector.directory / "copy"
    shutil.copytree(queue, copy)

    running = start()
    collector.start()
    arrived(database_url, 60)
    wait_until(running.drained)
    before = stored(database_url)
    collector.kill()
    shutil.rmtree(queue)
    copy.rename(queue)
    collector.start()
    wait_until(lambda: metric(running, "headrace_spans_accepted_total") == 120)
    wait_until(running.drained)
    assert_same(stored(database_url), before)
    assert_each_is_there_once(database_url, set(range(1, 21)))


# The files


def test_each_module_is_of_one_release() -> None:
    text = (EXAMPLE / "go.mod").read_text()
    official = re.findall(r"^\t((?:go\.opentelemetry\.io/collector|github\.com/open-telemetry)\S*) v(\S+)", text, re.MULTILINE)
    (version,) = re.findall(r'Version: +"(.*)"', (EXAMPLE / "main.go").read_text())
    assert len(official) > 20
    stable = {found for _, found in official if not found.startswith("0.")}
    assert len(stable) == 1  # the modules that have reached 1.0 count on their own
    assert {found for _, found in official if found.startswith("0.")} == {version}


def test_whole_traces_are_sampled_once_they_are_known(
    collect: Collect, headrace: Launcher, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traces with an error and slow ones go on, with all their spans; with 0 % of the rest, nothing else does."""
    monkeypatch.setenv("COLLECTOR_DECISION_WAIT", "2s")
    monkeypatch.setenv("COLLECTOR_KEEP_PERCENT", "0")
    collector = collect(headrace(database_url=database_url), SAMPLED)
    failed = Status(code=Status.STATUS_CODE_ERROR)
    kinds = {"plain": ({}, otlp.SECOND // 2), "failed": ({"status": failed}, otlp.SECOND // 2), "slow": ({}, 3 * otlp.SECOND)}
    for number, (name, (fields, duration)) in enumerate(list(kinds.items()) * 5):
        trace_id = (number + 1).to_bytes(16, "big")
        root = otlp.span(name, trace_id, b"\1" * 8, b"", otlp.START, otlp.START + duration)
        child = otlp.span("child", trace_id, b"\2" * 8, b"\1" * 8, otlp.START, otlp.START + 1, None, **fields)
        for span in (child, root):  # each in a request of its own
            assert collector.post(otlp.request(span)).status_code == 200
    wait_until(lambda: len(rows(database_url, "SELECT 1 FROM spans")) == 20, 60, "the spans of the traces that are kept")
    found = rows(database_url, "SELECT name, count(*) FROM spans GROUP BY name ORDER BY name")
    assert [(row["name"], row["count"]) for row in found] == [("child", 10), ("failed", 5), ("slow", 5)]


def test_all_three_signals_go_through_and_nobody_complains(collect: Collect, headrace: Launcher, database_url: str) -> None:
    """Programs with OpenTelemetry's SDK, over HTTP and gRPC. Metrics of a run are its metrics, and others are passed on."""
    with otlp_endpoint() as elsewhere:
        running = headrace(database_url=database_url, metrics_forward=elsewhere.url)
        collector = collect(running, SIGNALS)
        with Programs(collector, database_url, "collected") as programs:
            wait_until(lambda: all(len(each.values) >= 10 for each in programs.promised), 120, "ten units of work")
        alone = build.request(build.gauge("of no run", 1.0)).SerializeToString()
        headers = {"content-type": "application/x-protobuf"}
        assert httpx.post(f"{collector.url}/v1/metrics", content=alone, headers=headers, timeout=30).status_code == 200
        for promised in programs.promised:
            assert promised.refusals == {}
            wait_until(partial(all_there, database_url, promised), 120, "all that was sent")
        wait_until(lambda: elsewhere.names == ["of no run"], 60, "the metrics of no run")
        collector.stop()
    entries = [json.loads(line) for line in collector.log.read_text().splitlines() if line.startswith("{")]
    assert [entry for entry in entries if entry["level"] in ("warn", "error")] == []


def all_there(url: str, promised: Promised) -> bool:
    """Whether all that a program was promised is in MLflow's tables; nothing may be there twice."""
    tallies = verify(url, promised).values()
    assert all(tally.doubled == 0 for tally in tallies)
    return all(tally.lost == 0 for tally in tallies)
