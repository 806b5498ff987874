"""`make bench`: MLflow's own /v1/traces, Headrace, and COPY as the limit, side by side. docs/benchmark.md explains it.

python -m bench --quick                                                     each shape once
python -m bench --shape 10x10 --roads headrace,mlflow --seconds 3 --rounds 1     a part of it, quickly
python -m bench --latency                                                      Headrace at half of what it can take
"""

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn

from bench import options as command_line
from bench import report
from bench.lab import Lab
from bench.programme import PROCESSES, TELEMETRYGEN, Programme
from bench.roads import Measurement
from bench.witness import NoWitnessError
from rich.console import Console
from rich.markdown import Markdown

from headrace.local.postgres import EmbeddedPostgres

console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
"""In a file the table needs no fewer columns than it has."""


def main() -> int:
    """The exit status: 1 where a row failed, 2 where the tools are missing, 130 when interrupted."""
    options = command_line.parse()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    measured: dict[str, list[Measurement]] = {}
    try:
        programme = command_line.programme(options)
        with (
            tempfile.TemporaryDirectory(prefix="headrace-bench-") as name,
            EmbeddedPostgres(Path(name, "postgres")) as postgres,
        ):
            lab = Lab(Path(name), postgres.url)
            about = report.facts(lab, vars(options))
            _carry_out(lab, programme, measured)
    except NoWitnessError as error:
        console.print(str(error), markup=False, soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        console.print("Interrupted: everything is stopped, nothing saved.")
        return 130
    return _report(options, about, measured)


def _carry_out(lab: Lab, programme: Programme, measured: dict[str, list[Measurement]]) -> None:
    """Says before each step which it is, and how long all will go on."""
    expected, began, passed = sum(step.seconds for step in programme.steps), time.monotonic(), 0.0
    console.print(f"{len(programme.steps)} measurements; on an idle machine about {_minutes(expected)}.")
    for number, step in enumerate(programme.steps, 1):
        pace = max(1.0, (time.monotonic() - began) / passed) if passed else 1.0
        left = _minutes((expected - passed) * pace)
        console.print(f"[{number}/{len(programme.steps)}, {left} left] {step.name} …", markup=False, soft_wrap=True)
        for measurement in programme.run(lab, step):
            measured.setdefault(step.section, []).append(measurement)
            console.print(str(measurement), markup=False, soft_wrap=True)
        passed += step.seconds


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _report(options: argparse.Namespace, about: dict[str, object], measured: dict[str, list[Measurement]]) -> int:
    forms = {PROCESSES: report.costs, TELEMETRYGEN: report.witnessed}
    tables = {title: forms.get(title, report.table)(found) for title, found in measured.items()}
    for title, table in tables.items():
        console.print(Markdown(f"**{title}**\n\n{table}"))
    every = [measurement for found in measured.values() for measurement in found]
    if options.save:
        name = "latency" if options.latency else "workers" if options.workers else "latest"
        name = "telemetrygen" if options.telemetrygen and not options.all else name
        console.print(f"Saved: {report.save(name, tables, about, every)}", soft_wrap=True)
    return int(any(measurement.failure for measurement in every))


def _interrupt(*_: object) -> NoReturn:
    """Once: what follows is the stopping, which takes some seconds and is not to be interrupted."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
