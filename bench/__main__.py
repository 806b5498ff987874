"""`make bench`: MLflow's own /v1/traces, Headrace, and COPY as the limit, side by side. docs/benchmark.md explains it.

python -m bench --shape 10x10 --roads headrace,mlflow --seconds 3 --rounds 1     a part of it, quickly
python -m bench --latency                                                      Headrace at half of what it can take
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from bench import report
from bench.load import Plan
from bench.roads import SERVERS, Lab, Measurement, copy, measure
from bench.shapes import SHAPES
from rich.console import Console
from rich.markdown import Markdown

from headrace.local.postgres import EmbeddedPostgres

_ROADS = (*SERVERS, "copy")
_OPEN_LOOP_CONNECTIONS = 64  # so many that a late answer does not keep the next request from being sent
console = Console(highlight=False)


def main() -> int:
    """The exit status: 1 where a row failed, 130 when interrupted."""
    options = _options()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    measurements: list[Measurement] = []
    try:
        with (
            tempfile.TemporaryDirectory(prefix="headrace-bench-") as name,
            EmbeddedPostgres(Path(name, "postgres")) as postgres,
        ):
            lab = Lab(Path(name), postgres.url)
            about = report.facts(lab, vars(options))
            with closing((_latency if options.latency else _throughput)(lab, options)) as running:
                for measurement in running:
                    measurements.append(measurement)
                    console.print(str(measurement), markup=False, soft_wrap=True)
    except KeyboardInterrupt:
        console.print("Interrupted: everything is stopped, nothing saved.")
        return 130
    console.print(Markdown(report.table(measurements)))
    if options.save:
        name, title = ("latency", "Headrace at half of its saturated rate") if options.latency else ("latest", "Side by side")
        console.print(f"Saved: {report.save(name, title, about, measurements)}", soft_wrap=True)
    return int(any(measurement.failure for measurement in measurements))


def _throughput(lab: Lab, options: argparse.Namespace) -> Generator[Measurement, None, None]:
    """The roads take turns, round by round, so that whatever else this machine does meets all of them."""
    for shape in options.shape:
        for road in [road for road in SERVERS if road in options.roads] * options.rounds:
            with lab.database() as url:
                yield measure(lab, road, url, Plan(shape, options.concurrency, options.seconds))
                if road == "headrace" and "copy" in options.roads:
                    yield copy(lab, shape, url)


def _latency(lab: Lab, options: argparse.Namespace) -> Generator[Measurement, None, None]:
    """First as fast as it can; then at half of that, each request sent when it is due."""
    for shape in options.shape * options.rounds:
        with lab.database() as url:
            saturated = measure(lab, "headrace", url, Plan(shape, options.concurrency, options.seconds))
        yield saturated
        if not saturated.failure:
            rate = saturated.spans_per_second / SHAPES[shape].size / 2
            with lab.database() as url:
                plan = Plan(shape, _OPEN_LOOP_CONNECTIONS, options.seconds, int(rate * options.seconds) + 1, rate)
                yield replace(measure(lab, "headrace", url, plan), road="headrace, half")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="MLflow, Headrace and COPY, side by side.")
    add = parser.add_argument
    add("--shape", type=lambda text: text.split(","), default=list(SHAPES), help=f"some of {','.join(SHAPES)}")
    add(
        "--roads",
        type=lambda text: text.split(","),
        default=list(_ROADS),
        help=f"some of {','.join(_ROADS)}; copy needs headrace",
    )
    add("--seconds", type=float, default=8.0, help="about how long each measurement lasts [%(default)s]")
    add("--rounds", type=int, default=3, help="measurements of each shape and road [%(default)s]")
    add("--concurrency", type=int, default=8, help="connections [%(default)s]")
    add("--latency", action="store_true", help="Headrace at half of its saturated rate, instead of the comparison")
    add("--save", action=argparse.BooleanOptionalAction, default=True, help="write bench/results")
    options = parser.parse_args()
    if unknown := set(options.shape) - set(SHAPES) | set(options.roads) - set(_ROADS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if "copy" in options.roads and "headrace" not in options.roads:
        parser.error("copy copies what headrace wrote: --roads headrace,copy")
    return options


def _interrupt(*_: object) -> NoReturn:
    """Once: what follows is the stopping, which takes some seconds and is not to be interrupted."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
