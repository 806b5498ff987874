"""The slow tier: tests that take so long that they need not run on a change of what they do not depend on.

A test, or a file of tests, says what it depends on:

    pytestmark = pytest.mark.slow("otlp receiver examples/rust")

Each name, of several with blanks between them, is a room of app/headrace, or else a file or a folder of this repository. What
the test imports, and what every test depends on (`ALWAYS`), need not be named. `tests/slow.lock` has a digest of all that for
each of them, as it was when the test last passed. Where the digest is another one today, or is missing, the test has to run.
tests/slow_hooks.py tells pytest. docs/adr/0022 says why.
"""

import ast
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[1]
LOCK = "tests/slow.lock"
ROOMS = "app/headrace"
ALWAYS = ("pyproject.toml", "requirements.lock", "requirements-up.lock", "requirements-dev.lock", ".ci/run", "tests/slow.py")
"""What every slow test depends on, beside its own file, each conftest.py above it, and what these import."""

Files = Mapping[str, bytes]
"""The repository: path → content."""


class WrongDeclaration(ValueError):
    """A test declares what does not exist, or what cannot be read without running it."""


@dataclass(frozen=True)
class Declared:
    """What one test, or all tests of one file, depend on. `tests`: `tests/a.py`, or `tests/a.py::test_b`."""

    tests: str
    names: tuple[str, ...]

    @property
    def file(self) -> str:
        """The file of the tests."""
        return self.tests.partition("::")[0]

    def has(self, test: str) -> bool:
        """Whether the test with this id of pytest's is one of these."""
        return test.startswith(f"{self.tests}::") if self.tests == self.file else test.partition("[")[0] == self.tests


class Checkout(Mapping[str, bytes]):
    """Files of this repository as they are now. Each is read when it is asked for."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = dict.fromkeys(sorted(path for path in set(paths) if (ROOT / path).is_file()))

    def __getitem__(self, path: str) -> bytes:
        if path not in self._paths:
            raise KeyError(path)
        return (ROOT / path).read_bytes()

    def __contains__(self, path: object) -> bool:
        return path in self._paths

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


def checkout() -> Checkout:
    """The files that git knows, or would add.

    Raises:
        OSError: there is no git.
        CalledProcessError: this is no clone, or another user's.
    """
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    return Checkout(subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0"))


def declarations(files: Files) -> list[Declared]:
    """What each slow test declares, single tests before files. No test is imported.

    Raises:
        WrongDeclaration: a name is neither a room nor a path, or no literal text; or the mark stands elsewhere.
    """
    found: list[Declared] = []
    for path in files:
        if path.startswith("tests/") and PurePosixPath(path).match("test_*.py") and b"mark.slow(" in files[path]:
            found += _declared_in(path, ast.parse(files[path]))
    for each in found:
        for name in each.names:
            paths_of(name, files, each.tests)
    return sorted(found, key=lambda each: ("::" not in each.tests, each.tests))


def _declared_in(path: str, module: ast.Module) -> Iterator[Declared]:
    for node in module.body:
        tests = f"{path}::{node.name}" if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else path
        for call in ast.walk(node):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.slow":
                texts = [each.value for each in call.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
                names = tuple(name for text in texts for name in text.split())
                if not names or len(texts) != len(call.args) or call.keywords:
                    raise WrongDeclaration(f"{tests}: pytest.mark.slow takes texts with names, and nothing else")
                if tests == path and ast.unparse(node).partition(" = ")[0] != "pytestmark":
                    raise WrongDeclaration(f"{path}: pytest.mark.slow marks a function, or stands in `pytestmark = …`")
                yield Declared(tests, names)


def paths_of(name: str, files: Files, declared_by: str) -> list[str]:
    """The files of a room, or of a path.

    Raises:
        WrongDeclaration: there are none.
    """
    for root in (f"{ROOMS}/{name}", name):
        if paths := [path for path in files if path in (root, f"{root}.py") or path.startswith(f"{root}/")]:
            return paths
    raise WrongDeclaration(f"{declared_by} depends on {name!r}, which is neither a room of {ROOMS} nor a path")


def dependencies(declared: Declared, files: Files) -> list[str]:
    """All files that these tests depend on, sorted."""
    own = {declared.file, *(f"{folder}/conftest.py" for folder in PurePosixPath(declared.file).parents)} & set(files)
    helpers = _imported(own, files)
    folders = {str(PurePosixPath(path).parent) for path in own | helpers if path.startswith("tests/")} - {"tests"}
    data = {path for path in files if not path.endswith(".py") and any(path.startswith(f"{each}/") for each in folders)}
    named = {path for name in declared.names for path in paths_of(name, files, declared.tests)}
    return sorted(own | helpers | data | named | {path for path in ALWAYS if path in files})


def _imported(paths: set[str], files: Files) -> set[str]:
    """The modules of this repository that these import. What helpers of tests import counts too; what Headrace's own modules
    import does not, for that is what rooms are named for."""
    found: set[str] = set()
    waiting = list(paths)
    while waiting:
        for path in _imports(files[waiting.pop()]):
            if path in files and path not in found:
                found.add(path)
                if not path.startswith("app/"):
                    waiting.append(path)
    return found


def _imports(source: bytes) -> Iterator[str]:
    """Where the modules that a module imports would be. Each package above them is imported, too."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytest_plugins":
            names = list(ast.literal_eval(node.value))
        for name in names:
            parts = name.split(".")
            for root in ("tests/", "app/", ""):
                for length in range(1, len(parts) + 1):
                    module = root + "/".join(parts[:length])
                    yield from (f"{module}.py", f"{module}/__init__.py")


def digest(declared: Declared, files: Files) -> str:
    """Of all that these tests depend on, the declaration, and the Python that runs them."""
    made_of = hashlib.sha256(repr((declared, sys.platform, os.uname().machine, sys.version_info[:2])).encode())
    for path in dependencies(declared, files):
        made_of.update(f"\0{path}\0".encode() + hashlib.sha256(files[path]).digest())
    return made_of.hexdigest()[:32]


def has_changed(declared: Declared, files: Files, lock: Mapping[str, str]) -> bool:
    """Whether these tests have to run."""
    return lock.get(declared.tests) != digest(declared, files)


def read_lock(files: Files) -> dict[str, str]:
    """Tests → their digest at their last pass. Empty if there is no such file."""
    lines = files[LOCK].decode().splitlines() if LOCK in files else []
    return dict(line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))


def written_lock(digests: Mapping[str, str], files: Files) -> str:
    """The text of the lock file. Lines of tests that are no longer there, or no longer slow, go."""
    known = {declared.tests for declared in declarations(files)}
    lines = [f"{tests} {digests[tests]}" for tests in sorted(known & set(digests))]
    return "\n".join(
        ["# Written by `make slow`: slow tests, and a digest of what they depend on, at their last pass.", *lines, ""]
    )
