"""examples/go, built and run as a user does, with OpenTelemetry Go's exporters: protobuf over HTTP, and gRPC."""

import pytest
from conftest import Running
from order_worker import Program, assert_one_complete_trace, assert_the_headers_choose, build_go, run

pytestmark = [
    pytest.mark.timeout(900),  # the modules, on a slow network
    pytest.mark.slow("errors otlp receiver processor pipeline mlflow/experiments mlflow/translate mlflow/fold examples/go"),
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
