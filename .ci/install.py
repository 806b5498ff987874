#!/usr/bin/env python3
"""Installs a lock file and Headrace itself into .venv, for `make up` and for the developers' targets. Needs nothing but Python.

uv does it, with a tenth of pip's work: the user's, or else one that pip fetches for the purpose; where uv cannot, pip. It only
adds and updates: what another lock file has installed, a developer's tools for example, stays. Exit status: 0, or 1 with the
installer's own words.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
PIP = (str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--no-compile")
SIZES = {
    "requirements-up.lock": "What `make up` needs: 230 MB to download, 750 MB on disk",
    "requirements-dev.lock": "What running and the tests need: 450 MB to download, 1.2 GB on disk",
}
HEADRACE = ("--no-deps", "--no-build-isolation", "--editable", str(ROOT))
"""Built with the tools that the lock files have."""


def main(lock: str) -> int:
    """See the top. The first line is printed before any work."""
    print(f"{SIZES[lock]}. Installing it into {VENV.name} takes a minute or so, once.", flush=True)
    started = time.monotonic()
    make_environment()
    with tempfile.TemporaryDirectory() as directory:
        uv = find_uv() or fetch_uv(Path(directory))
        done = uv is not None and install_with_uv(uv, lock)
    if done or install_with_pip(lock):
        print(f"Installed in {time.monotonic() - started:.0f} s.", flush=True)
        return 0
    print(f"The installation of {lock} failed: see above. `make clean` starts afresh.", file=sys.stderr)
    return 1


def make_environment() -> None:
    """Makes .venv, with pip in it, unless it is there and its Python runs."""
    if not PYTHON.exists() or subprocess.run([PYTHON, "-c", ""], check=False).returncode:  # noqa: S603 - our own
        venv.create(VENV, with_pip=True, symlinks=True)


def find_uv() -> "str | None":
    """The user's uv, or the one that an earlier installation has brought."""
    return shutil.which("uv") or shutil.which("uv", path=str(VENV / "bin"))


def fetch_uv(directory: Path) -> "str | None":
    """The uv of the lock file, 25 MB, put into this directory by pip. None: there is none for this platform."""
    wanted = directory / "uv.lock"
    entries = re.findall(r"^uv==(?:.*\\\n)*.*$", (ROOT / "requirements-dev.lock").read_text(), re.MULTILINE)
    wanted.write_text("\n".join(entries))
    done = run([*PIP, "--quiet", "--only-binary", ":all:", "--require-hashes", "--target", str(directory), "-r", str(wanted)])
    return shutil.which("uv", path=str(directory / "bin")) if done else None


def install_with_uv(uv: str, lock: str) -> bool:
    """uv shows its progress itself. False: it failed, for example because only pip is set up for this network."""
    command = [uv, "pip", "install", "--python", str(PYTHON)]
    if run([*command, "--require-hashes", "-r", str(ROOT / lock)]) and run([*command, "--quiet", *HEADRACE]):
        return True
    print("uv could not: trying pip, which takes longer.", file=sys.stderr, flush=True)
    return False


def install_with_pip(lock: str) -> bool:
    """Without compiling: that takes longer than the rest, and a module is compiled when it is imported first."""
    return run_with_progress([*PIP, "--require-hashes", "-r", str(ROOT / lock)]) and run([*PIP, "--quiet", *HEADRACE])


def run(command: "list[str]") -> bool:
    """Whether it succeeded."""
    return subprocess.run(command, check=False).returncode == 0  # noqa: S603 - our own


def run_with_progress(command: "list[str]") -> bool:
    """Counts the packages that pip names. On a terminal the count stands in one line."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}) as pip:  # noqa: S603
        assert pip.stdout is not None  # noqa: S101 - asked for above
        count = 0
        for line in pip.stdout:
            count += line.startswith(("Collecting ", "Requirement already satisfied"))
            if line.startswith("Installing collected"):
                show("  unpacking …", last=True)
            elif line.startswith("Collecting "):
                show(f"  fetched {count} packages: {line.split()[1][:40]}", last=count % 25 == 0)
    return pip.returncode == 0


def show(text: str, last: bool) -> None:
    """On a terminal over the line before; into a file only what is marked as `last`."""
    if sys.stdout.isatty():
        print(f"\r{text:<70}", end="\n" if text.endswith("…") else "", flush=True)
    elif last:
        print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
