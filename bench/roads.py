"""The roads into the same tables: MLflow, Headrace, and COPY as the limit. One measurement of each."""

import math
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import psutil
import psycopg
from bench.lab import Lab, ask, count_spans, count_whole_traces, cpu_of
from bench.load import Outcome, Plan, generate
from bench.servers import Server, processes
from bench.shapes import SHAPES
from bench.waits import Waits

_COMMIT_SPANS = 1000
_TABLES = ("trace_info", "spans", "trace_tags", "trace_request_metadata", "trace_metrics")  # foreign keys point left
_JOIN_SECONDS = 30.0
_BUSY = 0.6
"""The share of a core from which on the load generator may be what limits."""


@dataclass(slots=True)
class Measurement:
    """One road, one shape, one round. In seconds, from the first request to the last span in the table."""

    shape: str
    """With what is unusual about its way: `10x10 grpc gzip`."""
    road: str
    whole: str = ""
    """The same of the shape with whole traces."""
    spans: int = 0
    """That were acknowledged; of COPY, that were written."""
    warm: int = 0
    """Acknowledged while the server was warmed up."""
    stored: int = 0
    """Of both, in the table at the end."""
    seconds: float = 0.0
    spans_per_second: float = 0.0
    requests_per_second: float = 0.0
    refused_requests: int = 0
    ack: tuple[float, ...] = ()  # p50, p99; empty where the road has no such thing
    visible: tuple[float, ...] = ()
    cpu: tuple[
        float, ...
    ] = ()  # seconds a million spans: of the server, Postgres and the load generator; of COPY Postgres' alone
    load: float = 0.0  # the share of a core that the load generator took
    wal: float = 0.0  # bytes of write-ahead log a span
    waits: dict[str, float] = field(default_factory=dict)  # kind → connections that waited so, in the mean
    events: dict[str, float] = field(default_factory=dict)  # the same by Postgres' names
    peak_rss: tuple[int, ...] = ()  # bytes: the sum of the peaks of the server's processes
    failure: str = ""

    def __str__(self) -> str:
        done = f"{self.spans_per_second:>8,.0f} spans/s  {self.spans:>8,} spans in {self.seconds:.1f} s"
        done += f"  {self.refused_requests} requests refused" if self.refused_requests else ""
        done += f"  the load generator took {self.load:.0%} of a core" if self.load > _BUSY else ""
        return f"{self.shape:<15} {self.road:<12}{done}{'  FAILED: ' if self.failure else ''}{self.failure}"


@dataclass(slots=True)
class _Sent:
    """All that was acknowledged, in warm-up and measurement."""

    spans: int = 0
    traces: int = 0
    refused: int = 0

    def add(self, outcome: Outcome) -> Outcome:
        self.spans, self.traces = self.spans + outcome.spans, self.traces + outcome.traces
        self.refused += outcome.refused
        return outcome


def measure(lab: Lab, road: str, url: str, plan: Plan, *, python: str = sys.executable, watch: bool = False) -> Measurement:
    """Starts the server on this database and carries out the plan; the server's part of it is filled in. `watch`: also what
    Postgres' connections wait for."""
    whole = SHAPES[plan.shape].whole
    result = Measurement(plan.name, road, replace(plan, shape=whole).name if whole else "")
    server = Server(road, lab.directory / f"server-{url.partition('?')[0].rpartition('/')[2]}", url, python)
    try:
        with server:
            port = server.grpc_port if plan.transport == "grpc" else server.port
            plan, sent = replace(plan, port=port, processes=processes(road)), _Sent()
            requests = _warm_up(server, plan, sent)
            plan = replace(plan, requests=plan.requests or requests)
            with Waits(url) if watch else nullcontext() as waits:
                _load(lab, server, plan, sent, result)
            if waits:
                result.waits, result.events = waits.shares(), waits.events()
        result.stored, result.warm = count_spans(url), sent.spans - result.spans
        result.failure = _missing(url, result.stored, sent, road) or _unjoined(url)
    except (RuntimeError, OSError, subprocess.SubprocessError, psycopg.Error, psutil.Error) as error:
        result.failure = str(error)
    if result.failure:
        result.failure += f"; the end of the server's log:\n{server.log_tail()}"
    return result


def _missing(url: str, found: int, sent: _Sent, road: str) -> str:
    """What is not in the tables as it should be; empty when all is. What was refused may have left traces without root."""
    if sent.spans != found or not found:
        return f"{sent.spans} spans were acknowledged, {found} are in the table"
    whole = count_whole_traces(url, previews=road != "mlflow")
    if whole < sent.traces or (whole > sent.traces and not sent.refused):
        return f"{sent.traces} traces were acknowledged to their end, {whole} are whole in the tables"
    return ""


def _unjoined(url: str) -> str:
    """Says so if log records still wait for their spans, long after these were written. Records that the writer of their span
    has missed join it a second later."""
    if not ask(url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'headrace' AND tablename = 'waiting_log'"):
        return ""
    until = time.monotonic() + _JOIN_SECONDS
    while (waiting := ask(url, "SELECT count(*) FROM headrace.waiting_log")) and time.monotonic() < until:
        time.sleep(0.2)
    return f"{waiting} log records did not join their spans" if waiting else ""


def _warm_up(server: Server, plan: Plan, sent: _Sent) -> int:
    """Sends more and more until that takes a second, or the plan's time. How many requests can be written in the latter?"""
    most, enough = max(2, int(2000 / SHAPES[plan.shape].size)), min(1.0, plan.seconds)
    for attempt in range(9):
        warm = generate(replace(plan, connections=min(plan.connections, most), seconds=enough, requests=most, rate=0.0))
        seconds = server.written(sent.add(warm)) - warm.first
        if attempt and seconds >= enough:  # the first is slow for its coldness
            break
        most *= 4
    return max(plan.connections, int(warm.acknowledged / seconds * plan.seconds))


def _load(lab: Lab, server: Server, plan: Plan, sent: _Sent, result: Measurement) -> None:
    visible, server_cpu, postgres_cpu, wal = server.visible(), cpu_of(server.pid), lab.cpu(), lab.wal()
    outcome = sent.add(generate(plan))
    result.seconds = server.written(outcome) - outcome.first
    cpu = (cpu_of(server.pid) - server_cpu, lab.cpu() - postgres_cpu, outcome.cpu)
    result.spans, result.refused_requests = outcome.spans, outcome.refused
    result.spans_per_second = result.spans / result.seconds
    result.requests_per_second = outcome.acknowledged / result.seconds
    result.ack = result.visible = tuple(outcome.ack)
    if buckets := {bound: requests - visible[bound] for bound, requests in server.visible().items()}:
        result.visible = (_quantile(buckets, 0.5), _quantile(buckets, 0.99))
    result.cpu = tuple(seconds * 1e6 / max(1, result.spans) for seconds in cpu)
    result.load = outcome.cpu / (outcome.last - outcome.first)
    result.wal = (lab.wal() - wal) / max(1, result.spans)
    result.peak_rss = (server.peak_rss(),)


def copy(lab: Lab, plan: Plan, source: str) -> Measurement:
    """The limit: the rows of the database `source`, by COPY into the same tables with all their indexes and constraints."""
    result, wanted, blocks = Measurement(plan.name, "copy"), count_spans(source), list(_blocks(source))
    with lab.database() as url, psycopg.connect(url) as connection:
        cpu, wal, started = lab.cpu(), lab.wal(), time.monotonic()
        for block in blocks:
            for table, rows in zip(_TABLES, block, strict=True):
                with connection.cursor().copy(f"COPY {table} FROM STDIN".encode()) as stream:
                    stream.write(rows)
            connection.commit()
        result.seconds = time.monotonic() - started
        result.spans = result.stored = count_spans(url)
        result.spans_per_second = result.spans / result.seconds
        result.cpu = ((lab.cpu() - cpu) * 1e6 / max(1, result.spans),)
        result.wal = (lab.wal() - wal) / max(1, result.spans)
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


def _quantile(buckets: dict[float, float], share: float) -> float:
    """As Prometheus' histogram_quantile: straight lines between the bounds, and the last finite one for what is above."""
    wanted, low, below = share * max(buckets.values()), 0.0, 0.0
    for bound, requests in sorted(buckets.items()):
        if requests >= wanted and requests > below:
            return low if bound == math.inf else low + (bound - low) * (wanted - below) / (requests - below)
        low, below = bound, requests
    return 0.0
