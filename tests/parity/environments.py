"""An environment for each release of MLflow, outside of the tree: made once, kept for the next run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from parity.releases import Release

_DIRECTORY = Path(os.environ.get("HEADRACE_ORACLES", "~/.cache/headrace-oracles")).expanduser()
_FOR_SEEDING = ("psycopg[binary]", "pydantic-settings", "googleapis-common-protos", "structlog", "psutil", "prometheus-client")
"""What `parity.databases` imports beside MLflow."""


def python_of(release: Release) -> Path:
    """The interpreter of the release's environment; makes that if it is not there."""
    home = _DIRECTORY / release.version
    python = home / "bin" / "python"
    if not (home / ".done").exists():
        _DIRECTORY.mkdir(parents=True, exist_ok=True)
        uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
        _make(home, python, uv, f"mlflow=={release.installs or release.version}", *_FOR_SEEDING)
        if release.installs:
            _make(home, python, uv, "--no-deps", f"mlflow=={release.version}")
        (home / ".done").touch()
    return python


def _make(home: Path, python: Path, uv: str | None, *packages: str) -> None:
    if not python.exists():
        subprocess.run([uv, "venv", "-q", str(home)] if uv else [sys.executable, "-m", "venv", str(home)], check=True)
    install = [uv, "pip", "install", "-q", "--python", str(python)] if uv else [str(python), "-m", "pip", "install", "-q"]
    subprocess.run([*install, *packages], check=True)
