"""A real OpenTelemetry Collector on either side of the topic: before `headrace write`, and behind `headrace receive`."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from brokers import Cluster
from conftest import CloneDatabase, Launcher, database_directory, free_port, launcher, rows, wait_until
from metrics import gauge, total
from metrics import number as point
from metrics import request as metrics
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber

import otlp

pytestmark = [
    pytest.mark.timeout(900),  # the modules on a slow network, and the build: three minutes on two cores
    pytest.mark.slow("errors otlp envelope queue processor export host tests/brokers.py tests/world/kafka/collector"),
]

PROGRAM = Path(__file__).parent / "collector"
READY = "Everything is ready. Begin running and processing data."
SHAPES: dict[str, dict[str, Any]] = {
    "a record for each batch": {"encoding": "otlp_proto"},
    "a record for each trace": {"encoding": "otlp_proto", "by_trace": True},
    "JSON": {"encoding": "otlp_json"},
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built Collector."""
    if shutil.which("go") is None:
        pytest.skip("go is not installed")
    here = {**os.environ, "GOTOOLCHAIN": "local"}  # else an old Go fetches a newer one
    version = subprocess.run(["go", "env", "GOVERSION"], env=here, capture_output=True, text=True, check=True).stdout.strip()
    wanted = re.findall(r"^go (\d+)\.(\d+)", (PROGRAM / "go.mod").read_text(), re.MULTILINE)[0]
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < tuple(map(int, wanted)):
        pytest.skip(f"the Collector needs Go {'.'.join(wanted)}, and here is {version}")
    built = tmp_path_factory.mktemp("collector") / "collector"
    command = ["go", "build", "-buildvcs=false", "-o", str(built), "."]
    done = subprocess.run(command, cwd=PROGRAM, env=here, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr
    return built


Collect = Callable[[dict[str, Any]], None]


@pytest.fixture
def collect(program: Path) -> Iterator[Collect]:
    """Runs a Collector with this configuration, and waits until it is ready; ended with the test."""
    with database_directory() as directory:
        running: list[subprocess.Popen[bytes]] = []

        def run(config: dict[str, Any]) -> None:
            number = len(running)
            config["service"]["telemetry"] = {"logs": {"encoding": "json"}, "metrics": {"level": "none"}}
            file, log = directory / f"{number}.yaml", directory / f"{number}.log"
            file.write_text(yaml.safe_dump(config))
            with log.open("wb") as output:
                running.append(subprocess.Popen([str(program), "--config", str(file)], stdout=output, stderr=output))
            wait_until(lambda: READY in log.read_text() or running[number].poll() is not None, 60, "the Collector is ready")
            assert running[number].poll() is None, log.read_text()

        yield run
        for process in running:
            process.terminate()
            process.wait(30)


def requests(count: int) -> list[ExportTraceServiceRequest]:
    """Two services each, and a trace of its own. Each span has a status and each scope is there, if empty: the Collector adds
    them where they are not."""
    made = []
    for number in range(1, count + 1):
        trace_id, root = number.to_bytes(16, "big"), (8 * number).to_bytes(8, "big")
        request = otlp.request(otlp.span(f"POST /orders/{number}", trace_id, root, attrs={"number": number, "text": "世界"}))
        child = otlp.span("charge", trace_id, (8 * number + 1).to_bytes(8, "big"), root)
        request.resource_spans.append(otlp.resource_spans(child, service="payment"))
        for resource_spans in request.resource_spans:
            resource_spans.scope_spans[0].scope.SetInParent()
            resource_spans.scope_spans[0].spans[0].status.SetInParent()
        made.append(request)
    return made


def stored(url: str) -> list[dict[str, Any]]:
    """All spans, as MLflow has them."""
    columns = "trace_id, span_id, parent_span_id, name, start_time_unix_nano, end_time_unix_nano, content, experiment_id"
    return rows(url, f"SELECT {columns} FROM spans ORDER BY trace_id, span_id")


@pytest.fixture(scope="module")
def direct(clone_database: CloneDatabase) -> list[dict[str, Any]]:
    """What is stored of the requests without Kafka and without a Collector."""
    with clone_database() as url, launcher() as launch:
        running = launch("serve", database_url=url)
        for request in requests(20):
            running.post(request.SerializeToString(), x_mlflow_experiment_id="0").raise_for_status()
        assert running.stop() == 0
        return same(stored(url))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
def test_a_collector_before_the_writer(
    collect: Collect, broker: Cluster, headrace: Launcher, new_database: Callable[[], str], direct: Any, shape: dict[str, Any]
) -> None:
    topic, url, port = broker.new_topic(3), new_database(), free_port()
    writer = headrace("write", queue_url=broker.url(topic), database_url=url)
    collect(
        {
            "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{port}", "include_metadata": True}}}},
            "exporters": {
                "kafka": {
                    "brokers": [broker.addresses],
                    "traces": {"topic": topic, "encoding": shape["encoding"]},
                    "include_metadata_keys": ["x-mlflow-experiment-id"],
                    "partition_traces_by_id": shape.get("by_trace", False),
                    "producer": {"required_acks": -1},
                }
            },
            "service": {"pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["kafka"]}}},
        }
    )
    for request in requests(20):
        headers = {"content-type": "application/x-protobuf", "x-mlflow-experiment-id": "0"}
        body = request.SerializeToString()
        httpx.post(f"http://127.0.0.1:{port}/v1/traces", content=body, headers=headers, timeout=30).raise_for_status()
    wait_until(lambda: len(stored(url)) == 40, 90, writer.log.read_text())
    assert same(stored(url)) == direct
    assert rows(url, "SELECT reason FROM headrace.dead_letter") == []


def logs_of(request: ExportTraceServiceRequest) -> bytes:
    """A log record of each span of a request, as an OTLP body."""
    logs = ExportLogsServiceRequest()
    for resource_spans in request.resource_spans:
        (span,) = resource_spans.scope_spans[0].spans
        record = LogRecord(
            time_unix_nano=span.start_time_unix_nano + 1,
            observed_time_unix_nano=span.start_time_unix_nano + 2,
            trace_id=span.trace_id,
            span_id=span.span_id,
            severity_number=SeverityNumber.SEVERITY_NUMBER_WARN,
            body=otlp.value("世界 is short of stock"),
            event_name="stock.low",
        )
        logs.resource_logs.add(resource=resource_spans.resource).scope_logs.add().log_records.append(record)
        logs.resource_logs[-1].scope_logs[0].scope.SetInParent()
    return logs.SerializeToString()


def points(number: int) -> bytes:
    """The metrics of a run, as an OTLP body."""
    loss = gauge("loss", 1 / number, at=otlp.START + number * 10**9)
    requests_ = total("requests", point(number, otlp.START + number * 10**9, otlp.START))
    return metrics(loss, requests_, mlflow_run_name="night").SerializeToString()


BODIES: dict[str, tuple[Callable[[int], bytes], str]] = {
    "logs": (
        lambda number: logs_of(requests(20)[number - 1]),
        "SELECT count(*) AS n FROM spans WHERE content LIKE '%%stock.low%%'",
    ),
    "metrics": (points, "SELECT count(*) AS n FROM metrics"),
}
"""Signal → its bodies, by number, and the query that counts what came of them: 40 of each."""


def told(url: str, signal: str) -> list[dict[str, Any]]:
    """What MLflow has of a signal."""
    if signal == "logs":
        return same(stored(url))
    return rows(url, "SELECT key, value, timestamp, step, is_nan FROM metrics ORDER BY key, timestamp")


@pytest.mark.parametrize("encoding", ["otlp_proto", "otlp_json"])
@pytest.mark.parametrize("signal", list(BODIES))
def test_logs_and_metrics_of_a_collector(
    collect: Collect, broker: Cluster, headrace: Launcher, new_database: Callable[[], str], signal: str, encoding: str
) -> None:
    """A topic each, as the Collector has them by default; what is stored is what a receiver stores of the same bodies."""
    topic, port, (body, query) = broker.new_topic(3), free_port(), BODIES[signal]
    url, straight = new_database(), new_database()
    there = headrace("serve", database_url=straight, data_dir=headrace.directory / "there")
    here = headrace("serve", database_url=url, data_dir=headrace.directory / "here")
    collect(
        {
            "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{port}", "include_metadata": True}}}},
            "exporters": {
                "kafka": {
                    "brokers": [broker.addresses],
                    signal: {"topic": topic, "encoding": encoding},
                    "include_metadata_keys": ["x-mlflow-experiment-id"],
                    "producer": {"required_acks": -1},
                }
            },
            "service": {"pipelines": {signal: {"receivers": ["otlp"], "exporters": ["kafka"]}}},
        }
    )
    headers = {"content-type": "application/x-protobuf", "x-mlflow-experiment-id": "0"}
    for request in requests(20) if signal == "logs" else []:  # the spans that they belong to
        for running in (there, here):
            running.post(request.SerializeToString(), x_mlflow_experiment_id="0").raise_for_status()
    for number in range(1, 21):
        for address in (there.url, f"http://127.0.0.1:{port}"):
            answer = httpx.post(f"{address}/v1/{signal}", content=body(number), headers=headers, timeout=30)
            assert answer.status_code == 200, answer.text
    name = "signal" if encoding == "otlp_proto" else "group"  # JSON says itself what it is
    headrace("write", queue_url=broker.url(topic, **{name: signal}), database_url=url, data_dir=headrace.directory / "w")

    def complete(which: str) -> bool:
        assert rows(which, "SELECT reason FROM headrace.dead_letter") == []
        return bool(rows(which, query)[0]["n"] == 40)

    wait_until(lambda: complete(straight), 120, "the receiver's own")
    wait_until(lambda: complete(url), 120, "the Collector's")
    assert told(url, signal) == told(straight, signal)


def test_a_collector_behind_the_receiver(
    collect: Collect, broker: Cluster, headrace: Launcher, new_database: Callable[[], str], direct: Any
) -> None:
    """It reads the topic, and sends what it has read to a Headrace that has its queue on disk."""
    topic, url = broker.new_topic(3), new_database()
    receiver = headrace("receive", queue_url=broker.url(topic), database_url=new_database(), data_dir=headrace.directory / "r")
    behind = headrace("serve", database_url=url, data_dir=headrace.directory / "behind")
    collect(
        {
            "receivers": {
                "kafka": {
                    "brokers": [broker.addresses],
                    "traces": {"topic": topic, "encoding": "otlp_proto"},
                    "initial_offset": "earliest",
                }
            },
            "exporters": {"otlp_http": {"endpoint": behind.url, "headers": {"x-mlflow-experiment-id": "0"}}},
            "service": {"pipelines": {"traces": {"receivers": ["kafka"], "exporters": ["otlp_http"]}}},
        }
    )
    for request in requests(20):
        receiver.post(request.SerializeToString(), x_mlflow_experiment_id="0").raise_for_status()
    wait_until(lambda: len(stored(url)) == 40, 90, "40 spans")
    assert same(stored(url)) == direct


def same(spans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With what spans say as an object, so that a failure shows where they differ."""
    return [span | {"content": json.loads(span["content"])} for span in spans]
