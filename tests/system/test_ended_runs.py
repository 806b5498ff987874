"""A run of pytest that is ended leaves nothing behind, and one that skips in CI fails."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from conftest import wait_until

ROOT = Path(__file__).parents[2]
SLEEPS = """
import os, time
from pathlib import Path

def test_sleeps(headrace, database_url):
    headrace(database_url=database_url)
    Path(__file__).with_name("ready").touch()
    time.sleep(600)
"""
SKIPS = """
import pytest

def test_skips():
    pytest.skip("no such tool")

@pytest.mark.xfail(reason="known")
def test_is_expected_to_fail():
    assert False
"""


def start(directory: Path, code: str, run: str, *options: str, **environment: str) -> "subprocess.Popen[bytes]":
    """pytest on a file with this code and the fixtures of tests/conftest.py; its processes carry TEST_RUN=`run`."""
    (file := directory / "test_it.py").write_text(code)
    settings = {"PYTHONPATH": os.pathsep.join(map(str, (ROOT / "app", ROOT / "tests"))), "TEST_RUN": run, **environment}
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    command += [f"--basetemp={directory / 'base'}", *options, str(file)]
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    with (directory / "said").open("w") as said:
        return subprocess.Popen(command, env=inherited | settings, cwd=directory, stdout=said, stderr=said)


def of_run(run: str) -> Iterator[str]:
    """What runs with this TEST_RUN. Postgres does not inherit it, but names its directory, which has it."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("TEST_RUN") == run or any(run in word for word in process.cmdline()):
                yield " ".join(process.cmdline())
        except psutil.Error:
            continue  # it has ended, or is another user's


@pytest.mark.parametrize("options", [[], ["-n1"]], ids=["one process", "pytest-xdist"])
def test_sigterm_leaves_no_process(tmp_path: Path, options: list[str]) -> None:
    run = uuid.uuid4().hex
    process = start(tmp_path, SLEEPS, run, *options)
    try:
        wait_until(lambda: (tmp_path / "ready").exists() or process.poll() is not None, 120, "the sleeping test")
        assert process.poll() is None, (tmp_path / "said").read_text()
        before = list(of_run(run))
        assert any("-m headrace" in command for command in before), before
        assert any("postgres" in command for command in before), before
        process.terminate()
        time.sleep(0.2)
        process.terminate()  # as coreutils' timeout sends it twice: to the process, and to its group
        process.wait(60)
    finally:
        process.kill()
        process.wait()
    said = (tmp_path / "said").read_text()
    wait_until(lambda: not list(of_run(run)), 10, "all ended")
    assert process.returncode == pytest.ExitCode.INTERRUPTED, said
    assert " in " in said.splitlines()[-1], said  # pytest's closing line


def test_sigterm_ends_what_the_long_run_has_started(tmp_path: Path) -> None:
    """`make fuzz-wire`, which is no pytest."""
    run = uuid.uuid4().hex
    paths = os.pathsep.join(map(str, (ROOT / "app", ROOT / "tests")))
    command = [sys.executable, "-m", "fuzz.wire", "--keep", str(tmp_path)]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": paths, "TEST_RUN": run}, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: any("-m headrace" in each for each in of_run(run)) or process.poll() is not None, 120, "a Headrace")
        process.terminate()
        process.wait(60)
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: not list(of_run(run)), 10, "all ended")


@pytest.mark.parametrize(("where", "status"), [("true", pytest.ExitCode.TESTS_FAILED), ("", pytest.ExitCode.OK)])
def test_a_skip_that_is_not_listed_fails_in_ci(tmp_path: Path, where: str, status: pytest.ExitCode) -> None:
    process = start(tmp_path, SKIPS, "", CI=where)
    process.wait(60)
    said = (tmp_path / "said").read_text()
    assert process.returncode == status, said
    assert ("tests/skips.txt" in said) == bool(where)
    assert "1 xfailed" in said
