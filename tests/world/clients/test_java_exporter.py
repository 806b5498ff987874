"""examples/java, built and run as a user does, with OpenTelemetry Java's exporters: protobuf over HTTP, and gRPC."""

import re
import shutil
import subprocess
from xml.etree import ElementTree

import pytest
from conftest import Running
from order_worker import EXAMPLES, Program, assert_one_complete_trace, assert_the_headers_choose, build, run

pytestmark = [
    pytest.mark.timeout(900),  # Maven's plugins and the jars, on a slow network
    pytest.mark.slow("errors otlp receiver processor pipeline mlflow/experiments mlflow/translate mlflow/fold examples/java"),
]

EXAMPLE = EXAMPLES / "java"
POM = {"pom": "http://maven.apache.org/POM/4.0.0"}


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The built example."""
    for tool in ("javac", "mvn"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    done = subprocess.run(["javac", "-version"], capture_output=True, text=True, timeout=60, check=False)
    version = re.search(r"javac (\d+)", done.stdout + done.stderr)
    wanted = ElementTree.parse(EXAMPLE / "pom.xml").findtext("pom:properties/pom:maven.compiler.release", "", POM)
    if version is None or int(version[1]) < int(wanted):
        pytest.skip(f"examples/java needs JDK {wanted}: {(done.stdout + done.stderr).strip()}")
    directory = tmp_path_factory.mktemp("java") / "example"
    shutil.copytree(EXAMPLE, directory, ignore=shutil.ignore_patterns("target"))
    build(["mvn", "--quiet", "--batch-mode", "compile"], directory)
    return Program("java", ["java", "-cp", f"{directory}/target/classes:{directory}/target/lib/*", "OrderWorker"])


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_the_example_is_one_complete_trace(program: Program, up: Running, protocol: str, compression: str) -> None:
    exception = assert_one_complete_trace(program, up, protocol, compression)
    assert exception.pop("exception.type") == "java.lang.IllegalStateException"
    assert "at OrderWorker.charge(OrderWorker.java:" in exception.pop("exception.stacktrace")
    assert exception == {}


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_headers_choose_the_experiment_by_name_and_the_run(program: Program, up: Running, protocol: str) -> None:
    assert_the_headers_choose(program, up, protocol)


@pytest.mark.parametrize(("protocol", "code"), [("http/protobuf", "HTTP status code 400"), ("grpc", "gRPC status code 3")])
def test_a_refusal_ends_the_program_with_the_reason(program: Program, up: Running, protocol: str, code: str) -> None:
    done = run(program, up, protocol, "x-mlflow-experiment-id=4711")
    assert done.returncode == 1
    assert code in done.stderr
    assert "MLflow has no experiment with id 4711" in done.stderr


def test_the_pom_pins_every_version_and_names_no_repository() -> None:
    pom = ElementTree.parse(EXAMPLE / "pom.xml")
    for kind in ("dependency", "plugin"):
        versions = [element.findtext("pom:version", "", POM) for element in pom.iterfind(f".//pom:{kind}", POM)]
        assert versions
        assert all(re.fullmatch(r"[\d.]+|\$\{[\w.]+\.version\}", version) for version in versions)
    assert pom.find(".//pom:repository", POM) is None
    assert pom.find(".//pom:pluginRepository", POM) is None
