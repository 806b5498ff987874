"""What `headrace retention --delete` costs those who send meanwhile: `python -m bench.retention --traces 100000`.

Old traces are written first, into one experiment. Then clients send into another experiment as fast as they are
answered, in turns with and without the command, which deletes the old ones. What else this machine does meets both.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench import fleet
from bench.lab import Lab, ask
from bench.load import Plan, generate
from bench.servers import Server

from headrace.config import MLFLOW_DEFAULTS, sqlalchemy_url
from headrace.local.postgres import EmbeddedPostgres


class Turn(NamedTuple):
    """What came of one. Acknowledgements in milliseconds."""

    spans: float
    """A second."""
    p50: float
    p99: float
    deleted: float
    """Traces a second."""
    refused: int
    postgres: float
    """Seconds of the processor a second."""


def main() -> None:
    """Prints a line for each turn, and the medians."""
    parser = argparse.ArgumentParser(prog="python -m bench.retention", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--traces", type=int, default=100_000, help="old traces, of 10 spans each [%(default)s]")
    parser.add_argument("--rounds", type=int, default=3, help="[%(default)s]")
    parser.add_argument("--seconds", type=float, default=20, help="of a turn [%(default)s]")
    parser.add_argument("--shape", default="10x10", help="traces and spans of a request [%(default)s]")
    parser.add_argument("--connections", type=int, default=8, help="[%(default)s]")
    parser.add_argument(
        "--rate", type=float, default=0, help="requests a second; 0: as fast as they are answered [%(default)s]"
    )
    options = parser.parse_args()
    os.environ.update(MLFLOW_DEFAULTS)
    with tempfile.TemporaryDirectory(prefix="headrace-retention-") as place:
        Path(place).chmod(0o711)
        with EmbeddedPostgres(Path(place) / "postgres") as postgres:
            lab = Lab(Path(place), postgres.url)
            with lab.database() as url, Server("headrace", Path(place) / "server", url) as server:
                old = _old_traces(url, options.traces)
                _measure(lab, url, old, server, options)
    print(f"\n{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}")


def _old_traces(url: str, traces: int) -> str:
    """Writes them; the id of their experiment."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore(sqlalchemy_url(url), "mlflow-artifacts:/")  # type: ignore[no-untyped-call]
    old = str(store.create_experiment("old"))  # type: ignore[no-untyped-call]
    store._dispose_engine()  # type: ignore[no-untyped-call]
    begun = time.monotonic()
    for _ in fleet.build(url, [old], traces, 2):
        pass
    print(f"{traces:,} old traces, {traces * fleet.SPANS:,} spans, written in {time.monotonic() - begun:.0f} s.\n", flush=True)
    return old


def _measure(lab: Lab, url: str, old: str, server: Server, options: argparse.Namespace) -> None:
    requests = round(options.rate * options.seconds) or 1_000_000
    plan = Plan(options.shape, options.connections, options.seconds, requests, rate=options.rate, port=server.port)
    generate(replace(plan, seconds=3.0, requests=max(1, requests // 4)))  # the first requests find nothing in the caches
    print("| Deletion | spans/s | ack p50, ms | ack p99, ms | refused | traces deleted/s | Postgres, cores |")
    print("|---|--:|--:|--:|--:|--:|--:|", flush=True)
    turns: dict[bool, list[Turn]] = {False: [], True: []}
    for number in range(options.rounds):
        for deletes in (False, True) if number % 2 == 0 else (True, False):
            turns[deletes].append(_turn(lab, url, old, server, plan, deletes=deletes))
            print(_line("with" if deletes else "without", turns[deletes][-1]), flush=True)
    for deletes, found in turns.items():
        middle = Turn(*(median(values) for values in zip(*found, strict=True)))
        print(_line(f"**{'with' if deletes else 'without'}, median**", middle), flush=True)


def _turn(lab: Lab, url: str, old: str, server: Server, plan: Plan, *, deletes: bool) -> Turn:
    before, cpu, begun = _count(url, old), lab.cpu(), time.monotonic()
    with _deletion(url, old, runs=deletes):
        outcome = generate(plan)
    seconds, cpu = time.monotonic() - begun, lab.cpu() - cpu
    gone = before - _count(url, old)
    server.written(outcome)
    p50, p99 = outcome.ack
    length = outcome.last - outcome.first
    return Turn(outcome.spans / length, p50 * 1000, p99 * 1000, gone / seconds, outcome.refused, cpu / seconds)


@contextmanager
def _deletion(url: str, old: str, *, runs: bool) -> Iterator[None]:
    """The command, from its first deletion to the end of the block, where it is stopped."""
    if not runs:
        yield
        return
    command = [sys.executable, "-m", "headrace", "retention", "--experiment", old, "--keep", "0", "--delete"]
    there = _count(url, old)
    with subprocess.Popen(command, env=os.environ | {"HEADRACE_DATABASE_URL": url}, stdout=subprocess.DEVNULL) as process:
        try:
            while _count(url, old) == there and process.poll() is None:
                time.sleep(0.1)
            yield
            if process.poll() is not None:
                print("(all old traces were gone before the turn was over: take more)", flush=True)
        finally:
            process.terminate()


def _count(url: str, experiment: str) -> int:
    return int(ask(url, f"SELECT count(*) FROM trace_info WHERE experiment_id = {int(experiment)}"))


def _line(name: str, turn: Turn) -> str:
    rest = f"{turn.refused:.0f} | {turn.deleted:,.0f} | {turn.postgres:.2f} |"
    return f"| {name} | {turn.spans:,.0f} | {turn.p50:.1f} | {turn.p99:.1f} | {rest}"


if __name__ == "__main__":
    main()
