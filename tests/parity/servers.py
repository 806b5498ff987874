"""MLflow's other releases at work: their commands, their servers, and databases that they have made."""

import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
from conftest import free_port, wait_until

from headrace.config import sqlalchemy_url
from parity.databases import MLFLOW_SETTINGS

_HERE = Path(__file__).parents[2]
_SEED = "import sys; from parity.databases import seed; seed(sys.argv[1])"
_START_SECONDS = 600


def named(url: str, name: str) -> str:
    """The URL of another database of the same Postgres."""
    before, _, query = url.partition("?")
    return f"{before.rpartition('/')[0]}/{name}?{query}"


def create(url: str, name: str, template: str = "template0") -> str:
    """Creates a database in the Postgres of this URL; returns the URL of the new one."""
    with psycopg.connect(named(url, "postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    return named(url, name)


def upgrade(python: Path, url: str) -> None:
    """`mlflow db upgrade` of the release with this interpreter."""
    run(python, "-m", "mlflow", "db", "upgrade", sqlalchemy_url(url))


def seed(python: Path, url: str) -> None:
    """Fills the database with what both roads begin with, through the release's own store."""
    run(python, "-c", _SEED, url)


def run(python: Path, *arguments: str) -> str:
    """Runs Python in the release's environment with the tests on its path; returns what it printed."""
    environment = _environment() | {"PYTHONPATH": f"{_HERE / 'app'}{os.pathsep}{_HERE / 'tests'}"}
    done = subprocess.run([str(python), *arguments], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{arguments[:4]} failed: {done.stderr[-1500:]}")
    return done.stdout


@contextmanager
def mlflow_server(python: Path, url: str, *options: str) -> Iterator[str]:
    """The release's `mlflow server` on this database, once it answers; gives its address."""
    port = free_port()
    with tempfile.TemporaryDirectory() as directory, open(os.path.join(directory, "log"), "w+b") as log:
        command = [
            *(str(python), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
            *("--backend-store-uri", sqlalchemy_url(url), "--artifacts-destination", directory, *options),
        ]
        with subprocess.Popen(command, env=_environment(), stdout=log, stderr=log, cwd=directory) as process:
            try:
                wait_until(lambda: _listens(process, Path(log.name), port), _START_SECONDS)
                httpx.get(f"http://127.0.0.1:{port}/health", timeout=_START_SECONDS).raise_for_status()
                yield f"http://127.0.0.1:{port}"
            finally:
                process.terminate()


def _listens(process: "subprocess.Popen[bytes]", log: Path, port: int) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"MLflow's server ended: {log.read_text(errors='replace')[-1500:]}")
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _environment() -> dict[str, str]:
    """Without the path of these tests: their modules are not for MLflow's own processes."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    more = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return kept | MLFLOW_SETTINGS | more
