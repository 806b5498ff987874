"""`make bench` measures: a small part of it, so that a change to the server's start does not break it unseen."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_benchmark_measures_headrace() -> None:
    options = ["--shape", "1x10", "--roads", "headrace,copy", "--seconds", "0.5", "--rounds", "1", "--no-save"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "app"), str(ROOT)])}
    command = [sys.executable, "-m", "bench", *options]
    run = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    measured = [line.split() for line in run.stdout.splitlines() if " spans/s " in line]
    assert [(shape, road) for shape, road, *_ in measured] == [("1x10", "headrace"), ("1x10", "copy")]
    assert all(float(rate.replace(",", "")) > 0 for _, _, rate, *_ in measured)
