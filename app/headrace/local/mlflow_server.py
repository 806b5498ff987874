"""`mlflow server` on a database, and MLflow's schema in it.

The server runs in a session of its own. So Ctrl-C does not reach it directly: Headrace stops it, in order.
"""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import psutil

from headrace.config import Config, sqlalchemy_url
from headrace.errors import StartError
from headrace.local.private import append_to

_START_SECONDS = 60.0
_STOP_SECONDS = 10.0


class MlflowServer:
    """`mlflow server` on a database. `start()` returns at once, `wait()` when it answers; `stop()` ends it with all its
    children."""

    def __init__(self, config: Config) -> None:
        self.url = f"http://{_browsable(config.ui_host)}:{config.ui_port}"
        self.log = config.data_dir / "mlflow-server.log"
        self._pid_file = config.data_dir / "mlflow-server.pid"
        self._process: subprocess.Popen[bytes] | None = None
        self._command = [
            *(sys.executable, "-m", "mlflow", "server"),
            *("--host", config.ui_host, "--port", str(config.ui_port), "--workers", "1"),
            *("--artifacts-destination", str(config.data_dir / "artifacts")),
        ]

    def end_leftover(self) -> None:
        """Ends the server of an earlier `headrace up` on this data directory that was killed, if it still runs."""
        try:
            pid = int(self._pid_file.read_text())
            if "mlflow" in " ".join(psutil.Process(pid).cmdline()):
                _end_tree(pid)
        except (OSError, ValueError, psutil.Error):
            pass

    def start(self, database_url: str) -> None:
        """Starts the server on this database."""
        self.log.unlink(missing_ok=True)
        with append_to(self.log) as log:
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
        """Returns when the server answers.

        Raises:
            StartError: the server ended, or did not answer within a minute. The message shows the end of its log.
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
        """The last 15 lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def stop(self) -> None:
        """Ends the server and all of its children: with SIGTERM, and after ten seconds with SIGKILL."""
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
        StartError: it failed. The message shows the end of its output.
    """
    command = [sys.executable, "-m", "mlflow", "db", "upgrade", sqlalchemy_url(database_url)]
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - our own
    if done.returncode:
        tail = "\n".join(done.stderr.decode(errors="replace").splitlines()[-10:])
        raise StartError(f"`mlflow db upgrade` failed:\n{tail}")


def _end_tree(pid: int) -> None:
    """Sends SIGTERM to a process and its descendants, and SIGKILL to those that do not end in time."""
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
