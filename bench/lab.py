"""The embedded Postgres of the bench: a fresh database for each measurement, what it costs, and what is in its tables."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg

from headrace.config import sqlalchemy_url
from headrace.local.mlflow_server import upgrade_mlflow_schema


class Lab:
    """One embedded Postgres with its default, durable settings; in it a migrated template, and clones of that."""

    def __init__(self, directory: Path, url: str) -> None:
        """Makes MLflow's tables and its Default experiment. Headrace makes its own schema as it starts."""
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        upgrade_mlflow_schema(url)
        SqlAlchemyStore(sqlalchemy_url(url), "mlflow-artifacts:/")._dispose_engine()  # type: ignore[no-untyped-call]
        self.directory = directory
        self._url = url
        self._clones = 0

    def cpu(self) -> float:
        """Seconds that Postgres has used so far, with its backends that have ended."""
        return cpu_of(int((self.directory / "postgres" / "postmaster.pid").read_text().split()[0]))

    def wal(self) -> int:
        """Bytes of write-ahead log so far, by the position in it: `pg_stat_wal` is told of them up to ten seconds later."""
        return int(ask(self._url, "SELECT pg_current_wal_insert_lsn() - '0/0'"))

    def postgres(self) -> dict[str, str]:
        """What a reader will ask about this Postgres."""
        names = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "shared_buffers")
        return {name: str(ask(self._url, f"SHOW {name}")) for name in names}

    @contextmanager
    def database(self) -> Iterator[str]:
        """A clone of the template, dropped at the end. Each begins right after a checkpoint."""
        self._clones += 1
        name = f"bench_{self._clones}"
        with psycopg.connect(self._url.replace("/mlflow?", "/postgres?"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE mlflow".encode())
            connection.execute("CHECKPOINT")
            try:
                yield self._url.replace("/mlflow?", f"/{name}?")
            finally:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def count_spans(url: str) -> int:
    """Spans in the table, each id once."""
    return int(ask(url, "SELECT count(DISTINCT span_id) FROM spans"))


def count_whole_traces(url: str, *, previews: bool) -> int:
    """Traces whose root is there and has said how the trace ended, and whose duration reaches from the first start to the last
    end of their spans; with `previews` only those that have the root's previews."""
    wanted = "AND t.request_preview IS NOT NULL AND t.response_preview IS NOT NULL" if previews else ""
    query = f"""
    SELECT count(*) FROM trace_info t JOIN (
        SELECT trace_id, (max(end_time_unix_nano) - min(start_time_unix_nano)) / 1000000 AS ms
        FROM spans GROUP BY trace_id HAVING bool_or(parent_span_id IS NULL)
    ) s ON s.trace_id = t.request_id
    WHERE t.status = 'OK' AND abs(t.execution_time_ms - s.ms) <= 1 {wanted}"""
    return int(ask(url, query))


def ask(url: str, query: str) -> Any:
    """The first value that a query gives."""
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
        return row and row[0]


def tree(pid: int) -> list[psutil.Process]:
    """A process and its descendants; empty when it is gone."""
    with suppress(psutil.Error):
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    return []


def cpu_of(pid: int) -> float:
    """Seconds of a process tree so far. What has ended is counted by its parent, so that nothing is lost."""
    seconds = 0.0
    for process in tree(pid):
        with suppress(psutil.Error):
            seconds += sum(process.cpu_times()[:4])  # its own, and its children's that have ended; user, system
    return seconds
