"""An environment for each program, outside of the tree: made once, kept for the next run."""

import os
import re
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

PROGRAMS = Path(__file__).with_name("programs")
NAMES = tuple(sorted(path.stem for path in PROGRAMS.glob("*_*.py")))
"""Each program is a framework, and who instruments it."""
_DIRECTORY = Path(os.environ.get("HEADRACE_FRAMEWORKS", "~/.cache/headrace-frameworks")).expanduser()
_ALL_NEED = ("opentelemetry-exporter-otlp-proto-http>=1.39",)  # Google ADK allows older ones only
_BUILT = ("pybars4", "pymeta3")
"""Semantic Kernel's, which have no wheels. Of nothing else is a build run."""


class CannotInstallError(Exception):
    """Packages could not be had."""


def packages(name: str) -> list[str]:
    """What a program needs, as it says itself at its top (PEP 723)."""
    (block,) = re.findall(r"^# /// script\n# dependencies = \[\n((?:#.*\n)+?)# \]\n# ///$", _text(name), re.MULTILINE)
    return [*re.findall(r'"([^"]+)"', block), *_ALL_NEED]


def _text(name: str) -> str:
    return (PROGRAMS / f"{name}.py").read_text()


def python_of(name: str) -> Path:
    """The interpreter of a program's environment; makes that if it is not there. Programs with the same packages share one.

    Raises:
        CannotInstallError: with what the installer said.
    """
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
    if done.returncode != 0:
        raise CannotInstallError(done.stderr.strip())
