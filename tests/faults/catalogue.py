"""The faults. Each breaks something once, lets that last for a while, mends it, and returns; clients send all the time."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
from conftest import wait_until

from faults.cluster import CONNECTIONS, Cluster
from faults.load import TIMEOUT_SECONDS
from faults.stage import Stage
from headrace.local.mlflow_server import upgrade_mlflow_schema

Break = Callable[[Stage], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """`ours`: it kills processes of Headrace, so that connections are cut and clients send again. Nobody may be refused else.
    `bites`: writes fail meanwhile, and are tried again. `hang_ups`: see `Load`. `hostile`: somebody sends it, see hostile.py.
    `crowds`: it takes room that all clients share, so that they may be told to send again."""

    name: str
    once: Break
    ours: bool = False
    bites: bool = True
    hang_ups: int = 20
    hostile: bool = False
    crowds: bool = False

    @property
    def may_refuse(self) -> bool:
        """Whether clients may be refused meanwhile."""
        return self.ours or self.crowds


def _worker_killed(stage: Stage) -> None:
    workers = _two_workers(stage)
    time.sleep(stage.rng.uniform(0, 0.5))  # a moment of no meaning
    victim = stage.rng.choice(workers)
    victim.kill()
    _workers_again(stage, [victim])


def _all_workers_killed(stage: Stage) -> None:
    workers = _two_workers(stage)
    time.sleep(stage.rng.uniform(0, 0.5))
    for worker in workers:
        worker.kill()
    _workers_again(stage, workers)


def _two_workers(stage: Stage) -> list[psutil.Process]:
    if not stage.workers():
        stage.kill()
        stage.start(2)
    return wait_until(lambda: len(found := stage.workers()) == 2 and found, 60, "two workers")  # type: ignore[no-any-return]


def _workers_again(stage: Stage, killed: list[psutil.Process]) -> None:
    """Waits until each one killed has a successor, and somebody answers."""
    wait_until(lambda: len(set(stage.workers()) - set(killed)) >= len(killed), 60, "new workers")
    wait_until(stage.queue, 60, "an answer")


def _everything_killed(stage: Stage) -> None:
    """The next life has one worker or two: what the second one's queue held is taken over by the first."""
    time.sleep(stage.rng.uniform(0, 0.5))
    stage.kill()
    stage.start(stage.rng.choice((1, 2)))


def _one_process_killed(stage: Stage) -> None:
    time.sleep(stage.rng.uniform(0, 0.5))
    stage.kill()
    stage.start(1)


def _postgres_killed(stage: Stage) -> None:
    stage.cluster.kill()
    stage.cluster.start()


def _backend_killed(stage: Stage) -> None:
    """As the kernel does that is out of memory; Postgres then cuts all connections and recovers."""
    backends = [process for process in stage.cluster.processes()[1:] if "headrace" in " ".join(process.cmdline())]
    for backend in backends[:1]:
        backend.kill()
    wait_until(stage.cluster.answers, 60, "Postgres")


def _postgres_away(stage: Stage) -> None:
    stage.cluster.stop()
    stage.wait()
    stage.cluster.start()


def _postgres_hangs(stage: Stage) -> None:
    """For longer than a client waits."""
    with stage.cluster.frozen():
        time.sleep(TIMEOUT_SECONDS)
        stage.wait()


def _connections_cut(stage: Stage) -> None:
    """After a hundred to a hundred thousand bytes: at the login, between statements, amid a COPY, before the COMMIT's end."""
    stage.proxy.longest = 100_000
    stage.proxy.cut_all()
    stage.wait()
    stage.proxy.longest = 0
    stage.proxy.cut_all()


def _too_many_connections(stage: Stage) -> None:
    """Somebody takes every connection that Headrace loses."""
    with ExitStack() as hogs:
        until = time.monotonic() + stage.seconds
        while time.monotonic() < until:
            stage.cluster.terminate_backends()
            with suppress(psycopg.OperationalError):
                for _ in range(CONNECTIONS):
                    hogs.enter_context(psycopg.connect(stage.cluster.url))


def _terminated(stage: Stage) -> None:
    until = time.monotonic() + stage.seconds
    while time.monotonic() < until:
        stage.cluster.terminate_backends()
        time.sleep(stage.rng.uniform(0, 0.1))


def _locked(stage: Stage) -> None:
    with stage.cluster.admin() as connection, connection.transaction():
        connection.execute("LOCK TABLE trace_info IN ACCESS EXCLUSIVE MODE")
        stage.wait()


def _lock_timeout(stage: Stage) -> None:
    with stage.cluster.setting("lock_timeout", "20ms"):
        _locked(stage)


def _setting(name: str, value: str) -> Break:
    def once(stage: Stage) -> None:
        with stage.cluster.setting(name, value):
            stage.wait()

    return once


def _rights_withdrawn(stage: Stage) -> None:
    stage.cluster.execute("REVOKE postgres FROM headrace")
    stage.wait()
    stage.cluster.execute("GRANT postgres TO headrace")


def _no_login(stage: Stage) -> None:
    stage.cluster.execute("ALTER ROLE headrace NOLOGIN")
    stage.cluster.terminate_backends()
    stage.wait()
    stage.cluster.execute("ALTER ROLE headrace LOGIN")


def _upgraded(stage: Stage) -> None:
    """`mlflow db upgrade` on a schema that is up to date, as MLflow's Helm charts and images run it at each start."""
    upgrade_mlflow_schema(stage.cluster.url.replace("headrace@", "postgres@"))


def _disk_full(stage: Stage) -> None:
    """The spans' table moves to a small disk, which somebody else fills."""
    with _small_disk(stage.cluster) as disk:
        filler = disk / "filler"
        with filler.open("wb") as file, suppress(OSError):
            while True:
                file.write(bytes(65536))
                file.flush()
        before = stage.retries()
        wait_until(lambda: stage.retries() > before, 30, "a write that finds the disk full")
        stage.wait()
        filler.unlink()
        stage.writes()


@contextmanager
def _small_disk(cluster: Cluster) -> Iterator[Path]:
    """A tmpfs of 64 MiB as the tablespace of new spans."""
    disk = cluster.directory.parent / "small"
    disk.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=777", "tmpfs", str(disk)], check=True, capture_output=True)
    try:
        (disk / "pg").mkdir()
        os.chown(disk / "pg", *_owner(cluster))
        # What aborted transactions have left in it would be room for a while.
        cluster.execute("VACUUM FULL trace_tags", f"CREATE TABLESPACE small LOCATION '{disk / 'pg'}'")
        cluster.execute("ALTER TABLE trace_tags SET TABLESPACE small")
        yield disk
        cluster.execute("ALTER TABLE trace_tags SET TABLESPACE pg_default", "DROP TABLESPACE small")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def _owner(cluster: Cluster) -> tuple[int, int]:
    found = (cluster.directory / "PG_VERSION").stat()
    return found.st_uid, found.st_gid


def cannot_mount(directory: Path) -> str:
    """Why there can be no small disk here; "": there can."""
    if os.geteuid() != 0:
        return "a tmpfs needs root"
    done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(directory)], check=False, capture_output=True)
    if done.returncode:
        return f"mount: {done.stderr.decode().strip()}"
    subprocess.run(["umount", str(directory)], check=True)
    return ""


DISK_FULL = "the database's disk is full"
POSTGRES_AWAY = "Postgres is away"

KILLS = [
    Fault("SIGKILL of a worker", _worker_killed, ours=True, bites=False),
    Fault("SIGKILL of all workers", _all_workers_killed, ours=True, bites=False),
    Fault("SIGKILL of Headrace, one process", _one_process_killed, ours=True, bites=False),
    Fault("SIGKILL of Headrace, one or two workers", _everything_killed, ours=True, bites=False),
]
"""Of our own processes."""

FAULTS = [
    Fault("SIGKILL of Postgres", _postgres_killed),
    Fault("SIGKILL of one backend of Postgres", _backend_killed),
    Fault(POSTGRES_AWAY, _postgres_away),
    Fault("Postgres hangs", _postgres_hangs, bites=False),
    Fault("connections are cut at random bytes", _connections_cut),
    Fault("too many connections", _too_many_connections),
    Fault("the database is read-only", _setting("default_transaction_read_only", "on")),
    Fault("statement_timeout = 3 ms", _setting("statement_timeout", "3ms")),
    Fault("a lock on trace_info", _locked, bites=False),
    Fault("a lock on trace_info, lock_timeout", _lock_timeout),
    Fault("idle_in_transaction_session_timeout = 1 ms", _setting("idle_in_transaction_session_timeout", "1ms")),
    Fault("serializable transactions", _setting("default_transaction_isolation", "serializable"), bites=False),
    Fault("pg_terminate_backend, again and again", _terminated),
    Fault("the role may not log in", _no_login),
    Fault("the role has no rights", _rights_withdrawn),
    Fault("mlflow db upgrade", _upgraded, bites=False),
    Fault(DISK_FULL, _disk_full),
    Fault("clients hang up and send again", Stage.wait, bites=False, hang_ups=1),
]
"""Of the database, and of clients."""
