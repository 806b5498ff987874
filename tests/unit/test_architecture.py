"""The house of docs/architecture.md, held: imports point down; one room knows MLflow's tables; no module is long."""

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache

import pytest
import structure
from sources import PACKAGE, trees, walked

ROOMS = (
    ("rejected",),
    ("errors",),
    ("config", "telemetry"),
    ("parts",),
    ("otlp",),
    ("tracing", "envelope"),
    ("queue", "store", "processor"),
    ("mlflow",),
    ("pipeline", "export", "reader"),
    ("analysis",),
    ("receiver",),
    ("console",),
    ("host", "local"),
    ("doctor",),
    ("cli",),
    ("__main__",),
)
"""From the ground up. A room may use those below it."""
IN_MLFLOW = (
    ("json_text", "prices"),
    ("keys", "libraries", "runtime", "text", "installed"),
    ("shape",),
    ("tables",),
    ("reserved",),
    ("logs",),
    ("model",),
    ("experiments", "translate"),
    ("fold", "runs"),
    ("write",),
    ("metrics",),
    ("fallback", "loading"),
    ("schema", "rights"),
)
"""The same inside `mlflow/`."""
NEIGHBOURS = {
    ("telemetry", "config"),  # never the other way round
    ("mlflow", "mlflow"),
}
KNOW_MLFLOW = {"mlflow", "local"}
TABLES = (
    *("experiments", "runs", "tags", "trace_info", "spans", "trace_tags", "trace_request_metadata", "assessments"),
    *("metrics", "latest_metrics"),
    *("entity_associations", "alembic_version", "trace_metrics", "span_metrics", "dimension_attributes", "workspaces"),
)
LONGEST = 250
"""Lines of a module, at the most."""
ON_THEIR_TABLES = re.compile(rf"\b(FROM|JOIN|INTO|UPDATE|COPY|TABLE|to_regclass\(')\s*({'|'.join(TABLES)})\b")


def level(rooms: tuple[tuple[str, ...], ...], name: str) -> int:
    return next(number for number, names in enumerate(rooms) if name in names)


@cache
def modules() -> list[tuple[str, ast.Module]]:
    """Each module's name below the package, `mlflow.model`, and its code."""
    named = [(path.relative_to(PACKAGE).with_suffix("").parts, tree) for path, tree in trees().items()]
    return [(".".join(parts if parts[-1] != "__init__" else parts[:-1]), tree) for parts, tree in named]


@cache
def imports(tree: ast.Module) -> list[str]:
    return list(_imports(tree))


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in walked(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{'.' * node.level}{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{alias.name}" for alias in node.names)


def breaches(name: str, tree: ast.Module) -> list[str]:
    """What this module does that the house forbids."""
    return [*_upward(name, tree), *_mlflow(name, tree), *_sql(name, tree), *_length(name, tree)]


def _upward(name: str, tree: ast.Module) -> Iterator[str]:
    room, *inside = name.split(".")
    for target in imports(tree):
        if target.startswith("."):
            yield f"{name} imports {target}: write the whole name, which says the room"
        ours, *parts = target.split(".")
        if ours != "headrace" or not room or parts[0] not in ALL_ROOMS:
            continue
        if parts[0] != room and level(ROOMS, parts[0]) >= level(ROOMS, room) and (room, parts[0]) not in NEIGHBOURS:
            yield f"{name} imports {target}, which is not below it"
        if parts[0] == room == "mlflow" and inside and len(parts) > 1 and {inside[0], parts[1]} <= ALL_IN_MLFLOW:
            one, other = level(IN_MLFLOW, inside[0]), level(IN_MLFLOW, parts[1])
            if inside[0] != parts[1] and other >= one:
                yield f"{name} imports {target}, which is not below it"


def _mlflow(name: str, tree: ast.Module) -> Iterator[str]:
    if name.split(".", maxsplit=1)[0] not in KNOW_MLFLOW:
        yield from (f"{name} imports {target}" for target in imports(tree) if target.split(".")[0] == "mlflow")


def _sql(name: str, tree: ast.Module) -> Iterator[str]:
    if name.split(".", maxsplit=1)[0] in {"mlflow", "reader"}:
        return
    for node in walked(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and ON_THEIR_TABLES.search(node.value):
            yield f"{name} has SQL on MLflow's tables: {node.value[:60]!r}"


def _length(name: str, tree: ast.Module) -> Iterator[str]:
    lines = tree.body[-1].end_lineno if tree.body else 0
    if lines and lines > LONGEST:
        yield f"{name} has {lines} lines: split it along what it is about"


ALL_ROOMS = {name for names in ROOMS for name in names}
ALL_IN_MLFLOW = {name for names in IN_MLFLOW for name in names}


def without_room(names: Iterable[str]) -> set[str]:
    """The modules that stand in no room of the lists above, at the top or inside `mlflow/`."""
    parts = {name: name.split(".") for name in names if name}
    inside = {name for name, (room, *rest) in parts.items() if room == "mlflow" and rest and rest[0] not in ALL_IN_MLFLOW}
    return inside | {name for name, (room, *_) in parts.items() if room not in ALL_ROOMS}


def test_every_module_has_its_room_and_every_room_a_module() -> None:
    names = [name for name, _ in modules()]
    assert not without_room(names)
    assert {name.split(".")[0] for name in names} - {""} == ALL_ROOMS
    assert {name.split(".")[1] for name in names if name.startswith("mlflow.")} == ALL_IN_MLFLOW


@pytest.mark.parametrize("name", ["attic", "attic.chest", "mlflow.attic", "mlflow.attic.chest"])
def test_a_module_without_a_room_is_found(name: str) -> None:
    assert without_room(["", "cli.main", "mlflow", "mlflow.keys", name]) == {name}


def test_the_house_is_kept() -> None:
    assert not [breach for name, tree in modules() for breach in breaches(name, tree)]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("processor.route", "from headrace.mlflow.experiments import Experiments"),
        ("otlp.codec", "import headrace.receiver.http"),
        ("otlp.codec", "from ..receiver import http"),
        ("otlp.codec", "from .. import receiver"),
        ("receiver.http", "from headrace.host import build"),
        ("config", "from headrace.telemetry.logging import log"),
        ("queue.disk.file", "from headrace.store.database import Database"),
        ("mlflow.translate.spans", "from headrace.mlflow.write.bulk import BulkWriter"),
        ("mlflow.fold.policy", "def later():\n    from headrace.mlflow.schema import check"),
        ("export.worker", "from mlflow.entities import Span"),
        ("store.dead_letters", "import mlflow"),
        ("store.dead_letters", "QUERY = 'SELECT 1 FROM trace_info'"),
        ("analysis.path", "QUERY = 'SELECT 1 FROM spans'"),
        ("reader.postgres", "import mlflow"),
        ("otlp.codec", "\n" * LONGEST + "LAST = 1"),
        ("receiver.health", "def ask():\n    return text('UPDATE experiments SET name = :name')"),
    ],
)
def test_a_breach_is_found(name: str, code: str) -> None:
    assert breaches(name, ast.parse(code))


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("receiver.http", "from headrace.otlp.codec import decode"),
        ("mlflow.write.bulk", "from headrace.mlflow.model import Trace\nimport mlflow\nQUERY = 'SELECT 1 FROM spans'"),
        ("local.postgres", "import mlflow"),
        ("otlp.codec", "\n" * (LONGEST - 1) + "LAST = 1"),
        ("reader.statements", "QUERY = 'SELECT 1 FROM spans'"),
        ("store.dead_letters", "QUERY = 'SELECT 1 FROM headrace.dead_letter'"),
    ],
)
def test_what_is_allowed_is_no_breach(name: str, code: str) -> None:
    assert not breaches(name, ast.parse(code))


def test_the_figures_are_those_of_the_house() -> None:
    uses = structure.arrows()
    assert uses.keys() == ALL_ROOMS - {"__main__"}
    assert not uses["rejected"]
    assert {"rejected"} <= uses["errors"] <= {"rejected"}
    assert {"errors", "otlp", "pipeline"} <= uses["receiver"]
    assert max(structure.modules().values()) <= LONGEST
    lines = list(structure.report())
    assert lines[0].startswith(f"{len(uses)} rooms, {sum(map(len, uses.values()))} arrows")
