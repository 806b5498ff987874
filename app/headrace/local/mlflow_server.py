"""MLflow's server on a database, and MLflow's schema in it."""

import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from headrace.config import Config, sqlalchemy_url
from headrace.errors import StartError
from headrace.local.child import Child, browsable

_PROCESS = (sys.executable, "-m", "headrace.local.mlflow_process")


class MlflowServer(Child):
    """MLflow's server on a database, in a process that imports MLflow before the database is up: see `mlflow_process`."""

    title = "MLflow UI"

    def __init__(self, config: Config) -> None:
        self.url = f"http://{browsable(config.ui_host)}:{config.ui_port}"
        options = [
            *("--host", config.ui_host, "--port", str(config.ui_port), "--workers", "1"),
            *("--artifacts-destination", str(config.data_dir / "artifacts")),
        ]
        super().__init__("mlflow-server", "mlflow", config.data_dir, [*_PROCESS, *options])
        self._waits_for_orders = False

    @contextmanager
    def warmed_up(self) -> Iterator[None]:
        """Starts the process, which imports MLflow, for seconds, and waits for an order. Inside the block it lives."""
        self._warm_up()
        try:
            yield
        finally:
            self.stop()

    def upgrade(self, database_url: str) -> None:
        """Runs `mlflow db upgrade` in the process: creates MLflow's tables, or brings them up to date.

        Raises:
            StartError: it failed. The message has the reason.
        """
        self._order("upgrade", database_url)
        answer = self._pipes()[1].readline().decode(errors="replace")
        if answer != "\n":
            raise StartError(f"`mlflow db upgrade` failed: {answer.strip()[:500] or self.last_line()}")

    def start(self, database_url: str) -> None:
        """Has the process serve this database. If it has ended meanwhile, or serves already, starts a new one first."""
        self._order("serve", database_url)
        self._close_pipes()

    def stop(self) -> None:
        """See `Child.stop`."""
        self._close_pipes()
        super().stop()

    def _warm_up(self) -> None:
        self._spawn({}, talks=True)
        self._waits_for_orders = True

    def _order(self, command: str, database_url: str) -> None:
        if not (self._waits_for_orders and self.running):
            self._warm_up()
        stdin, _ = self._pipes()
        with suppress(BrokenPipeError):  # it has just ended: whoever waits for it says so
            stdin.write(f"{command} {sqlalchemy_url(database_url)}\n".encode())
            stdin.flush()

    def _close_pipes(self) -> None:
        self._waits_for_orders = False
        if self._process is not None:
            for pipe in self._pipes():
                with suppress(BrokenPipeError):
                    pipe.close()

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        """The process's stdin and stdout."""
        assert self._process is not None  # noqa: S101 - it was started
        assert self._process.stdin is not None  # noqa: S101 - `_warm_up` has asked for both
        assert self._process.stdout is not None  # noqa: S101
        return self._process.stdin, self._process.stdout

    def answers(self) -> bool:
        """See `Child.answers`."""
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:  # noqa: S310 - our own http URL
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def upgrade_mlflow_schema(database_url: str) -> None:
    """`mlflow db upgrade` in a process of its own. See `MlflowServer.upgrade`."""
    order = f"upgrade {sqlalchemy_url(database_url)}\n"
    done = subprocess.run(_PROCESS, input=order, capture_output=True, check=False, encoding="utf-8", errors="replace")  # noqa: S603 - our own
    if done.stdout != "\n":
        lines = [line.strip() for line in (done.stdout or done.stderr).splitlines() if line.strip()]
        raise StartError(f"`mlflow db upgrade` failed: {lines[-1][:500] if lines else 'it has said nothing'}")
