#!/usr/bin/env python3
"""A release: `make release` builds and checks it, `make release-prepare VERSION=0.2.0` writes its number. Publishes nothing.

The version stands in app/headrace/__init__.py and nowhere else by hand: pyproject.toml reads it there, and the places in
STATED follow it. What is built goes to dist/release: wheel, sdist, SHA256SUMS and, if `make sbom` is there, the SBOM.
"""

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from datetime import datetime, timezone
from email.parser import Parser
from pathlib import Path

ROOT = Path(__file__).parent.parent
OUTPUT = ROOT / "dist" / "release"
INIT, CHANGELOG = ROOT / "app" / "headrace" / "__init__.py", ROOT / "CHANGELOG.md"
STATED = (
    "deploy/kubernetes/kustomization.yaml",
    "deploy/kubernetes-kafka/kustomization.yaml",
    "docs/deployment.md",
    "Dockerfile",
)
"""Files that name the version of the image or of the wheel."""
VERSION = re.compile(r'^__version__ = "([^"]+)"$', re.MULTILINE)
NAMED = re.compile(
    r"(?<=newTag: )\d+\.\d+\.\d+|(?<=headrace:)\d+\.\d+\.\d+|(?<=headrace-)\d+\.\d+\.\d+(?=-py3)"
    r"|(?<=image\.version=)\d+\.\d+\.\d+"
)
IN_WHEEL = ("headrace/cli/main.py", "headrace/migrations/env.py", "headrace/console/web/templates/")
IN_SDIST = ("README.md", "CHANGELOG.md", "LICENSE", "NOTICE", "pyproject.toml", "migrations/env.py", "tests/conftest.py")


def main() -> int:
    """See the top. Exit status: 0, or 1 with what is not well."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--prepare", metavar="VERSION", help="write this number, and date the changelog")
    parser.add_argument("--dry-run", action="store_true", help="build and check only: the tree need not be clean, or dated")
    parser.add_argument("--image", action="store_true", help="build the image, too, with docker")
    options = parser.parse_args()
    if options.prepare:
        return _report(prepare(options.prepare))
    problems = [] if options.dry_run else [*_not_ready()]
    if not problems:
        build()
        problems = check(version())
    if problems:
        return _report(problems)
    if options.dry_run:
        print(f"Well: wheel and sdist of {version()} in {OUTPUT.relative_to(ROOT)}. A release has SBOM and checksums, too.")
        return 0
    return finish(options.image)


def version() -> str:
    """The version of this tree."""
    found = VERSION.search(INIT.read_text())
    assert found is not None  # noqa: S101 - a test holds it
    return found[1]


def stated() -> "dict[str, set[str]]":
    """By file: the versions that STATED name."""
    return {name: set(NAMED.findall((ROOT / name).read_text())) for name in STATED}


def prepare(new: str) -> "list[str]":
    """Writes the number wherever it stands, and dates what is unreleased in the changelog. Returns what is wrong."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", new):
        return [f"{new} is no version: it must look like 0.2.0"]
    log = CHANGELOG.read_text()
    if f"## [{new}]" in log:
        return [f"CHANGELOG.md has {new} already"]
    INIT.write_text(VERSION.sub(f'__version__ = "{new}"', INIT.read_text()))
    for name in STATED:
        (ROOT / name).write_text(NAMED.sub(new, (ROOT / name).read_text()))
    today = f"{datetime.now(timezone.utc):%Y-%m-%d}"
    CHANGELOG.write_text(log.replace("## [Unreleased]\n", f"## [Unreleased]\n\n## [{new}] - {today}\n", 1))
    print(f"Version {new}. Read CHANGELOG.md, commit, then: make release")
    return []


def _not_ready() -> "list[str]":
    """Why this tree is not to be released."""
    problems = []
    if f"## [{version()}] - " not in CHANGELOG.read_text():
        problems.append(f"CHANGELOG.md has no dated heading for {version()}: `make release-prepare VERSION=…` writes it")
    if subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip():  # noqa: S607
        problems.append("there are changes that are not committed")
    return problems


def build() -> None:
    """Wheel and sdist, with the build tools of the lock file: nothing is downloaded."""
    shutil.rmtree(OUTPUT, ignore_errors=True)
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(OUTPUT)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603


def check(expected: str) -> "list[str]":
    """What is wrong with the files in dist/release."""
    wheels, sdists = sorted(OUTPUT.glob("*.whl")), sorted(OUTPUT.glob("*.tar.gz"))
    if len(wheels) != 1 or len(sdists) != 1:
        return [f"{OUTPUT} does not have one wheel and one sdist"]
    problems = [f"{name} names {found or 'no version'}" for name, found in stated().items() if found != {expected}]
    with zipfile.ZipFile(wheels[0]) as wheel:
        names = wheel.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        said = Parser().parsestr(wheel.read(metadata).decode())
    problems += [f"the wheel has no {part}" for part in IN_WHEEL if not any(name.startswith(part) for name in names)]
    if said["Version"] != expected:
        problems.append(f"the wheel says version {said['Version']}, the code says {expected}")
    if said["Description-Content-Type"] != "text/markdown" or "# Headrace" not in str(said.get_payload()):
        problems.append("the wheel has no README that an index could show")
    with tarfile.open(sdists[0]) as sdist:
        inside = {name.partition("/")[2] for name in sdist.getnames()}
    return problems + [f"the sdist has no {part}" for part in IN_SDIST if part not in inside]


def finish(image: bool) -> int:
    """SBOM, image, checksums; and what to do then."""
    if re.search(r"^sbom:", (ROOT / "Makefile").read_text(), re.MULTILINE):
        subprocess.run(["make", "sbom"], cwd=ROOT, check=True)  # noqa: S607
        for found in (ROOT / "dist").glob("*.cdx.json"):
            shutil.copy(found, OUTPUT)
    if image:
        subprocess.run(["docker", "build", "--tag", f"headrace:{version()}", str(ROOT)], check=True)  # noqa: S603, S607
    files = sorted(path for path in OUTPUT.iterdir() if path.name != "SHA256SUMS")
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in files]
    (OUTPUT / "SHA256SUMS").write_text("\n".join(sums) + "\n")
    print(*sums, f"Well. Now: git tag v{version()}, and upload what is in {OUTPUT.relative_to(ROOT)}.", sep="\n")
    return 0


def _report(problems: "list[str]") -> int:
    print(*(f"release: {problem}" for problem in problems), sep="\n", file=sys.stderr)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
