"""A Postgres of a test's own that may be killed, stopped, frozen and reconfigured; it listens on TCP, on a fixed port."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
from conftest import copy_template, free_port, wait_until
from psycopg import sql

from headrace.local.postgres import EmbeddedPostgres

CONNECTIONS = 24
"""Its max_connections: few, so that a test can take them all."""

_ADMIN = " ".join(
    f"-c {name}={value}"
    for name, value in {
        "default_transaction_read_only": "off",
        "statement_timeout": "0",
        "lock_timeout": "0",
        "idle_in_transaction_session_timeout": "0",
        "default_transaction_isolation": "read\\ committed",
        "client_min_messages": "error",
    }.items()
)


class Cluster:
    """Made with MLflow's schema, its Default experiment and a role `headrace` that is no superuser; started."""

    def __init__(self, directory: Path, *settings: str) -> None:
        first = not (directory / "PG_VERSION").exists()
        if first:
            copy_template(directory)
        with EmbeddedPostgres(directory) as made:
            if first:
                with psycopg.connect(made.url) as connection:
                    connection.execute("DROP SCHEMA headrace CASCADE")  # that role makes it
                    connection.execute("CREATE ROLE headrace LOGIN")
                    connection.execute("GRANT postgres TO headrace")  # the tables' owner's rights, not its superuser's
        self._postgres = made
        self.directory = directory
        self.port = free_port()
        self.url = f"postgresql://headrace@127.0.0.1:{self.port}/mlflow"
        self._settings = [f"-c{setting}" for setting in (f"max_connections={CONNECTIONS}", *settings)]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Returns when it takes connections. A start right after a SIGKILL waits for the last backend to end."""
        command = [str(self._postgres.programs / "postgres"), "-D", str(self.directory), "-h127.0.0.1", f"-p{self.port}", "-k"]
        with (self.directory / "log").open("ab") as log:
            for _ in range(100):
                self._process = subprocess.Popen(
                    [*command, "", *self._settings], stdout=log, stderr=log, **self._postgres.identity.ids
                )
                wait_until(lambda: self._process.poll() is not None or self.answers(), 60, "Postgres")  # type: ignore[union-attr]
                if self._process.poll() is None:
                    return
                time.sleep(0.1)
        raise RuntimeError(f"Postgres does not start: {(self.directory / 'log').read_text()[-2000:]}")

    def answers(self) -> bool:
        """Whether it takes a connection now."""
        with suppress(psycopg.OperationalError), self.admin():
            return True
        return False

    def stop(self) -> None:
        """Immediate shutdown: connections are cut, the next start recovers, as after a crash."""
        self._signal(signal.SIGQUIT)

    def kill(self) -> None:
        """SIGKILL to all of its processes."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(30)

    def processes(self) -> list[psutil.Process]:
        """All of its processes, the postmaster first."""
        assert self._process is not None
        with suppress(psutil.NoSuchProcess):
            postmaster = psutil.Process(self._process.pid)
            return [postmaster, *postmaster.children(recursive=True)]
        return []

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Inside it, Postgres accepts connections (the kernel does) and answers nothing, as on a disk that hangs."""
        frozen = self.processes()
        for process in frozen:
            process.suspend()
        try:
            yield
        finally:
            for process in frozen:
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def admin(self, database: str = "mlflow") -> "psycopg.Connection[tuple[Any, ...]]":
        """A superuser's connection, autocommit, to which no setting of a fault applies."""
        url = self.url.replace("headrace@", "postgres@").replace("/mlflow", f"/{database}")
        return psycopg.connect(url, autocommit=True, options=_ADMIN)

    def execute(self, *statements: str) -> None:
        """Runs statements as superuser, each in a transaction of its own."""
        with self.admin() as connection:
            for statement in statements:
                connection.execute(statement.encode())

    @contextmanager
    def setting(self, name: str, value: str) -> Iterator[None]:
        """ALTER SYSTEM SET, which running sessions take over within moments; reset at the end."""
        set_ = sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), value)
        with self.admin() as connection:
            connection.execute(set_)
            connection.execute("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            self.execute(f"ALTER SYSTEM RESET {name}", "SELECT pg_reload_conf()")

    def terminate_backends(self) -> int:
        """Ends the sessions of Headrace; returns how many."""
        with self.admin() as connection:
            ended = connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'headrace'")
            return ended.rowcount
