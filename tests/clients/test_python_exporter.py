"""examples/python, run as a user runs it, and read back through MLflow's own client."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Running, wait_until
from mlflow import MlflowClient
from mlflow.entities import SpanStatusCode, Trace, TraceState

EXAMPLE = Path(__file__).parents[2] / "examples" / "python"


def run_example(up: Running, headers: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Runs the program with nothing but the OTEL_* variables that are given here."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    environment |= {
        "OTEL_SERVICE_NAME": "fraud-scorer",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{up.url}/v1/traces",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": headers,
        **settings,
    }
    command = [sys.executable, str(EXAMPLE / "main.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done


def trace_of(up: Running, done: "subprocess.CompletedProcess[str]") -> Trace:
    """The trace whose id the program printed, once Headrace has written it."""
    assert done.stderr == ""  # where the SDK reports a failed export
    wait_until(up.drained, 60, "the queue is not drained")
    trace: Trace = MlflowClient(up.ui_url).get_trace(done.stdout.strip())
    return trace


def assert_has(attributes: dict[str, Any], expected: dict[str, Any]) -> None:
    """The attributes are there with these values and types; JSON tells 1, 1.0 and true apart."""
    assert json.dumps({key: attributes.get(key) for key in expected}) == json.dumps(expected)


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_the_example_is_one_complete_trace(up: Running, compression: str) -> None:
    experiment = MlflowClient(up.ui_url).create_experiment(f"python {compression}")
    done = run_example(up, f"x-mlflow-experiment-id={experiment}", OTEL_EXPORTER_OTLP_COMPRESSION=compression)
    trace = trace_of(up, done)
    assert trace.info.experiment_id == experiment
    assert trace.info.state == TraceState.OK
    assert trace.info.tags["service.name"] == "fraud-scorer"
    assert json.loads(trace.info.request_preview or "")["order"] == 4711
    assert json.loads(trace.info.response_preview or "") == {"score": 0.71, "verdict": "approve"}
    assert trace.info.token_usage == {"input_tokens": 48, "output_tokens": 2, "total_tokens": 50}

    names: dict[str | None, str] = {span.span_id: span.name for span in trace.data.spans}
    assert {span.name: names.get(span.parent_id) for span in trace.data.spans} == {
        "POST /score": None,
        "load features": "POST /score",
        "GET features": "load features",
        "SELECT customer_features": "load features",
        "predict fraud-gbm": "POST /score",
        "chat gpt-4o-mini": "POST /score",
    }


def test_attributes_status_and_events_keep_their_types(up: Running) -> None:
    trace = trace_of(up, run_example(up, "x-mlflow-experiment-id=0"))
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


def test_an_experiment_that_the_header_names_is_created(up: Running) -> None:
    client = MlflowClient(up.ui_url)
    assert client.get_experiment_by_name("shop / fraud") is None
    trace = trace_of(up, run_example(up, "x-mlflow-experiment-name=shop%20/%20fraud"))
    experiment = client.get_experiment_by_name("shop / fraud")
    assert experiment is not None
    assert trace.info.experiment_id == experiment.experiment_id
    (found,) = client.search_traces(locations=[experiment.experiment_id])
    assert found.info.trace_id == trace.info.trace_id
    assert len(found.data.spans) == 6


def test_a_run_that_the_header_names_owns_the_trace(up: Running) -> None:
    client = MlflowClient(up.ui_url)
    experiment = client.create_experiment("python run")
    run, other = (client.create_run(experiment).info.run_id for _ in range(2))
    trace = trace_of(up, run_example(up, f"x-mlflow-experiment-id={experiment},x-mlflow-run-id={run}"))
    (found,) = client.search_traces(locations=[experiment], run_id=run)
    assert found.info.trace_id == trace.info.trace_id
    assert client.search_traces(locations=[experiment], run_id=other) == []


def test_a_refusal_shows_on_the_client(up: Running) -> None:
    done = run_example(up, "x-mlflow-experiment-id=4711")
    assert "Failed to export spans batch code: 400" in done.stderr


def test_the_example_pins_what_is_tested_here() -> None:
    lock = (EXAMPLE.parents[1] / "requirements-dev.lock").read_text()
    for line in (EXAMPLE / "requirements.txt").read_text().split():
        assert f"{line} " in lock
