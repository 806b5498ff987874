"""`make bench` measures: a small part of it, so that a change to the server's start does not break it unseen."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import pytest
from bench.load import Plan, generate

pytestmark = pytest.mark.timeout(500)

ROOT = Path(__file__).parents[2]
_SECONDS = 400
"""For one run of the bench, which takes 40 on two idle cores."""


def bench(*options: str) -> "subprocess.CompletedProcess[str]":
    """Runs `python -m bench`, half a second a measurement."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "app"), str(ROOT)])}
    command = [sys.executable, "-m", "bench", *options, "--seconds", "0.5", "--rounds", "1", "--no-save"]
    running = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=PIPE, stderr=PIPE, text=True)
    try:
        output, errors = running.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        running.terminate()  # it stops its servers and its Postgres
        output, errors = running.communicate(timeout=60)
    return subprocess.CompletedProcess(command, running.returncode, output, errors)


def measured(run: "subprocess.CompletedProcess[str]") -> dict[str, float]:
    """Shape and road → spans a second."""
    assert run.returncode == 0, run.stdout + run.stderr
    lines = [line.partition(" spans/s ")[0].split() for line in run.stdout.splitlines() if " spans in " in line]
    return {" ".join(words[:-1]): float(words[-1].replace(",", "")) for words in lines}


def test_the_benchmark_measures_each_kind_of_shape_and_each_way() -> None:
    """Whole, in pieces, long, an agent's; gzip and gRPC. Where a span or a whole trace is missing, the status is 1."""
    rates = measured(bench("--quick", "--shape", "10x10,pieces,long,agent"))
    ways = [f"{shape} {road}" for shape in ("10x10", "pieces", "long", "agent") for road in ("headrace", "copy")]
    assert list(rates) == [*ways, "10x10 gzip headrace", "10x10 grpc headrace"]
    assert all(rate > 0 for rate in rates.values())


def test_the_benchmark_measures_several_processes_and_half_of_the_rate() -> None:
    """With what Postgres' connections wait for; each request when it is due."""
    run = bench("--workers", "2", "--shape", "pieces-1", "--concurrency", "4")
    assert list(measured(run)) == ["pieces-1 headrace-2"]
    assert "WAL" in run.stdout
    assert list(measured(bench("--latency", "--shape", "1x10"))) == ["1x10 headrace", "1x10 headrace, half"]


def test_the_benchmark_says_what_it_does_not_know() -> None:
    run = bench("--shape", "3x3", "--roads", "copy")
    assert run.returncode == 2
    assert "--shape has 3x3" in run.stderr


def test_the_load_generator_ends_when_its_time_is_over_and_all_is_answered() -> None:
    """It once waited for an answer to nothing then, until the server closed the first idle connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        outcome = generate(Plan("1x1", connections=2, seconds=0.0, requests=5, port=server.getsockname()[1]))
    assert (outcome.acknowledged, outcome.refused) == (0, 0)
