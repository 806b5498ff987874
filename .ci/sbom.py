#!/usr/bin/env python3
"""Writes what the core is made of, as CycloneDX has it: `make sbom`. Needs nothing but Python.

It reads the lock files, so it lists what is installed on any system, with the hashes of each wheel. The image has a file of its
own with exactly what is in it: /usr/share/headrace/sbom.cdx.json.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOCKS = ("requirements.lock", "requirements-kafka.lock")
_SECONDS = 600


def main() -> int:
    """Writes the file that is named, or dist/headrace.cdx.json. Returns the exit status."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist" / "headrace.cdx.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="headrace-sbom-") as directory:
        venv.create(directory, with_pip=True)
        python = Path(directory, "bin", "python")
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        subprocess.run([*pip, "-r", ROOT / ".ci" / "sbom.lock"], check=True, timeout=_SECONDS)  # noqa: S603 - our own
        write(python.with_name("cyclonedx-py"), target)
    print(target)
    return 0


def write(program: Path, target: Path) -> None:
    """The bill of all lock files of the core. Nothing in it tells when it was made, so the same locks make the same file."""
    locks = "".join((ROOT / lock).read_text() for lock in LOCKS)
    options = ["--pyproject", ROOT / "pyproject.toml", "--output-reproducible", "--of", "JSON", "-o", target, "-"]
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}  # it has no graph of who needs whom, and says so
    command = [program, "requirements", *options]
    subprocess.run(command, input=locks, env=environment, text=True, check=True, timeout=_SECONDS)  # noqa: S603 - our own
    bill = json.loads(target.read_text())
    bill["metadata"]["component"]["version"] = version()  # pyproject.toml has none to read
    target.write_text(json.dumps(bill, indent=2, sort_keys=True) + "\n")


def version() -> str:
    """Headrace's."""
    return re.findall(r'^__version__ = "(.+)"$', (ROOT / "app" / "headrace" / "__init__.py").read_text(), re.MULTILINE)[0]


if __name__ == "__main__":
    sys.exit(main())
