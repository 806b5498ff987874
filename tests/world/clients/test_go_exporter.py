"""examples/go, built and run as a user does, with OpenTelemetry Go's exporters: protobuf over HTTP, and gRPC."""

import json

import pytest
from conftest import Running
from order_worker import Program, assert_one_complete_trace, assert_the_headers_choose, build_go, run, trace_of

pytestmark = [
    pytest.mark.timeout(900),  # the modules, on a slow network
    pytest.mark.slow(
        "errors otlp receiver processor pipeline mlflow/experiments mlflow/translate mlflow/fold mlflow/write mlflow/logs "
        "examples/go"
    ),
]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The built example."""
    return Program("go", [str(build_go(tmp_path_factory.mktemp("go")))])


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_the_example_is_one_complete_trace(program: Program, up: Running, protocol: str, compression: str) -> None:
    exception = assert_one_complete_trace(program, up, protocol, compression)
    assert exception.pop("exception.type") == "*errors.errorString"
    assert "main.charge(" in exception.pop("exception.stacktrace")
    assert exception == {}


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_headers_choose_the_experiment_by_name_and_the_run(program: Program, up: Running, protocol: str) -> None:
    assert_the_headers_choose(program, up, protocol)


@pytest.mark.parametrize(("protocol", "code"), [("http/protobuf", "400 Bad Request"), ("grpc", "InvalidArgument")])
def test_a_refusal_ends_the_program_with_the_reason(program: Program, up: Running, protocol: str, code: str) -> None:
    done = run(program, up, protocol, "x-mlflow-experiment-id=4711")
    assert done.returncode == 1
    assert code in done.stderr
    assert "MLflow has no experiment with id 4711" in done.stderr


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_what_slog_logs_becomes_events_of_its_spans(program: Program, up: Running, protocol: str) -> None:
    """By OpenTelemetry's bridge for log/slog. The spans come first here: the records are exported when the program ends."""
    endpoint = up.grpc_url if protocol == "grpc" else f"{up.url}/v1/logs"
    settings = {"OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": protocol, "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": endpoint}
    headers = "x-mlflow-experiment-id=0"
    logs = {"OTEL_LOGS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_LOGS_HEADERS": headers, **settings}
    done = run(program, up, protocol, headers, **logs)
    spans = {span.name: span for span in trace_of(up, done).data.spans}
    root, charge = spans["process order.created"], spans["POST /v1/charges"]
    assert sorted(event.name for event in root.events) == ["ERROR", "INFO", "order parked"]
    (received,) = [event for event in root.events if event.name == "INFO"]
    assert received.attributes == {
        "log.body": "order received",
        "log.severity_text": "INFO",
        "log.severity_number": 9,
        "order.id": 4711,
        "items": 2,
    }
    (parked,) = [event for event in root.events if event.name == "ERROR"]
    assert (parked.attributes["log.body"], parked.attributes["reason"]) == ("order is parked", "card declined")
    (declines,) = [event for event in charge.events if event.name == "WARN"]
    assert root.start_time_ns < received.timestamp < declines.timestamp < parked.timestamp < (root.end_time_ns or 0)
    assert json.loads(json.dumps(declines.attributes))["provider"] == {"name": "payments.example", "status": 402}
    assert [event.name for event in charge.events if event.name != "WARN"] == ["exception"]
