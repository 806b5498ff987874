"""What the audit of dependencies makes of pip-audit's answers: what could not be asked is no pass."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", Path(__file__).parents[2] / ".ci" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GOOD = {"name": "good", "version": "1", "vulns": []}
BAD = {"name": "bad", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}, {"id": "CVE-2"}]}
UNKNOWN = {"name": "unknown", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("answers", "status", "last"),
    [
        ([], 75, "NOT DONE"),
        ([[], []], 75, "NOT DONE"),
        ([[GOOD], []], 75, "NOT DONE"),
        ([[GOOD], [UNKNOWN]], 75, "NOT DONE"),
        ([[GOOD], [GOOD]], 0, "AUDIT PASSED: no vulnerability is known of 1 dependencies."),
        ([[GOOD, BAD], [UNKNOWN]], 1, "AUDIT FAILED: 1 of 3 dependencies"),
    ],
    ids=["no program", "no answer", "half an answer", "unknown packages", "clean", "vulnerable"],
)
def test_what_it_comes_to(answers: list[list[dict[str, Any]]], status: int, last: str) -> None:
    found, said = audit().judge(answers)
    assert found == status
    assert last in said[-1]
    assert ("no pass" in said[-1]) is (status == 75)


def test_each_flaw_is_listed() -> None:
    _, said = audit().judge([[BAD]])
    assert said[:2] == ["bad 2: CVE-1, mended in 3", "bad 2: CVE-2, mended in no version yet"]
