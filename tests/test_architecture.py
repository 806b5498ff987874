"""Imports point down, as DESIGN's layers say; only exporter/ and local.py know MLflow; help is quick."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "app"

LAYERS = [
    {"errors", "console"},
    {"config", "telemetry"},
    {"parts"},
    {"tracing", "otlp", "descriptors"},
    {"queue", "database"},
    {"processor", "exporter"},
    {"pipeline", "export"},
    {"receiver"},
    {"server", "worker", "finisher", "replay", "local", "demo", "letter_text", "cli_keys", "cli_queue"},
    {"supervisor", "cli_dead_letters"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
SAME_LAYER = {("config", "errors"), ("server", "worker"), ("server", "finisher")}
"""Imports between neighbours that are meant; within one layer no others are allowed."""


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        if not path.name.endswith("_pb2.py"):
            yield path.relative_to(PACKAGE).as_posix().removesuffix(".py").split("/")[0], ast.parse(path.read_text())


def imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def upward(importer: str, imported: str) -> bool:
    return importer != imported and LEVEL[imported] >= LEVEL[importer] and (importer, imported) not in SAME_LAYER


def test_every_module_has_its_layer() -> None:
    assert {name for name, _ in modules()} - {"__init__"} == set(LEVEL)


def test_imports_point_down() -> None:
    wrong = {
        f"{name} imports {target}"
        for name, tree in modules()
        if name != "__init__"
        for target in imports(tree)
        if target.startswith("app.") and (layer := target.split(".")[1]) in LEVEL and upward(name, layer)
    }
    assert not wrong


def test_the_check_finds_an_upward_import() -> None:
    assert upward("receiver", "server")
    assert upward("processor", "exporter")
    assert not upward("exporter", "queue")


def test_only_exporter_and_local_know_mlflow() -> None:
    allowed = {"exporter", "local"}
    wrong = {name for name, tree in modules() for target in imports(tree) if target.split(".")[0] == "mlflow"} - allowed
    assert not wrong


def test_the_receiver_never_imports_the_exporter() -> None:
    assert not [t for name, tree in modules() if name in ("receiver", "pipeline") for t in imports(tree) if "exporter" in t]


@pytest.mark.parametrize("module", ["app.cli", "app.server", "app.worker", "app.receiver.http", "app.exporter.schema"])
def test_mlflow_is_imported_lazily(module: str) -> None:
    code = f"import sys, {module}; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
