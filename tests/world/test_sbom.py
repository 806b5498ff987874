"""`make sbom`: all that the lock files of the core name is in the bill of materials, and the bill is the same each time."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from headrace import __version__

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.slow(".ci/sbom.py .ci/sbom.lock requirements-kafka.lock"),
]


def test_the_bill_names_all_that_is_locked(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("sbom", ROOT / ".ci" / "sbom.py")
    assert spec is not None
    assert spec.loader is not None
    sbom = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sbom)
    uv, python = Path(sys.executable).with_name("uv"), tmp_path / "venv" / "bin" / "python"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, tmp_path / "venv"], check=True)
    install: list[str | Path] = [
        uv,
        "pip",
        "install",
        "--quiet",
        "--python",
        python,
        "--require-hashes",
        "-r",
        ROOT / ".ci" / "sbom.lock",
    ]
    subprocess.run(install, check=True)
    files = [tmp_path / "first.json", tmp_path / "second.json"]
    for file in files:
        sbom.write(python.with_name("cyclonedx-py"), file)
    assert files[0].read_bytes() == files[1].read_bytes()
    bill = json.loads(files[0].read_text())
    ours = bill["metadata"]["component"]
    assert (bill["bomFormat"], ours["name"], ours["version"]) == ("CycloneDX", "headrace", __version__)
    locks = "".join((ROOT / name).read_text() for name in ("requirements.lock", "requirements-kafka.lock"))
    locked = set(re.findall(r"^([\w.-]+)==([^ ]+)", locks, re.MULTILINE))
    assert {(each["name"], each["version"]) for each in bill["components"]} == locked
    for each in bill["components"]:
        assert each["purl"] == f"pkg:pypi/{each['name']}@{each['version']}"
        assert each["externalReferences"][0]["hashes"]
