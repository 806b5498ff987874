"""Makes an environment ready for an image: `python finish.py /opt/venv`, run by its own Python at the end of its build.

It drops what nothing at run time reads, compiles what Headrace imports, and gives each file the time of SOURCE_DATE_EPOCH. The
same lock files and the same code then make the same files, whenever and wherever they are built.
"""

import ast
import importlib
import os
import py_compile
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

SOURCES = (".pyi", ".pyx", ".pxd", ".c", ".h")
"""For type checkers and for compilers of C."""


def drop(packages: Path) -> None:
    """Deletes sources for other compilers, and what was compiled so far: files of that kind carry the time of their build."""
    for path in list(packages.rglob("*")):
        if path.suffix in (*SOURCES, ".pyc") and path.is_file():
            path.unlink()


def strip(packages: Path) -> None:
    """Removes the symbols for debuggers from compiled modules. Those that bring libraries along stay as they are: their wheels
    were patched after they had been linked, and `strip` may break such a file."""
    patched = {path.name.removesuffix(".libs") for path in packages.glob("*.libs")}
    for path in sorted(packages.rglob("*.so")):
        top = path.relative_to(packages).parts[0]
        if top not in patched and not top.endswith(".libs"):
            subprocess.run(["strip", "--strip-unneeded", path], check=True)  # noqa: S603, S607 - binutils'


def names(source: Path) -> Iterator[tuple[str, str]]:
    """Each import of a file, also those within functions: (module, what it takes from there)."""
    for node in ast.walk(ast.parse(source.read_bytes())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)


def load(name: str, attribute: str = "") -> None:
    """Imports a module, and a module in it if the attribute is one. An extra that is not installed is left out."""
    try:
        module = importlib.import_module(name)
        if attribute and not hasattr(module, attribute):
            importlib.import_module(f"{name}.{attribute}")
    except ImportError:
        pass


# What is found by its name in a text, not by an import statement.
BY_NAME = (
    "sqlalchemy.dialects.postgresql.psycopg",
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.http.httptools_impl",
)


def import_all(package: Path) -> None:
    """Imports every module of Headrace, and all that they import anywhere."""
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        if parts[-1] == "__main__" or "versions" in parts or parts[1] == "migrations":
            continue
        load(".".join(part for part in parts if part != "__init__"))
        for module, attribute in names(path):
            load(module, attribute)
    for name in BY_NAME:
        importlib.import_module(name)


def compile_imported(packages: Path) -> int:
    """Compiles the modules that are imported by now; returns how many. Python looks at their sources no more."""
    files = {Path(path) for module in list(sys.modules.values()) if (path := getattr(module, "__file__", None))}
    ours = sorted(path for path in files if path.suffix == ".py" and path.is_relative_to(packages))
    for path in ours:
        py_compile.compile(str(path), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    return len(ours)


def set_times(root: Path, moment: int) -> None:
    """Gives every file and folder below this one the same time, in seconds since 1970."""
    for path in [root, *root.rglob("*")]:
        os.utime(path, (moment, moment), follow_symlinks=False)


def main() -> None:
    """See the top."""
    sys.dont_write_bytecode = True
    warnings.simplefilter("ignore")
    (packages,) = Path(sys.argv[1]).glob("lib/python3.*/site-packages")
    strip(packages)
    import_all(packages / "headrace")
    drop(packages)
    print(compile_imported(packages), "modules are compiled")
    set_times(Path(sys.argv[1]), int(os.environ["SOURCE_DATE_EPOCH"]))


if __name__ == "__main__":
    main()
