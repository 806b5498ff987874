"""An environment for each program, outside of the tree: made once, kept for the next run."""

import os
import re
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

PROGRAMS = Path(__file__).with_name("programs")
NODE = Path(__file__).with_name("node")
_IN_NODE = tuple(path.parent.name for path in NODE.glob("*/main.mjs"))
NAMES = tuple(sorted([*(path.stem for path in PROGRAMS.glob("*_*.py")), *_IN_NODE]))
"""Each program is a framework, and who instruments it."""
_DIRECTORY = Path(os.environ.get("HEADRACE_FRAMEWORKS", "~/.cache/headrace-frameworks")).expanduser()
_ALL_NEED = ("opentelemetry-exporter-otlp-proto-http>=1.39",)  # Google ADK allows older ones only
_BUILT = ("pybars4", "pymeta3")
"""Semantic Kernel's, which have no wheels. Of nothing else is a build run."""


_NOT_THERE = ("No solution found", "ETARGET", "EUSAGE")
"""What installers say of a version that there is not, or of a lock file that does not fit: no matter of the network."""


class CannotInstallError(Exception):
    """Packages could not be had."""


def packages(name: str) -> list[str]:
    """What a program needs, as it says itself at its top (PEP 723)."""
    (block,) = re.findall(r"^# /// script\n# dependencies = \[\n((?:#.*\n)+?)# \]\n# ///$", _text(name), re.MULTILINE)
    return [*re.findall(r'"([^"]+)"', block), *_ALL_NEED]


def _text(name: str) -> str:
    return (PROGRAMS / f"{name}.py").read_text()


def command_of(name: str) -> list[str]:
    """What runs a program, in an environment of its own, which is made if it is not there.

    Raises:
        CannotInstallError: with what the installer said.
    """
    return _node(name) if name in _IN_NODE else [str(_python(name)), str(PROGRAMS / f"{name}.py")]


def _node(name: str) -> list[str]:
    """The packages are those of the lock file beside the program."""
    lock = (NODE / name / "package-lock.json").read_bytes()
    home = _DIRECTORY / f"{name}-{sha256(lock).hexdigest()[:12]}"
    if not (home / ".done").exists():
        npm = shutil.which("npm")
        if npm is None:
            raise CannotInstallError("npm is not installed.")
        home.mkdir(parents=True, exist_ok=True)
        for file in ("package.json", "package-lock.json"):
            shutil.copy(NODE / name / file, home)
        _run(npm, "ci", "--prefix", str(home), "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund")
        (home / ".done").touch()
    for program in (NODE / name / "main.mjs", NODE / "telemetry.mjs"):
        shutil.copy(program, home)
    return ["node", str(home / "main.mjs")]


def _python(name: str) -> Path:
    """The interpreter. Programs with the same packages share an environment."""
    wanted = packages(name)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    home = (
        _DIRECTORY
        / f"{wanted[0].partition('==')[0].partition('[')[0]}-{version}-{sha256(repr(wanted).encode()).hexdigest()[:12]}"
    )
    python = home / "bin" / "python"
    if not (home / ".done").exists():
        uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
        _run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(home))
        built = [f"--no-binary={package}" for package in _BUILT]
        _run(uv, "pip", "install", "--quiet", "--python", str(python), "--only-binary=:all:", *built, *wanted)
        (home / ".done").touch()
    return python


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert not any(words in done.stderr for words in _NOT_THERE), done.stderr
    if done.returncode != 0:
        raise CannotInstallError(done.stderr.strip())
