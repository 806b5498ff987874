"""The code of app/headrace, read and parsed once a run for all tests that look at it."""

import ast
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "app" / "headrace"


@cache
def trees() -> dict[Path, ast.Module]:
    """Each module that is not generated, by its path."""
    paths = sorted(path for path in PACKAGE.rglob("*.py") if not path.name.endswith("_pb2.py"))
    return {path: ast.parse(path.read_text()) for path in paths}


@cache
def walked(tree: ast.Module) -> tuple[ast.AST, ...]:
    """All nodes of a module."""
    return tuple(ast.walk(tree))


def nodes(path: Path) -> tuple[ast.AST, ...]:
    """All nodes of a module of `trees()`."""
    return walked(trees()[path])
