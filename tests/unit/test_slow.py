"""The slow tier: what a test depends on, whether that has changed, and what is said of a test that does not run."""

from types import SimpleNamespace
from typing import Any

import pytest
from slow import (
    LOCK,
    ROOT,
    Checkout,
    Declared,
    WrongDeclaration,
    declarations,
    dependencies,
    digest,
    has_changed,
    read_lock,
    written_lock,
)
from slow_hooks import CHANGED, RECORD, SlowTier

TEST = "tests/world/clients/test_rust.py"
FILES = {
    "app/headrace/otlp/codec.py": b"a",
    "app/headrace/otlp/bounds.py": b"b",
    "app/headrace/parts.py": b"c",
    "app/headrace/cli/up.py": b"d",
    "examples/rust/main.rs": b"e",
    "pyproject.toml": b"f",
    "requirements.lock": b"g",
    "requirements-dev.lock": b"h",
    "tests/conftest.py": b"pytest_plugins = ['skips']",
    "tests/skips.py": b"",
    "tests/world/conftest.py": b"",
    "tests/world/clients/corpus.txt": b"i",
    "tests/faults/__init__.py": b"",
    "tests/faults/load.py": b"import otlp\nfrom headrace.cli import up",
    "tests/faults/unused.py": b"",
    "tests/otlp.py": b"",
    TEST: b"import pytest\nfrom faults.load import send\npytestmark = [pytest.mark.slow('otlp parts', 'examples/rust')]\n",
    "tests/system/test_quick.py": b"def test_quick(): ...",
}
USED = sorted(set(FILES) - {"tests/faults/unused.py", "tests/system/test_quick.py"})


def declared() -> Declared:
    (found,) = declarations(FILES)
    return found


def with_test(source: str) -> dict[str, bytes]:
    return FILES | {TEST: f"import pytest\n{source}".encode()}


def test_a_file_declares_for_all_its_tests_and_a_function_for_itself() -> None:
    assert declared() == Declared(TEST, ("otlp", "parts", "examples/rust"))
    assert declared().has(f"{TEST}::test_a[x]")
    assert not declared().has("tests/world/clients/test_rust.pyc::test_a")
    both = declarations(
        with_test("pytestmark = pytest.mark.slow('otlp')\n\n@pytest.mark.slow('parts')\ndef test_b(): ...\n\ndef test_c(): ...")
    )
    assert both == [Declared(f"{TEST}::test_b", ("parts",)), Declared(TEST, ("otlp",))]  # the single test comes first
    assert both[0].has(f"{TEST}::test_b[x-y]")
    assert not both[0].has(f"{TEST}::test_bc")


def test_what_is_depended_on_is_what_is_named_imported_beside_it_and_always() -> None:
    assert dependencies(declared(), FILES) == USED


@pytest.mark.parametrize("path", USED)
def test_it_runs_when_anything_that_it_depends_on_has_changed(path: str) -> None:
    lock = {TEST: digest(declared(), FILES)}
    assert not has_changed(declared(), FILES, lock)
    changed = FILES | {path: FILES[path] + b"\n# changed"}
    assert has_changed(declared(), changed, lock)


@pytest.mark.parametrize("path", sorted({*USED} - {TEST, "app/headrace/parts.py", "examples/rust/main.rs"}))
def test_it_runs_when_a_file_is_gone(path: str) -> None:
    left = {each: content for each, content in FILES.items() if each != path}
    assert has_changed(declared(), left, {TEST: digest(declared(), FILES)})


@pytest.mark.parametrize("path", ["app/headrace/otlp/new.py", "tests/world/clients/new.txt", "examples/rust/new/main.rs"])
def test_it_runs_when_a_file_has_come(path: str) -> None:
    assert has_changed(declared(), FILES | {path: b""}, {TEST: digest(declared(), FILES)})


@pytest.mark.parametrize(
    "path", ["tests/faults/unused.py", "tests/system/test_quick.py", "docs/page.md", "app/headrace/cli/new.py"]
)
def test_it_does_not_run_when_only_others_have_changed(path: str) -> None:
    assert not has_changed(declared(), FILES | {path: b"changed"}, {TEST: digest(declared(), FILES)})


def test_it_runs_when_it_declares_something_else() -> None:
    lock = {TEST: digest(declared(), FILES)}
    assert has_changed(Declared(TEST, ("otlp",)), FILES, lock)


def test_it_runs_when_the_lock_has_no_line_of_it_or_is_missing() -> None:
    assert has_changed(declared(), FILES, {})
    assert has_changed(declared(), FILES, read_lock(FILES))


@pytest.mark.parametrize(
    "source",
    [
        "pytestmark = pytest.mark.slow('nosuch')",
        "pytestmark = pytest.mark.slow('otlp examples/nosuch')",
        "pytestmark = pytest.mark.slow()",
        "pytestmark = pytest.mark.slow('')",
        "pytestmark = pytest.mark.slow(*ROOMS)",
        "pytestmark = pytest.mark.slow(names=['otlp'])",
        "class TestA:\n    pytestmark = pytest.mark.slow('otlp')",
        "SLOW = pytest.mark.slow('otlp')",
    ],
)
def test_a_declaration_that_cannot_be_kept_is_an_error(source: str) -> None:
    with pytest.raises(WrongDeclaration, match=TEST):
        declarations(with_test(source))


def test_the_lock_file_is_read_as_it_is_written_and_forgets_what_is_gone() -> None:
    text = written_lock({TEST: "0123", "tests/gone.py": "4567"}, FILES)
    assert read_lock(FILES | {LOCK: text.encode()}) == {TEST: "0123"}


class Item(SimpleNamespace):
    """Of pytest's items what the slow tier uses."""

    def __init__(self, nodeid: str) -> None:
        super().__init__(nodeid=nodeid, user_properties=[])


def tier(how: str, monkeypatch: pytest.MonkeyPatch, **lock: str) -> SlowTier:
    files = FILES | {LOCK: written_lock(lock, FILES).encode()}
    monkeypatch.setattr("slow_hooks.checkout", lambda: files)
    return SlowTier(how)


def items() -> list[Any]:
    return [Item(f"{TEST}::test_a[1]"), Item(f"{TEST}::test_a[2]"), Item("tests/system/test_quick.py::test_quick")]


def test_what_has_changed_runs_and_what_has_not_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = tier(CHANGED, monkeypatch)
    assert changed.choose(given := items()) == (given, [])
    assert f"  runs: {TEST}" in changed.pytest_report_header()
    unchanged = tier(CHANGED, monkeypatch, **{TEST: digest(declared(), FILES)})
    assert unchanged.choose(given := items()) == (given[2:], given[:2])
    assert "0 of 1 have changed" in unchanged.pytest_report_header()[0]
    assert f"  does not run: {TEST}" in unchanged.pytest_report_header()
    said: list[str] = []
    unchanged.pytest_terminal_summary(SimpleNamespace(section=said.append, write_line=said.append))  # type: ignore[arg-type]
    assert said == [
        "slow tier: NOT run, and not counted as passed",
        f"{TEST}: nothing that it depends on (otlp, parts, examples/rust, …) has changed since its last pass",
    ]


def test_to_record_is_to_run_the_slow_ones_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tier(RECORD, monkeypatch, **{TEST: digest(declared(), FILES)}).choose(given := items()) == (given[:2], given[2:])


@pytest.mark.parametrize(
    ("outcomes", "is_noted"),
    [
        ([("call", "passed"), ("call", "passed")], True),
        ([("call", "passed")], False),  # the run ended early
        ([("call", "passed"), ("call", "failed")], False),
        ([("call", "passed"), ("setup", "skipped")], False),
        ([("call", "passed"), ("call", "passed"), ("teardown", "failed")], False),
    ],
)
def test_only_what_has_passed_as_a_whole_is_noted(
    outcomes: list[tuple[str, str]], is_noted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = tier(RECORD, monkeypatch)
    (first, *_), _ = recording.choose(items())
    for when, outcome in outcomes:
        recording.pytest_runtest_logreport(
            SimpleNamespace(  # type: ignore[arg-type]
                user_properties=first.user_properties, when=when, passed=outcome == "passed", outcome=outcome
            )
        )
    assert recording.passed() == ({TEST: digest(declared(), FILES)} if is_noted else {})


def test_what_was_changed_while_it_ran_is_not_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    recording = tier(RECORD, monkeypatch)
    (first, *_), _ = recording.choose(items())
    for _ in range(2):
        recording.pytest_runtest_logreport(
            SimpleNamespace(user_properties=first.user_properties, when="call", passed=True)  # type: ignore[arg-type]
        )
    assert recording.passed()
    monkeypatch.setattr("slow_hooks.checkout", lambda: FILES | {"examples/rust/main.rs": b"changed"})
    assert not recording.passed()


def test_the_declarations_of_this_repository_can_be_kept() -> None:
    folders = ("app", "tests", "examples", "migrations", "deploy", "bench", ".ci", "docs")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*") if "node_modules" not in path.parts]
    found = declarations(Checkout(str(path.relative_to(ROOT)) for path in [*paths, *ROOT.glob("*")]))
    assert len(found) > 5
    assert all((ROOT / each.file).exists() for each in found)
