"""deploy/systemd: systemd itself reads the unit, and says how much of the machine the service reaches."""

import ctypes
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Launcher

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "systemd" / "headrace.service"
_PR_SET_MDWE = 65

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")


def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    text = UNIT.read_text()
    assert "ExecStart=/opt/headrace/bin/headrace serve" in text
    (tmp_path / UNIT.name).write_text(text.replace("/opt/headrace/bin/headrace", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", tmp_path / UNIT.name], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.timeout(600)
@pytest.mark.slow("deploy/systemd docs/deployment.md migrations cli")
def test_the_recipe_installs_what_the_unit_starts(tmp_path: Path) -> None:
    (line,) = re.findall(r"^sudo (env .* uv tool install .*)$", (ROOT / "docs" / "deployment.md").read_text(), re.MULTILINE)
    assert "UV_TOOL_DIR=/opt " in line
    uv = Path(sys.executable).with_name("uv")
    for old, new in {
        "=/opt ": f"={tmp_path}/opt ",
        "/usr/local/bin": f"{tmp_path}/bin",
        " uv ": f" {uv} ",
        "/usr/bin/python3": sys.executable,
    }.items():
        line = line.replace(old, new)
    done = subprocess.run(shlex.split(line), cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (program,) = re.findall(r"^ExecStart=(\S+) serve$", UNIT.read_text(), re.MULTILINE)
    installed = Path(f"{tmp_path}{program}")
    for each in (installed, tmp_path / "bin" / "headrace"):
        assert subprocess.run([each, "--version"], check=True, capture_output=True).stdout.startswith(b"headrace ")


def test_the_service_reaches_little_of_the_machine() -> None:
    command = ["systemd-analyze", "security", "--offline=yes", str(UNIT)]
    said = subprocess.run(command, check=False, capture_output=True, text=True).stdout
    exposure = re.search(r"Overall exposure level for headrace.service: (\S+)", said)
    assert exposure is not None
    assert float(exposure[1]) < 2  # of 10


def test_headrace_runs_where_no_memory_may_be_written_and_executed(tmp_path: Path, database_url: str) -> None:
    """MemoryDenyWriteExecute=yes: the kernel's own switch, for a process and all that it starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    switch = f"ctypes.CDLL(None).prctl({_PR_SET_MDWE}, 1, 0, 0, 0)"
    program = f"import ctypes, os, sys; {switch}; os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    if os.fork() == 0:
        os._exit(0 if libc.prctl(_PR_SET_MDWE, 1, 0, 0, 0) == 0 else 1)
    if os.waitstatus_to_exitcode(os.wait()[1]):
        pytest.skip("this kernel has no switch for it")
    launcher = Launcher(tmp_path, program=(sys.executable, "-c", program, "-m", "headrace"))
    try:
        assert launcher("serve", database_url=database_url, workers=2).stop() == 0
    finally:
        launcher.stop_all()
