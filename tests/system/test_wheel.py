"""The wheel, installed beside a folder and a package called `app`: neither is in its way."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from conftest import Running, launcher, rows, wait_until

import otlp
from headrace import __version__
from headrace.local.postgres import running_postgres

ROOT = Path(__file__).parents[2]
OF_SOMEBODY_ELSE = 'raise ImportError("this is another project\'s package `app`")\n'


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `pip install` builds it."""
    directory = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(directory),
    ]
    subprocess.run([*command, str(ROOT)], check=True, timeout=120)
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel and another package `app`. It sees what is installed here, which spares minutes;
    not the Headrace of this repository, whose path stands in a .pth file that only its own environment reads."""
    made = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", made], check=True, timeout=120)
    (site_packages,) = made.glob("lib/python*/site-packages")
    for name in ("purelib", "platlib"):
        (site_packages / f"{name}.pth").write_text(sysconfig.get_path(name) + "\n")
    package = site_packages / "app"
    package.mkdir()
    (package / "__init__.py").write_text(OF_SOMEBODY_ELSE)
    pip = [sys.executable, "-m", "pip", "--python", str(made / "bin" / "python"), "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--ignore-installed", "--disable-pip-version-check", str(wheel)], check=True, timeout=120)
    return made


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a project that has a folder `app`; what this run has set for imports is unset."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").write_text(OF_SOMEBODY_ELSE)
    for name in [name for name in os.environ if name.startswith("PYTHON")]:
        monkeypatch.delenv(name)
    return tmp_path


def commands(environment: Path) -> list[list[str]]:
    """The two ways to call Headrace; `python -m` has the working directory first on its path."""
    return [[str(environment / "bin" / "headrace")], [str(environment / "bin" / "python"), "-m", "headrace"]]


def test_the_wheel_installs_the_package_headrace_and_nothing_else(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert tops == {"headrace", f"headrace-{__version__}.dist-info"}


def test_it_says_its_version(environment: Path, project: Path) -> None:
    for command in commands(environment):
        done = subprocess.run([*command, "--version"], cwd=project, check=True, capture_output=True, text=True, timeout=60)
        assert done.stdout.splitlines()[0] == f"headrace {__version__}"
    where = [str(environment / "bin" / "python"), "-c", "import headrace; print(headrace.__file__)"]
    assert str(environment) in subprocess.run(where, cwd=project, check=True, capture_output=True, text=True).stdout


def test_up_takes_a_span_and_stores_it(environment: Path, project: Path) -> None:
    with launcher(*commands(environment)[1], cwd=project) as launch:
        running = launch("up")
        wait_until(running.shows_panel, 120, "the MLflow UI")
        assert running.post(otlp.request(otlp.span("packed")).SerializeToString()).status_code == 200
        wait_until(lambda: stored(running) == ["packed"], 20, "the span")
        assert running.stop() == 0


def stored(running: Running) -> list[str]:
    """The names of all spans in the embedded Postgres."""
    url = running_postgres(running.log.parent / "data")
    assert url is not None
    return [row["name"] for row in rows(url, "SELECT name FROM spans")]
