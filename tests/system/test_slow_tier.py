"""The slow tier as it is used: a pytest of its own, in a clone of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A little repository with two rooms, one slow test and one quick one."""
    for path, text in {
        "pyproject.toml": "[tool.pytest.ini_options]\npythonpath = ['tests']\n",
        "app/headrace/otlp.py": "",
        "app/headrace/cli.py": "",
        "tests/conftest.py": "pytest_plugins = ['slow_hooks']\n",
        "tests/test_slow.py": "import pytest\npytestmark = pytest.mark.slow('otlp')\ndef test_a(): ...\ndef test_b(): ...\n",
        "tests/test_quick.py": "def test_c(): ...\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    for name in ("slow.py", "slow_hooks.py"):
        shutil.copy(TESTS / name, tmp_path / "tests")
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    return tmp_path


SEVERAL = ("-p", "xdist.plugin", "-n", "2")
"""As `make test` has it."""


def run(clone: Path, *options: str) -> str:
    """What pytest says."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTEST_ADDOPTS")}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # some of the others take seconds to import
    command = [sys.executable, "-m", "pytest", *options]
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, timeout=120, check=False)
    return done.stdout + done.stderr


def test_what_has_passed_is_noted_and_runs_again_when_its_room_changes(clone: Path) -> None:
    assert "3 passed" in run(clone, "--slow=changed")  # nothing is noted yet
    said = run(clone, "--slow=record", *SEVERAL)
    assert "2 passed" in said
    assert "noted: tests/test_slow.py" in said

    said = run(clone, "--slow=changed", *SEVERAL)
    assert "1 passed" in said
    assert "does not run: tests/test_slow.py" in said
    assert "slow tier: NOT run, and not counted as passed" in said
    (clone / "app/headrace/cli.py").write_text("changed = True")
    assert "1 passed" in run(clone, "--slow=changed")
    (clone / "app/headrace/otlp.py").write_text("changed = True")
    said = run(clone, "--slow=changed")
    assert "3 passed" in said
    assert "runs: tests/test_slow.py" in said


def test_what_has_failed_is_not_noted_and_a_part_of_a_file_cannot_be(clone: Path) -> None:
    assert "takes whole files" in run(clone, "--slow=record", "-k", "test_a")
    assert "takes whole files" in run(clone, "--slow=record", "tests/test_slow.py::test_a")
    test = clone / "tests" / "test_slow.py"
    test.write_text(test.read_text() + "def test_d():\n    assert False\n")
    assert "NOT noted: tests/test_slow.py" in run(clone, "--slow=record")
    assert "1 failed, 3 passed" in run(clone, "--slow=changed")


def test_an_unknown_room_ends_the_run_and_without_git_all_tests_run(clone: Path) -> None:
    test = clone / "tests" / "test_slow.py"
    right = test.read_text()
    test.write_text(right.replace("'otlp'", "'nosuch'"))
    said = run(clone, "--slow=changed")
    assert "depends on 'nosuch', which is neither a room of app/headrace nor a path" in said
    assert "passed" not in said
    test.write_text(right)
    shutil.rmtree(clone / ".git")
    said = run(clone, "--slow=changed")
    assert "slow tier: all of it runs" in said
    assert "3 passed" in said
