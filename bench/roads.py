"""The three roads into the same tables, each on a fresh database of one Postgres: MLflow, Headrace, and COPY as the limit."""

import math
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import psycopg
from bench.load import Outcome, Plan, generate
from bench.shapes import SHAPES
from typing_extensions import Self

from headrace.config import MLFLOW_DEFAULTS, sqlalchemy_url
from headrace.local.mlflow_server import upgrade_mlflow_schema

SERVERS = {"mlflow": 2, "headrace": 1, "headrace-2": 2}
"""The roads that are servers, and how many processes of each receive and write."""
_START_SECONDS, _DRAIN_SECONDS, _STOP_SECONDS = 90, 600, 20
_COMMIT_SPANS = 1000
_TABLES = ("trace_info", "spans", "trace_tags", "trace_request_metadata", "trace_metrics")  # foreign keys point left


@dataclass(slots=True)
class Measurement:
    """One road, one shape, one round. In seconds, from the first request to the last span in the table."""

    shape: str
    road: str
    spans: int = 0
    seconds: float = 0.0
    spans_per_second: float = 0.0
    refused_requests: int = 0
    ack: tuple[float, ...] = ()  # p50, p99; empty where the road has no such thing
    visible: tuple[float, ...] = ()
    cpu: tuple[
        float, ...
    ] = ()  # seconds a million spans: of the server, Postgres and the load generator; of COPY Postgres' alone
    peak_rss: tuple[int, ...] = ()  # bytes: the sum of the peaks of the server's processes
    failure: str = ""

    def __str__(self) -> str:
        done = f"{self.spans_per_second:>8,.0f} spans/s  {self.spans:>8,} spans in {self.seconds:.1f} s"
        refused = f"  {self.refused_requests} requests refused" if self.refused_requests else ""
        return f"{self.shape:<8} {self.road:<15}{done}{refused}{'  FAILED: ' if self.failure else ''}{self.failure}"


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
        return _cpu(int((self.directory / "postgres" / "postmaster.pid").read_text().split()[0]))

    def postgres(self) -> dict[str, str]:
        """What a reader will ask about this Postgres."""
        names = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "shared_buffers")
        return {name: str(_ask(self._url, f"SHOW {name}")) for name in names}

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


class Server:
    """`mlflow server` or `headrace serve`: inside the block it answers, after it its process tree is gone."""

    def __init__(self, road: str, directory: Path, url: str) -> None:
        directory.mkdir()
        self._log = directory / "log"
        self._headrace = road.startswith("headrace")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        if self._headrace:
            arguments = "headrace serve"
            settings = {
                "HEADRACE_DATABASE_URL": url,
                "HEADRACE_DATA_DIR": str(directory),
                "HEADRACE_HTTP_PORT": str(self.port),
                "HEADRACE_GRPC_PORT": "0",
                "HEADRACE_WORKERS": str(SERVERS[road]),
            }
        else:
            arguments = f"mlflow server --host 127.0.0.1 --port {self.port} --workers {SERVERS[road]}"
            arguments += f" --artifacts-destination {directory}"
            settings = {"MLFLOW_BACKEND_STORE_URI": sqlalchemy_url(url)}
        self._command = [sys.executable, "-m", *arguments.split()]
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "HEADRACE_"))}
        self._environment = kept | MLFLOW_DEFAULTS | settings

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:  # a session of its own: Ctrl-C reaches it through us, and our signals all of it
            process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log, start_new_session=True)
        self._process, self.pid = process, process.pid
        try:
            self._wait("/healthz" if self._headrace else "/health", "", _START_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        tree = _tree(self.pid)
        for kind in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self.pid, kind)
            psutil.wait_procs(tree, timeout=_STOP_SECONDS)
        self._process.wait()

    def written(self, outcome: Outcome) -> float:
        """Waits until all that was acknowledged is in the tables; when that was. MLflow answers no sooner."""
        if not self._headrace:
            return outcome.last
        self._wait("/readyz", '"requests":0,', _DRAIN_SECONDS)
        return time.monotonic()

    def visible(self) -> dict[float, float]:
        """So many requests were visible within so many seconds; empty where they are when they are acknowledged."""
        text = self._get("/metrics") if self._headrace else ""
        found = re.findall(r'^headrace_visible_seconds_bucket\{le="(.+)"\} (\S+)$', text, re.MULTILINE)
        return {float(bound): float(requests) for bound, requests in found}

    def peak_rss(self) -> int:
        """Bytes: the sum of its processes' peaks."""
        texts = [Path(f"/proc/{process.pid}/status").read_text() for process in _tree(self.pid)]
        return sum(1024 * int(found[1]) for text in texts if (found := re.search(r"VmHWM:\s+(\d+)", text)))

    def log_tail(self) -> str:
        """The last lines that it wrote."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-10:])

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return str(answer.read().decode())

    def _wait(self, path: str, words: str, seconds: float) -> None:
        """Asks until the answer has these words."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(OSError):
                if words in self._get(path):
                    return
            time.sleep(0.05)  # asking costs the server something
        raise RuntimeError(f"no {words or 'answer'} from {path} within {seconds} s")


def measure(lab: Lab, road: str, url: str, plan: Plan) -> Measurement:
    """Starts the server on this database and carries out the plan; the server's part of it is filled in."""
    result = Measurement(plan.shape, road)
    server = Server(road, lab.directory / f"server-{url.partition('?')[0].rpartition('/')[2]}", url)
    try:
        with server:
            plan = replace(plan, port=server.port, processes=SERVERS[road])
            warm, requests = _warm_up(server, plan)
            _load(lab, server, replace(plan, requests=plan.requests or requests), result)
        sent, found = warm * SHAPES[plan.shape].size + result.spans, _count(url)
        if sent != found or not result.spans:
            result.failure = f"{sent} spans were acknowledged, {found} are in the table"
    except (RuntimeError, OSError, subprocess.SubprocessError, psycopg.Error, psutil.Error) as error:
        result.failure = str(error)
    if result.failure:
        result.failure += f"; the end of the server's log:\n{server.log_tail()}"
    return result


def _warm_up(server: Server, plan: Plan) -> tuple[int, int]:
    """Sends more and more until that takes a second. Returns the requests acknowledged, and how many can be written then."""
    acknowledged, seconds, most = 0, 0.0, max(2, 2000 // SHAPES[plan.shape].size)
    for attempt in range(9):
        warm = generate(replace(plan, connections=min(plan.connections, most), seconds=1.0, requests=most, rate=0.0))
        seconds = server.written(warm) - warm.first
        acknowledged += warm.acknowledged
        if attempt and seconds >= 1:  # the first is slow for its coldness
            break
        most *= 4
    return acknowledged, max(plan.connections, int(warm.acknowledged / seconds * plan.seconds))


def _load(lab: Lab, server: Server, plan: Plan, result: Measurement) -> None:
    visible, server_cpu, postgres_cpu = server.visible(), _cpu(server.pid), lab.cpu()
    outcome = generate(plan)
    result.seconds = server.written(outcome) - outcome.first
    cpu = (_cpu(server.pid) - server_cpu, lab.cpu() - postgres_cpu, outcome.cpu)
    result.spans = outcome.acknowledged * SHAPES[plan.shape].size
    result.spans_per_second = result.spans / result.seconds
    result.refused_requests = outcome.refused
    result.ack = result.visible = tuple(outcome.ack)
    if buckets := {bound: requests - visible[bound] for bound, requests in server.visible().items()}:
        result.visible = (_quantile(buckets, 0.5), _quantile(buckets, 0.99))
    result.cpu = tuple(seconds * 1e6 / max(1, result.spans) for seconds in cpu)
    result.peak_rss = (server.peak_rss(),)


def copy(lab: Lab, shape: str, source: str) -> Measurement:
    """The limit: the rows of the database `source`, by COPY into the same tables with all their indexes and constraints."""
    result, wanted, blocks = Measurement(shape, "copy"), _count(source), list(_blocks(source))
    with lab.database() as url, psycopg.connect(url) as connection:
        cpu, started = lab.cpu(), time.monotonic()
        for block in blocks:
            for table, rows in zip(_TABLES, block, strict=True):
                with connection.cursor().copy(f"COPY {table} FROM STDIN".encode()) as stream:
                    stream.write(rows)
            connection.commit()
        result.seconds = time.monotonic() - started
        result.spans = _count(url)
        result.spans_per_second = result.spans / result.seconds
        result.cpu = ((lab.cpu() - cpu) * 1e6 / max(1, result.spans),)
    if result.spans != wanted or not wanted:
        result.failure = f"{wanted} spans were to be copied, {result.spans} are in the table"
    return result


def _blocks(url: str) -> Iterator[list[bytes]]:
    """A database's rows in blocks of whole traces with about a thousand spans; for each table what COPY takes."""
    with psycopg.connect(url) as connection:
        connection.execute("ALTER TABLE spans DROP COLUMN duration_ns")  # generated: COPY takes all but this one
        traces: dict[int, list[str]] = {}
        spans = 0
        for trace, size in connection.execute("SELECT trace_id, count(*) FROM spans GROUP BY trace_id").fetchall():
            traces.setdefault(spans // _COMMIT_SPANS, []).append(trace)
            spans += size
        for block in traces.values():
            rows = []
            for table in _TABLES:
                select = f"SELECT * FROM {table} WHERE {'trace_id' if table == 'spans' else 'request_id'} = ANY(%s)"
                with connection.cursor().copy(f"COPY ({select}) TO STDOUT".encode(), [block]) as stream:
                    rows.append(b"".join(stream))
            yield rows
        connection.rollback()


def _count(url: str) -> int:
    return int(_ask(url, "SELECT count(DISTINCT span_id) FROM spans"))


def _ask(url: str, query: str) -> Any:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
        return row and row[0]


def _quantile(buckets: dict[float, float], share: float) -> float:
    """As Prometheus' histogram_quantile: straight lines between the bounds, and the last finite one for what is above."""
    wanted, low, below = share * max(buckets.values()), 0.0, 0.0
    for bound, requests in sorted(buckets.items()):
        if requests >= wanted and requests > below:
            return low if bound == math.inf else low + (bound - low) * (wanted - below) / (requests - below)
        low, below = bound, requests
    return 0.0


def _tree(pid: int) -> list[psutil.Process]:
    with suppress(psutil.Error):
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    return []


def _cpu(pid: int) -> float:
    """Seconds of a process tree so far. What has ended is counted by its parent, so that nothing is lost."""
    seconds = 0.0
    for process in _tree(pid):
        with suppress(psutil.Error):
            seconds += sum(process.cpu_times()[:4])  # its own, and its children's that have ended; user, system
    return seconds
