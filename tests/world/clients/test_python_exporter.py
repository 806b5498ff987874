"""examples/python, run as a user runs it with OpenTelemetry's exporters of today and of 2023, over HTTP and over gRPC, and
read back through MLflow's own client."""

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from conftest import Launcher, Running, rows, wait_until
from fraud_scorer import EXAMPLE, PROTOCOLS, SPANS, answers, environment, run, start, trace_of
from mlflow import MlflowClient
from mlflow.entities import SpanStatusCode, TraceState

import otlp

pytestmark = pytest.mark.timeout(400)  # the old exporters, on a slow network

TODAY, OLD = "today", "1.22"

# A service that sends all three signals, and prints its trace's id.
ALL_SIGNALS = """
import logging

from opentelemetry.exporter.otlp.proto.{transport}._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.{transport}.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.{transport}.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

traces, logs = TracerProvider(), LoggerProvider()
traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
metrics = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())])
logger = logging.getLogger("shop")
logger.propagate = False
logger.addHandler(LoggingHandler(logger_provider=logs))

with traces.get_tracer("shop").start_as_current_span("POST /checkout", attributes={{"items": 3}}) as span:
    metrics.get_meter("shop").create_counter("orders").add(1, {{"sku": "mug"}})
    logger.warning("low stock")
    print(f"tr-{{span.get_span_context().trace_id:032x}}")
for provider in (traces, metrics, logs):
    provider.shutdown()
"""

OK = {"http/protobuf": "200", "grpc": "OK"}
SIGNALS = ["traces", "metrics", "logs"]


@pytest.fixture(scope="session")
def old_python(pytestconfig: pytest.Config) -> Path:
    """The interpreter of a virtual environment with the exporters of 2023, which is kept for the next run."""
    assert pytestconfig.cache is not None
    lock = Path(__file__).with_name(f"python-exporters-{OLD}.txt")
    content = hashlib.sha256(lock.read_bytes()).hexdigest()
    directory = pytestconfig.cache.mkdir(f"exporters-{OLD}-{platform.python_version()}-{content[:12]}")
    python, installed = directory / "bin" / "python", directory / "installed"
    if not installed.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", directory], check=True, capture_output=True, timeout=100)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1"]
        command = [*pip, "--only-binary=:all:", "--require-hashes", "--requirement", str(lock)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            assert "HASHES" not in done.stderr, done.stderr
            pytest.skip(f"OpenTelemetry {OLD} cannot be installed: {done.stderr.strip()}")
        installed.touch()
    return python


@pytest.fixture(params=[TODAY, OLD], scope="session")
def python(request: pytest.FixtureRequest) -> Path:
    """An interpreter for the program: with the exporters of today, and with the old ones."""
    if request.param == TODAY:
        return Path(sys.executable)
    old: Path = request.getfixturevalue("old_python")
    return old


def assert_has(attributes: dict[str, Any], expected: dict[str, Any]) -> None:
    """The attributes are there with these values and types; JSON tells 1, 1.0 and true apart."""
    assert json.dumps({key: attributes.get(key) for key in expected}) == json.dumps(expected)


@pytest.mark.parametrize("compression", ["", "gzip"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_example_is_one_complete_trace(up: Running, python: Path, protocol: str, compression: str) -> None:
    experiment = MlflowClient(up.ui_url).create_experiment(f"{python} {protocol} {compression}")
    # `none` is a word that the exporter for gRPC does not know.
    settings = {"OTEL_EXPORTER_OTLP_COMPRESSION": compression} if compression else {}
    before = answers(up, protocol)
    trace = trace_of(up, run(up, protocol, f"x-mlflow-experiment-id={experiment}", python, **settings))
    assert answers(up, protocol) == before | {OK[protocol]: before.get(OK[protocol], 0) + 1}
    assert trace.info.experiment_id == experiment
    assert trace.info.state == TraceState.OK
    assert trace.info.tags["service.name"] == "fraud-scorer"
    assert json.loads(trace.info.request_preview or "")["order"] == 4711
    assert json.loads(trace.info.response_preview or "") == {"score": 0.71, "verdict": "approve"}
    assert trace.info.token_usage == {"input_tokens": 48, "output_tokens": 2, "total_tokens": 50}

    names: dict[str | None, str] = {span.span_id: span.name for span in trace.data.spans}
    assert {span.name: names.get(span.parent_id) for span in trace.data.spans} == SPANS
    assert len(trace.data.spans) == len(SPANS)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_attributes_status_and_events_keep_their_types(up: Running, python: Path, protocol: str) -> None:
    trace = trace_of(up, run(up, protocol, "x-mlflow-experiment-id=0", python))
    spans = {span.name: span for span in trace.data.spans}

    assert_has(spans["POST /score"].attributes, {"http.request.method": "POST", "http.response.status_code": 200})
    assert_has(spans["load features"].attributes, {"features.cached": False, "features.values": [0.3, 1.0, 17.5]})
    (fallback,) = spans["load features"].events
    assert fallback.name == "fall back to the database"
    assert fallback.attributes == {"customer": "c-42", "attempt": 1}

    failed = spans["GET features"]
    assert failed.status.status_code == SpanStatusCode.ERROR
    assert failed.status.description == "ConnectionError: feature cache is down"
    (exception,) = failed.events
    assert exception.name == "exception"
    assert exception.attributes["exception.type"] == "ConnectionError"
    assert "in load_features" in str(exception.attributes["exception.stacktrace"])

    assert spans["predict fraud-gbm"].status.status_code == SpanStatusCode.OK
    assert spans["POST /score"].status.status_code == SpanStatusCode.UNSET
    assert_has(spans["predict fraud-gbm"].attributes, {"ml.model.version": 14, "ml.features.count": 3, "ml.score": 0.71})

    llm = spans["chat gpt-4o-mini"]
    assert llm.span_type == "CHAT_MODEL"
    assert llm.model_name == "gpt-4o-mini"
    assert llm.inputs[0]["role"] == "user"
    assert llm.outputs[0]["parts"][0]["content"] == "approve"
    assert_has(llm.attributes, {"gen_ai.request.temperature": 0.2, "gen_ai.response.finish_reasons": ["stop"]})
    assert_has(llm.attributes, {"gen_ai.usage.input_tokens": 48, "gen_ai.usage.output_tokens": 2})


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_experiment_that_the_header_names_is_created(up: Running, python: Path, protocol: str) -> None:
    client = MlflowClient(up.ui_url)
    name = f"shop / fraud {python} {protocol}"
    assert client.get_experiment_by_name(name) is None
    trace = trace_of(up, run(up, protocol, f"x-mlflow-experiment-name={quote(name, safe='')}", python))
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    assert trace.info.experiment_id == experiment.experiment_id
    (found,) = client.search_traces(locations=[experiment.experiment_id])
    assert found.info.trace_id == trace.info.trace_id
    assert len(found.data.spans) == len(SPANS)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_run_that_the_header_names_owns_the_trace(up: Running, protocol: str) -> None:
    client = MlflowClient(up.ui_url)
    experiment = client.create_experiment(f"python run {protocol}")
    run_id, other = (client.create_run(experiment).info.run_id for _ in range(2))
    trace = trace_of(up, run(up, protocol, f"x-mlflow-experiment-id={experiment},x-mlflow-run-id={run_id}"))
    (found,) = client.search_traces(locations=[experiment], run_id=run_id)
    assert found.info.trace_id == trace.info.trace_id
    assert client.search_traces(locations=[experiment], run_id=other) == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_refusal_shows_on_the_client_which_does_not_try_again(up: Running, python: Path, protocol: str) -> None:
    code = {"http/protobuf": "400", "grpc": "INVALID_ARGUMENT"}[protocol]
    before = answers(up, protocol).get(code, 0)
    assert re.search(
        rf"Failed to export .*code: (StatusCode\.)?{code}", run(up, protocol, "x-mlflow-experiment-id=4711", python).stderr
    )
    assert answers(up, protocol)[code] == before + 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_full_queue_is_waited_for(headrace: Launcher, database_url: str, python: Path, protocol: str) -> None:
    """The exporter is told to come back, does, and is answered once there is room."""
    refusal = {"http/protobuf": "503", "grpc": "UNAVAILABLE"}[protocol]
    running = headrace("serve", database_url=database_url, queue_max_bytes=1024 * 1024)
    with psycopg.connect(database_url) as blocker:
        blocker.execute("LOCK TABLE trace_info IN ACCESS EXCLUSIVE MODE")  # nothing can be written
        filler = otlp.request(otlp.span("x" * (1024 * 1024 - 1000))).SerializeToString()
        assert running.post(filler, x_mlflow_experiment_id="0").status_code == 200
        with start(python, environment(running, protocol, "x-mlflow-experiment-id=0")) as program:
            wait_until(lambda: refusal in answers(running, protocol), 30, "no request of the program was refused")
            began = time.monotonic()
            blocker.rollback()
            output, errors = program.communicate(timeout=60)
            seconds = time.monotonic() - began
    assert program.returncode == 0
    assert "Transient error" in errors
    assert "Failed" not in errors
    if protocol == "grpc" or python == Path(sys.executable):  # the old one over HTTP waits for as long as it likes
        assert "retrying in 2" in errors
    wait_until(running.drained)
    found = rows(database_url, "SELECT name FROM spans WHERE trace_id = %s", output.strip())
    assert sorted(row["name"] for row in found) == sorted(SPANS)
    assert answers(running, protocol)[refusal] <= 3 + seconds  # each try waits longer than the one before it


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_base_endpoint_alone_is_enough_for_all_three_signals(up: Running, python: Path, protocol: str) -> None:
    """Spans are stored. Metrics and logs are sent once: the answer is a success, so no client tries again, or complains."""
    settings = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    settings["OTEL_EXPORTER_OTLP_ENDPOINT"] = up.grpc_url if protocol == "grpc" else up.url
    program = ALL_SIGNALS.format(transport="grpc" if protocol == "grpc" else "http")
    before = {signal: answers(up, protocol, signal) for signal in SIGNALS}
    done = subprocess.run([python, "-c", program], env=settings, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    (span,) = trace_of(up, done).data.spans
    assert span.name == "POST /checkout"
    assert_has(span.attributes, {"items": 3})
    for signal in SIGNALS:
        answered = before[signal] | {OK[protocol]: before[signal].get(OK[protocol], 0) + 1}
        assert answers(up, protocol, signal) == answered


def test_the_example_pins_what_is_tested_here() -> None:
    lock = (EXAMPLE.parents[1] / "requirements-dev.lock").read_text()
    for line in (EXAMPLE / "requirements.txt").read_text().split():
        assert f"{line} " in lock
