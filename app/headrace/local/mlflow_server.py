"""`mlflow server` on a database, and MLflow's schema in it.

The server runs in a session of its own. So Ctrl-C does not reach it directly: Headrace stops it, in order.
"""

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import suppress

import psutil

from headrace.config import Config, sqlalchemy_url
from headrace.errors import StartError
from headrace.local.private import append_to

_STOP_SECONDS = 10.0


class MlflowServer:
    """`mlflow server` on a database. `start()` returns at once; `stop()` ends it with all its children."""

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
        """Starts the server on this database. If it was started before, ends what is left of that, and appends to its log."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # the first process has ended; others may still have the port
        else:
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

    @property
    def running(self) -> bool:
        """False once its process has ended."""
        return self._process is not None and self._process.poll() is None

    def last_line(self) -> str:
        """The last line of its log that is not empty."""
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1][:300] if lines else "it has said nothing"

    def stop(self) -> None:
        """Ends the server and all of its children: with SIGTERM, and after ten seconds with SIGKILL."""
        if self._process is not None:
            _end_tree(self._process.pid)
            self._process.wait()
            self._pid_file.unlink(missing_ok=True)

    def answers(self) -> bool:
        """Whether it answers now."""
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:  # noqa: S310 - our own http URL
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def upgrade_mlflow_schema(database_url: str) -> None:
    """Runs `mlflow db upgrade`: creates MLflow's tables, or brings them up to date.

    Raises:
        StartError: it failed. The message has the last line of its output.
    """
    command = [sys.executable, "-m", "mlflow", "db", "upgrade", sqlalchemy_url(database_url)]
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - our own
    if done.returncode:
        lines = [line.strip() for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        raise StartError(f"`mlflow db upgrade` failed: {lines[-1][:500] if lines else 'it has said nothing'}")


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
