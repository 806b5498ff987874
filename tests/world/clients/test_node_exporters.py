"""examples/node, run as a user runs it, with OpenTelemetry JS' exporters: protobuf and JSON over HTTP, and gRPC."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from conftest import Running, wait_until
from mlflow import MlflowClient
from mlflow.entities import SpanStatusCode, Trace, TraceState

pytestmark = [
    pytest.mark.timeout(400),  # `npm ci` on a slow network
    pytest.mark.slow("errors otlp receiver processor pipeline mlflow/experiments mlflow/translate mlflow/fold examples/node"),
]

EXAMPLE = Path(__file__).parents[3] / "examples" / "node"
EXPORTERS = ["proto", "json", "grpc"]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example with its dependencies."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    directory = tmp_path_factory.mktemp("node") / "example"
    shutil.copytree(EXAMPLE, directory, ignore=shutil.ignore_patterns("node_modules"))
    done = subprocess.run(["npm", "ci"], cwd=directory, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return directory


def run_example(
    installed: Path, up: Running, exporter: str, headers: str, **settings: str
) -> "subprocess.CompletedProcess[str]":
    """Runs the program with nothing but the OTEL_* variables that are given here."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    environment |= {
        "OTEL_SERVICE_NAME": "order-worker",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": up.grpc_url if exporter == "grpc" else f"{up.url}/v1/traces",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": headers,
        **settings,
    }
    command = ["node", "main.mjs", exporter]
    return subprocess.run(command, cwd=installed, env=environment, capture_output=True, text=True, timeout=100, check=False)


def trace_of(up: Running, done: "subprocess.CompletedProcess[str]") -> Trace:
    """The trace whose id the program printed, once Headrace has written it."""
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    wait_until(up.drained, 60, "the queue is not drained")
    trace: Trace = MlflowClient(up.ui_url).get_trace(done.stdout.strip())
    return trace


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("exporter", EXPORTERS)
def test_the_example_is_one_complete_trace(installed: Path, up: Running, exporter: str, compression: str) -> None:
    experiment = MlflowClient(up.ui_url).create_experiment(f"node {exporter} {compression}")
    headers = f"x-mlflow-experiment-id={experiment}"
    trace = trace_of(up, run_example(installed, up, exporter, headers, OTEL_EXPORTER_OTLP_COMPRESSION=compression))
    assert trace.info.experiment_id == experiment
    assert trace.info.state == TraceState.ERROR
    assert trace.info.tags["service.name"] == "order-worker"
    assert 50 <= (trace.info.execution_duration or 0) < 60_000  # it sleeps for 60 ms
    assert abs(trace.info.request_time - time.time() * 1000) < 120_000

    spans = {span.name: span for span in trace.data.spans}
    root, select, charge = (spans.pop(name) for name in ("process order.created", "SELECT customers", "POST /v1/charges"))
    assert spans == {}
    assert [span.parent_id for span in (root, select, charge)] == [None, root.span_id, root.span_id]

    # JSON tells 1, 1.0 and true apart.
    assert json.dumps({key: value for key, value in root.attributes.items() if key.startswith("order.")}) == json.dumps(
        {
            "order.id": 4711,
            "order.total": 129.9,
            "order.gift": False,
            "order.skus": ["mug", "tea"],
            "order.quantities": [1, 2],
        }
    )
    assert root.attributes["messaging.destination.name"] == "order.created"
    assert (root.status.status_code, root.status.description) == (SpanStatusCode.ERROR, "order 4711 is parked")
    (parked,) = root.events
    assert parked.name == "order parked"
    assert parked.attributes == {"retry.attempt": 2, "retry.reason": "card declined"}

    # Hexadecimal in JSON, bytes in protobuf: taken for base64, these would be other ids.
    (link,) = root.links
    assert (link.trace_id, link.span_id) == ("tr-4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
    assert link.attributes == {"messaging.message.id": "m-1"}

    assert select.status.status_code == SpanStatusCode.OK
    assert charge.status.status_code == SpanStatusCode.ERROR
    (exception,) = charge.events
    assert exception.name == "exception"
    assert exception.attributes["exception.message"] == "card declined"


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_headers_choose_the_experiment_by_name_and_the_run(installed: Path, up: Running, exporter: str) -> None:
    client = MlflowClient(up.ui_url)
    experiment = client.create_experiment(f"orders {exporter}")
    run = client.create_run(experiment).info.run_id
    headers = f"x-mlflow-experiment-name=orders%20{exporter},x-mlflow-run-id={run}"
    trace = trace_of(up, run_example(installed, up, exporter, headers))
    assert trace.info.experiment_id == experiment
    (found,) = client.search_traces(locations=[experiment], run_id=run)
    assert found.info.trace_id == trace.info.trace_id


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_refusal_ends_the_program_with_the_reason(installed: Path, up: Running, exporter: str) -> None:
    done = run_example(installed, up, exporter, "x-mlflow-experiment-id=4711")
    assert done.returncode == 1
    assert ("code: 3," if exporter == "grpc" else "code: 400") in done.stderr
    assert "MLflow has no experiment with id 4711" in done.stderr


def test_the_lock_names_no_host() -> None:
    assert "://" not in (EXAMPLE / "package-lock.json").read_text()
