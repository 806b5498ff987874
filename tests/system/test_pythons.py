"""As a new user has it, with each Python at hand: a fresh environment, the wheel, `up`, `demo`, `doctor`, stop."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from conftest import Running, launcher, wait_until
from wheels import build_wheel

ROOT = Path(__file__).parents[2]
MINORS = ("3.10", "3.11", "3.12", "3.13", "3.14")
pytestmark = [
    pytest.mark.timeout(600),  # the packages, on a slow network
    pytest.mark.slow("cli config local host doctor README.md app/headrace/__main__.py"),
]


def python_of(minor: str) -> str:
    """A Python of this minor that runs. Skips if there is none."""
    name = f"python{minor}"
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    for found in (shutil.which(name), *sorted(pyenv.glob(f"versions/{minor}.*/bin/{name}"))):
        if found and subprocess.run([found, "-c", "import venv"], capture_output=True, timeout=60, check=False).returncode == 0:
            return str(found)
    pytest.skip(f"no Python {minor} on this machine")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(params=MINORS)
def environment(request: pytest.FixtureRequest, wheel: Path, tmp_path: Path) -> Path:
    """A fresh environment of this Python with the wheel and its extra `up`; by uv, which takes seconds."""
    made, uv = tmp_path / "venv", str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "--python", python_of(request.param), made], check=True, timeout=120)
    install = [uv, "pip", "install", "--quiet", "--python", str(made / "bin" / "python")]
    subprocess.run([*install, "--require-hashes", "-r", str(ROOT / "requirements-up.lock")], check=True, timeout=400)
    subprocess.run([*install, "--no-deps", str(wheel)], check=True, timeout=120)
    return made


def run(environment: Path, running: Running, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A command, with the ports and the directory of this `up`."""
    ports = {"HTTP": running.url, "GRPC": running.grpc_url, "UI": running.ui_url, "CONSOLE": running.console_url}
    own = {f"HEADRACE_{name}_PORT": url.rpartition(":")[2] for name, url in ports.items()}
    own |= {"HEADRACE_JAEGER_PORT": str(running.jaeger_port), "HEADRACE_DATA_DIR": str(running.log.parent / "data")}
    others = {key: value for key, value in os.environ.items() if not key.startswith(("HEADRACE_", "PYTHON"))}
    command = [str(environment / "bin" / "headrace"), *arguments]
    return subprocess.run(command, env=others | own, capture_output=True, text=True, timeout=180, check=False)


def answers(url: str) -> bool:
    """Whether there is such a page now."""
    try:
        return httpx.get(url, timeout=60).status_code == 200
    except httpx.TransportError:
        return False


def test_the_first_five_minutes(environment: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("PYTHON")]:
        monkeypatch.delenv(name)
    with launcher(str(environment / "bin" / "headrace"), cwd=tmp_path) as launch:
        running = launch("up")
        wait_until(running.shows_panel, 240, "the MLflow UI")
        wait_until(lambda: answers(f"{running.console_url}/traces"), 120, "the console")
        sent = run(environment, running, "demo")
        assert sent.returncode == 0, sent.stderr
        assert sent.stdout.count("selectedEvaluationId=tr-") == 3
        assert "Visible in MLflow after" in sent.stderr
        asked = run(environment, running, "doctor", "--json")
        found = [json.loads(line) for line in asked.stdout.splitlines()]
        assert asked.returncode == 0, asked.stdout + asked.stderr
        assert len(found) > 8
        assert "Traceback" not in running.log.read_text()
        assert running.stop() == 0
