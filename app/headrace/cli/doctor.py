"""`headrace doctor`: prints what `headrace.doctor` finds. The exit status is 1 if a check failed."""

import json
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from headrace.cli.console import stdout

if TYPE_CHECKING:
    from headrace.doctor import Finding, Probe

_SIGNS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "failure": ("✗", "red"), "skipped": ("–", "dim")}
_WIDTH = 17


def doctor(probe: "Probe", as_json: bool) -> None:
    """Makes all checks, prints each finding as soon as it is there, and ends the process: status 1 if a check failed."""
    found = []
    for finding in _findings(probe):
        found.append(finding.state)
        if as_json:
            print(json.dumps(_as_object(finding), ensure_ascii=False), flush=True)
        else:
            _print(finding)
    if not as_json:
        stdout().print(_summary(found.count("failure"), found.count("warning")), style="bold")
    sys.exit(1 if "failure" in found else 0)


def _findings(probe: "Probe") -> "Iterator[Finding]":
    from headrace.config import load
    from headrace.doctor import examine, wrong
    from headrace.errors import StartError
    from headrace.telemetry.logging import configure_logging

    try:
        config = load()
    except StartError as error:
        yield wrong("settings", "wrong-setting", str(error))
        return
    configure_logging(config.log_format, "error")
    yield from examine(config, dict(os.environ), probe)


def _as_object(finding: "Finding") -> dict[str, Any]:
    said = {"check": finding.check, "state": finding.state, "said": finding.said}
    problem = finding.problem
    return {**said, "problem": problem.name, "mend": problem.mend} if problem else said


def _print(finding: "Finding") -> None:
    """One line; under it, what to do, if something is wrong."""
    sign, style = _SIGNS[finding.state]
    stdout().print(sign, style=style, end=" ")
    stdout().print(finding.check.ljust(_WIDTH), style="bold", end=" ")
    stdout().print(" ".join(finding.said.split()))
    if finding.problem is not None:
        stdout().print(f"  → {finding.problem.mend}", style=style)


def _summary(failures: int, warnings: int) -> str:
    if not failures and not warnings:
        return "All is well."
    counted = [f"{count} {word}{'s' * (count > 1)}" for count, word in ((failures, "failure"), (warnings, "warning")) if count]
    return f"{' and '.join(counted)}. docs/troubleshooting.md says more about each."
