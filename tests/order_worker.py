"""The trace that examples/go, examples/java and examples/rust make of one message: runs them as a user does, and says what
has to be in MLflow afterwards, whatever the language, the protocol and the compression."""

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import Running, wait_until
from mlflow import MlflowClient
from mlflow.entities import Span, SpanStatusCode, Trace, TraceState

EXAMPLES = Path(__file__).parents[1] / "examples"


class Program(NamedTuple):
    """A built example: its language, and the command that runs it."""

    language: str
    command: list[str]


def build(command: list[str], directory: Path, **settings: str) -> None:
    """Runs a build to its end; fails the test with what it printed when it fails."""
    environment = {**os.environ, **settings}
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def build_go(directory: Path) -> Path:
    """Builds examples/go into the directory. Skips the test where there is no Go, or one that is older than go.mod says and
    cannot fetch a newer one by itself."""
    if shutil.which("go") is None:
        pytest.skip("go is not installed")
    example = EXAMPLES / "go"
    done = subprocess.run(["go", "version"], cwd=example, capture_output=True, text=True, timeout=300, check=False)
    wanted = re.search(r"^go (\d+)\.(\d+)", (example / "go.mod").read_text(), re.MULTILINE)
    found = re.search(r"go(\d+)\.(\d+)", done.stdout)
    assert wanted is not None
    if done.returncode != 0 or not is_at_least(found, wanted):
        pytest.skip(f"examples/go needs Go {'.'.join(wanted.groups())}: {(done.stdout + done.stderr).strip()}")
    build(["go", "build", "-mod=readonly", "-o", str(directory / "order-worker"), "."], example)
    return directory / "order-worker"


def is_at_least(found: re.Match[str] | None, wanted: re.Match[str]) -> bool:
    """Whether a version was found that is the wanted one or newer; each group is a number of it."""
    return found is not None and [int(number) for number in found.groups()] >= [int(number) for number in wanted.groups()]


def run(program: Program, up: Running, protocol: str, headers: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Runs a program with nothing but the OTEL_* variables that are given here."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    environment |= {
        "OTEL_SERVICE_NAME": "order-worker",
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": up.grpc_url if protocol == "grpc" else f"{up.url}/v1/traces",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": headers,
        **settings,
    }
    # Go prints the answer's body, protobuf, as it came: not all of it is text.
    return subprocess.run(
        program.command, env=environment, capture_output=True, text=True, errors="replace", timeout=100, check=False
    )


def trace_of(up: Running, done: "subprocess.CompletedProcess[str]") -> Trace:
    """The trace whose id the program printed, once Headrace has written it."""
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    wait_until(up.drained, 60, "the queue is not drained")
    trace: Trace = MlflowClient(up.ui_url).get_trace(done.stdout.strip())
    return trace


def assert_one_complete_trace(program: Program, up: Running, protocol: str, compression: str) -> dict[str, Any]:
    """Runs the program, and looks at every value of its trace. Returns the attributes of the exception it recorded, which
    are the language's own."""
    experiment = MlflowClient(up.ui_url).create_experiment(f"{program.language} {protocol} {compression}")
    headers = f"x-mlflow-experiment-id={experiment}"
    trace = trace_of(up, run(program, up, protocol, headers, OTEL_EXPORTER_OTLP_COMPRESSION=compression))
    assert trace.info.experiment_id == experiment
    assert trace.info.state == TraceState.ERROR
    assert trace.info.tags["service.name"] == "order-worker"
    assert trace.info.tags["mlflow.traceName"] == "process order.created"
    assert 50 <= (trace.info.execution_duration or 0) < 60_000  # it sleeps for 60 ms
    assert abs(trace.info.request_time - time.time() * 1000) < 120_000

    spans = {span.name: span for span in trace.data.spans}
    root, select, charge = (spans.pop(name) for name in ("process order.created", "SELECT customers", "POST /v1/charges"))
    assert spans == {}
    assert [span.parent_id for span in (root, select, charge)] == [None, root.span_id, root.span_id]
    moments = [root.start_time_ns, select.start_time_ns, select.end_time_ns, charge.start_time_ns, charge.end_time_ns]
    assert moments == sorted(moment or 0 for moment in moments)
    assert (charge.end_time_ns or 0) <= (root.end_time_ns or 0)
    assert_root(root)
    assert_select(select)
    return exception_of(charge)


def assert_root(root: Span) -> None:
    assert_attributes(
        root,
        "consumer",
        {
            "messaging.destination.name": "order.created",
            "order.id": 4711,
            "order.total": 129.9,
            "order.gift": False,
            "order.skus": ["mug", "tea"],
            "order.quantities": [1, 2],
        },
    )
    assert (root.status.status_code, root.status.description) == (SpanStatusCode.ERROR, "order 4711 is parked")
    (parked,) = root.events
    assert parked.name == "order parked"
    assert root.start_time_ns < parked.timestamp < (root.end_time_ns or 0)
    assert json.dumps(parked.attributes) == json.dumps({"retry.attempt": 2, "retry.reason": "card declined"})

    # Hexadecimal in JSON, bytes in protobuf: taken for base64, these would be other ids.
    (link,) = root.links
    assert (link.trace_id, link.span_id) == ("tr-4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
    assert link.attributes == {"messaging.message.id": "m-1"}


def assert_select(select: Span) -> None:
    assert_attributes(
        select,
        "client",
        {
            "db.system.name": "postgresql",
            "db.query.text": "SELECT * FROM customers WHERE id = $1",
            "db.query.parameter.0": "c-42",
            "db.response.returned_rows": 1,
        },
    )
    assert (select.status.status_code, select.status.description) == (SpanStatusCode.OK, "")
    assert (select.events, select.links) == ([], [])


def exception_of(charge: Span) -> dict[str, Any]:
    """Looks at the span that failed, and returns its exception's attributes without the message."""
    assert_attributes(
        charge,
        "client",
        {
            "http.request.method": "POST",
            "server.address": "payments.example",
            "charge.total": 129.9,
            "http.response.status_code": 402,
        },
    )
    assert (charge.status.status_code, charge.status.description) == (SpanStatusCode.ERROR, "card declined")
    (exception,) = charge.events
    assert exception.name == "exception"
    attributes = dict(exception.attributes)
    assert attributes.pop("exception.message") == "card declined"
    return attributes


def assert_attributes(span: Span, kind: str, expected: dict[str, Any]) -> None:
    """The span has these attributes and what Headrace adds, and no other but MLflow's own. JSON tells 1, 1.0 and true apart."""
    added = {
        "service.name": "order-worker",
        "otel.scope.name": "order-worker",
        "otel.scope.version": "1.0.0",
        "span.kind": kind,
    }
    found = {key: value for key, value in span.attributes.items() if not key.startswith("mlflow.")}
    assert json.dumps(found, sort_keys=True) == json.dumps(expected | added, sort_keys=True)


def assert_the_headers_choose(program: Program, up: Running, protocol: str) -> None:
    """The experiment by its name, percent-encoded as OTEL_*_HEADERS wants it, and the run."""
    client = MlflowClient(up.ui_url)
    name = f"orders of {program.language} {protocol}"
    experiment = client.create_experiment(name)
    run_id = client.create_run(experiment).info.run_id
    encoded = name.replace(" ", "%20").replace("/", "%2F")
    trace = trace_of(up, run(program, up, protocol, f"x-mlflow-experiment-name={encoded},x-mlflow-run-id={run_id}"))
    assert trace.info.experiment_id == experiment
    (found,) = client.search_traces(locations=[experiment], run_id=run_id)
    assert found.info.trace_id == trace.info.trace_id
