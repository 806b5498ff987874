"""The command line of `python -m bench` → a programme."""

import argparse
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import product

from bench.load import Plan
from bench.programme import Programme
from bench.servers import ROADS, processes
from bench.shapes import SHAPES
from bench.witness import NoWitnessError, build

_EPILOGUE = """python -m bench --quick      each shape once, Headrace and COPY, in about 6 minutes
python -m bench --all        everything once, in about 25 minutes; with --rounds 3 in an hour and a quarter
python -m bench --shape pieces,long --roads headrace,copy --rounds 1     a part of it"""
_ENCODED = ("10x10", "pieces", "pieces-whole", "agent", "agent-whole", "long")
"""The shapes that `--all` also sends with gzip, and over gRPC."""
_COMPARED = ("10x10", "8x8-llm")
"""The shapes of `--workers`, unless others are named."""
_VERSION = (
    "import sys, sysconfig, headrace; print(sys.version.split()[0] + 't' * bool(sysconfig.get_config_var('Py_GIL_DISABLED')))"
)


def parse() -> argparse.Namespace:
    """The options, checked. Ends the process where they make no sense."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="MLflow, Headrace and COPY, side by side.",
        epilog=_EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_arguments(parser.add_argument)
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.all or options.quick else 3)
    options.seconds = options.seconds or (3.0 if options.all or options.quick else 8.0)
    options.roads = options.roads or (["headrace", "copy"] if options.quick else [*ROADS, "copy"])
    for problem in _problems(options):
        parser.error(problem)
    return options


def _add_arguments(add: Callable[..., argparse.Action]) -> None:
    add("--quick", action="store_true", help="each shape once, headrace and copy, in about 6 minutes")
    add("--all", action="store_true", help="all of the below, in about 25 minutes")
    add("--shape", type=_names, help=f"some of {','.join(SHAPES)} [all]")
    add(
        "--roads",
        type=_names,
        help=f"some of {','.join(ROADS)},headrace-3,…,copy [{','.join(ROADS)},copy]; copy needs headrace",
    )
    add("--seconds", type=float, help="about how long each measurement lasts [8]")
    add("--rounds", type=int, help="measurements of each shape and road [3]")
    add("--concurrency", type=int, default=8, help="connections [%(default)s]")
    add("--transport", type=_names, default=["http"], help="http, grpc, or both [http]; MLflow has no gRPC")
    add("--encoding", type=_names, default=["none"], help="none, gzip, or both [none]")
    add("--latency", action="store_true", help="Headrace at half of its saturated rate, instead of the comparison")
    add("--workers", type=_names, help="e.g. 1,2,3,4: Headrace with so many processes, instead of the comparison")
    add("--telemetrygen", action="store_true", help="MLflow and Headrace under another generator's load; needs Go")
    add("--python", default=sys.executable, help="the interpreter that runs Headrace, which is installed for it")
    add("--save", action=argparse.BooleanOptionalAction, default=True, help="write bench/results")


def _names(text: str) -> list[str]:
    return text.split(",")


def _problems(options: argparse.Namespace) -> list[str]:
    known = {"shape": set(SHAPES), "transport": {"http", "grpc"}, "encoding": {"none", "gzip"}, "workers": set("123456789")}
    problems = [
        f"--{name} has {', '.join(sorted(unknown))}: choose of {', '.join(sorted(values))}"
        for name, values in known.items()
        if (unknown := set(getattr(options, name) or []) - values)
    ]
    for road in set(options.roads) - {"copy"}:
        try:
            processes(road)
        except ValueError as error:
            problems.append(str(error))
    if "copy" in options.roads and "headrace" not in options.roads:
        problems.append("copy copies what headrace wrote: --roads headrace,copy")
    return problems


def programme(options: argparse.Namespace) -> Programme:
    """What these options ask for. Raises NoWitnessError where telemetrygen was asked for and cannot be built."""
    made = Programme(python=options.python, python_name=_name_of(options.python))
    ways = [("http", "none")] if options.all or options.quick else list(product(options.transport, options.encoding))
    plans = [plan for way in ways for plan in _plans(options, options.shape or list(SHAPES), *way)]
    if options.all or options.quick:
        _whole(made, options, plans)
    elif options.latency:
        made.latency(plans, options.rounds)
    elif options.workers:
        if not options.shape:
            plans = [plan for plan in plans if plan.shape in _COMPARED]
        made.workers(plans, sorted(map(int, options.workers)), options.rounds)
    elif options.telemetrygen:
        made.telemetrygen = build()
        made.witness(_plans(options, ["10x10"], "http", "none")[0], options.roads, options.rounds)
    else:
        made.side_by_side(plans, options.roads, options.rounds)
    return made


def _whole(made: Programme, options: argparse.Namespace, plans: list[Plan]) -> None:
    """The comparison, gzip and gRPC for some shapes, and, for `--all`, everything else."""
    made.side_by_side(plans, options.roads, options.rounds)
    encoded = [shape for shape in (_ENCODED if options.all else ["10x10"]) if shape in (options.shape or SHAPES)]
    for way in (("http", "gzip"), ("grpc", "none")):
        made.side_by_side(_plans(options, encoded, *way), ["headrace"], options.rounds)
    if options.all:
        made.latency(plans, options.rounds, known="headrace" in options.roads)
        made.workers([plan for plan in plans if plan.shape in _COMPARED], [1, 2, 3, 4], options.rounds)
        try:
            made.telemetrygen = build()
            made.witness(plans[0], ["mlflow", "headrace"], options.rounds)
        except NoWitnessError as error:
            print(f"Without telemetrygen: {error}", flush=True)


def _plans(options: argparse.Namespace, shapes: list[str], transport: str, encoding: str) -> list[Plan]:
    plan = Plan("", options.concurrency, options.seconds, transport=transport, encoding=encoding.replace("none", ""))
    return [replace(plan, shape=shape) for shape in shapes]


def _name_of(python: str) -> str:
    """Its version; empty for the interpreter of this process."""
    if python == sys.executable:
        return ""
    try:
        done = subprocess.run([python, "-c", _VERSION], capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        sys.exit(f"{python} cannot run Headrace: install it for that Python first ({error}).\n{getattr(error, 'stderr', '')}")
    return f"Python {done.stdout.strip()}"
