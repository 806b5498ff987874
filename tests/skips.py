"""Where CI=true, a skipped test fails, unless tests/skips.txt allows it. Otherwise nobody notices that a tool is missing which
CI should have installed. A part of tests/conftest.py."""

import os
from collections.abc import Generator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TypeVar

import pytest

_Report = TypeVar("_Report", pytest.TestReport, pytest.CollectReport)


@cache
def allowed() -> list[tuple[str, str]]:
    """Patterns of tests' ids, and how the reason to skip begins."""
    lines = Path(__file__).with_name("skips.txt").read_text().splitlines()
    fields = [[field.strip() for field in line.split("|")] for line in lines if not line.startswith("#")]
    return [(pattern, reason) for pattern, reason, _ in fields]


def is_allowed(test: str, reason: str) -> bool:
    """Whether the list has this skip."""
    return any(fnmatchcase(test, pattern) and reason.startswith(begin) for pattern, begin in allowed())


def checked(report: _Report) -> _Report:
    """The same report; failed where it skips and may not."""
    if os.environ.get("CI") == "true" and report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr).removeprefix("Skipped: ")
        if not is_allowed(report.nodeid, reason):
            report.outcome = "failed"
            report.longrepr = f"skipped: {reason}\nIn CI no test is skipped, unless tests/skips.txt says why."
    return report


@pytest.hookimpl(tryfirst=True, wrapper=True)  # outside pytest's own wrapper, which makes a skip of an expected failure
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """pytest's hook."""
    report = yield
    return checked(report)


@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """pytest's hook: of a module that skips itself."""
    report = yield
    return checked(report)
