"""What Headrace imports is installed with it. On a developer's machine everything is there, so that nobody notices otherwise;
tests/system/test_deployment.py, which installs the lock file alone, takes minutes."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sources import nodes, trees

ROOT = Path(__file__).parents[2]
NAMED_OTHERWISE = {
    "backports.zstd": "backports-zstd",
    "google.protobuf": "protobuf",
    "google.rpc": "googleapis-common-protos",
    "mlflow": "mlflow-skinny",
    "opentelemetry.exporter.otlp.proto.http": "opentelemetry-exporter-otlp-proto-http",
    "opentelemetry.proto": "opentelemetry-proto",
    "opentelemetry.sdk": "opentelemetry-sdk",
    "opentelemetry": "opentelemetry-api",
    "psycopg_pool": "psycopg-pool",
    "pydantic_core": "pydantic-core",
    "yaml": "pyyaml",
}
"""A package that is imported → the distribution that has it. Of several that fit, the longest counts."""

SHARED = ("backports", "google", "opentelemetry")
"""Packages of which each distribution has a part."""


def imported(module: Path) -> Iterator[str]:
    for node in nodes(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield f"{node.module}.{node.names[0].name}" if node.module in SHARED else node.module


def distribution(name: str) -> str:
    fitting = [each for each in NAMED_OTHERWISE if f"{name}.".startswith(f"{each}.")]
    return NAMED_OTHERWISE[max(fitting, key=len)] if fitting else name.partition(".")[0].replace("_", "-")


def locked(name: str) -> set[str]:
    """The distributions of a lock file."""
    return set(re.findall(r"^([a-z0-9-]+)==", (ROOT / name).read_text(), re.MULTILINE))


def missing(names: set[str], lock: str = "requirements.lock") -> set[str]:
    locked_here = locked(lock)
    there = {"headrace", "compression", *sys.stdlib_module_names}  # Python 3.14 has a package `compression`
    others = {name for name in names if name.partition(".")[0] not in there}
    return {name for name in others if distribution(name) not in locked_here}


def test_everything_that_is_imported_is_in_the_lock_file() -> None:
    names = {module: set(imported(module)) for module in trees()}
    local = {name for module in names if "local" in module.parts for name in names[module]}
    kafka = {name for module in names if module.parent.name == "kafka" for name in names[module]}
    core = {name for module in names if "local" not in module.parts and module.parent.name != "kafka" for name in names[module]}
    assert len(core) > 100
    assert not missing(core)
    assert not missing(local, "requirements-up.lock")  # what `up` brings along is installed with `headrace[up]`
    # confluent_kafka is imported inside functions, and comes with `headrace[kafka]`
    assert {name.partition(".")[0] for name in missing(kafka)} == {"confluent_kafka"}


@pytest.mark.parametrize("name", ["httpx", "pytest", "hypothesis.strategies", "yaml_of_nobody", "grpc"])
def test_what_only_the_tests_have_is_found(name: str) -> None:
    assert missing({name}) == {name}
