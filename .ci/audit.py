#!/usr/bin/env python3
"""Asks for known vulnerabilities of everything in the lock files: `make audit`. Needs nothing but Python.

Exit status: 0: asked, and none is known. 1: there are some, and they are listed. 75: it could not be asked, of all or of some
dependencies. Nobody shall take 75 for "none": the last line says so.
"""

import json
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
LOCKS = ("requirements.lock", "requirements-up.lock", "requirements-dev.lock")
CLEAN, VULNERABLE, NOT_ASKED = 0, 1, 75
"""75 is EX_TEMPFAIL of sysexits.h."""
_SECONDS = 600

Answer = list[dict[str, Any]]
"""What pip-audit says of each dependency of a lock file. Empty: it says nothing."""


def main() -> int:
    """See the top."""
    with tempfile.TemporaryDirectory(prefix="headrace-audit-") as directory:
        program = _install(Path(directory, "venv"))
        answers = [_ask(program, ROOT / lock, Path(directory, "answer.json")) for lock in LOCKS if program]
    status, said = judge(answers)
    print(*said, sep="\n")
    return status


def judge(answers: Iterable[Answer]) -> tuple[int, list[str]]:
    """The exit status, and the lines to print. The last line says what the audit has come to."""
    answers = list(answers)
    if not answers:
        return NOT_ASKED, ["AUDIT NOT DONE: pip-audit cannot be installed. This is no pass."]
    if not all(answers):
        return NOT_ASKED, ["AUDIT NOT DONE: the vulnerability service does not answer. This is no pass."]
    packages = {(each["name"], each.get("version", "")): each for answer in answers for each in answer}
    if vulnerable := {name: each["vulns"] for name, each in packages.items() if each.get("vulns")}:
        last = f"AUDIT FAILED: {len(vulnerable)} of {len(packages)} dependencies have known vulnerabilities."
        return VULNERABLE, [*_flaws(vulnerable), last]
    if unknown := sum("skip_reason" in each for each in packages.values()):
        last = f"AUDIT NOT DONE: the vulnerability service knows nothing of {unknown} of {len(packages)} dependencies. "
        return NOT_ASKED, [f"{last}This is no pass."]
    return CLEAN, [f"AUDIT PASSED: no vulnerability is known of {len(packages)} dependencies."]


def _flaws(vulnerable: dict[tuple[str, str], Answer]) -> Iterator[str]:
    for (name, version), flaws in sorted(vulnerable.items()):
        for flaw in flaws:
            yield f"{name} {version}: {flaw['id']}, mended in {', '.join(flaw.get('fix_versions', [])) or 'no version yet'}"


def _install(directory: Path) -> Path | None:
    """pip-audit in an environment of its own. None: it cannot be had."""
    venv.create(directory, with_pip=True)
    pip = [directory / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
    done = subprocess.run([*pip, "-r", ROOT / ".ci" / "audit.lock"], check=False, timeout=_SECONDS)  # noqa: S603 - our own
    return directory / "bin" / "pip-audit" if done.returncode == 0 else None


def _ask(program: Path, lock: Path, answer: Path) -> Answer:
    answer.unlink(missing_ok=True)
    options = ["--disable-pip", "--require-hashes", "--progress-spinner", "off", "--format", "json"]
    try:
        done = subprocess.run(  # noqa: S603 - our own
            [program, *options, "-r", lock, "-o", answer], check=False, timeout=_SECONDS, capture_output=True, text=True
        )
        if not answer.exists():
            print(done.stderr[-2000:], file=sys.stderr)
        return list(json.loads(answer.read_text())["dependencies"])
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired):
        return []


if __name__ == "__main__":
    sys.exit(main())
