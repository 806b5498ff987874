"""examples/rust, built and run as a user does, with opentelemetry-otlp: protobuf and JSON over HTTP (reqwest), and gRPC."""

import re
import shutil
import subprocess

import pytest
from conftest import Running
from order_worker import EXAMPLES, Program, assert_one_complete_trace, assert_the_headers_choose, build, is_at_least, run

pytestmark = [
    pytest.mark.timeout(900),  # 150 crates
    pytest.mark.slow("errors otlp receiver processor pipeline mlflow/experiments mlflow/translate mlflow/fold examples/rust"),
]

EXAMPLE = EXAMPLES / "rust"
PROTOCOLS = ["http/protobuf", "http/json", "grpc"]


@pytest.fixture(scope="session")
def program(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The built example."""
    if shutil.which("cargo") is None:
        pytest.skip("cargo is not installed")
    done = subprocess.run(["rustc", "--version"], capture_output=True, text=True, timeout=60, check=False)
    found = re.match(r"rustc (\d+)\.(\d+)", done.stdout)
    wanted = re.search(r'^rust-version = "(\d+)\.(\d+)"', (EXAMPLE / "Cargo.toml").read_text(), re.MULTILINE)
    assert wanted is not None
    if not is_at_least(found, wanted):
        pytest.skip(f"examples/rust needs Rust {'.'.join(wanted.groups())}: {(done.stdout + done.stderr).strip()}")
    # Kept in .pytest_cache: the next run compiles what changed. Debug information and incremental compilation cost time.
    cache = pytestconfig.cache
    target = cache.mkdir("examples-rust") if cache else tmp_path_factory.mktemp("examples-rust")
    settings = {"CARGO_TARGET_DIR": str(target), "CARGO_PROFILE_DEV_DEBUG": "0", "CARGO_INCREMENTAL": "0"}
    build(["cargo", "build", "--quiet"], EXAMPLE, **settings)
    return Program("rust", [f"{target}/debug/order-worker"])


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_example_is_one_complete_trace(program: Program, up: Running, protocol: str, compression: str) -> None:
    assert assert_one_complete_trace(program, up, protocol, compression) == {}  # its SDK records the message only


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_headers_choose_the_experiment_by_name_and_the_run(program: Program, up: Running, protocol: str) -> None:
    assert_the_headers_choose(program, up, protocol)


@pytest.mark.parametrize(
    ("protocol", "code"),
    [("http/protobuf", "status code: 400"), ("http/json", "status code: 400"), ("grpc", "InvalidArgument")],
)
def test_a_refusal_ends_the_program_with_the_reason(program: Program, up: Running, protocol: str, code: str) -> None:
    done = run(program, up, protocol, "x-mlflow-experiment-id=4711", RUST_LOG="opentelemetry=debug")
    assert done.returncode == 1
    assert "the spans were not exported" in done.stderr
    assert code in done.stderr
    assert "MLflow has no experiment with id 4711" in done.stderr
