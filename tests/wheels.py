"""The wheel of this checkout, built as `pip install` builds it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def build_wheel(directory: Path) -> Path:
    """Builds it into an empty directory; returns its path."""
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*build, str(directory), str(ROOT)], check=True, timeout=120)
    (built,) = directory.glob("*.whl")
    return built
