"""The long run, `make fuzz`: each target so many times, guided by coverage where atheris is installed, else at random.

python -m fuzz [--runs 200000] [--seed 1] [target …]
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

from headrace.config import MLFLOW_DEFAULTS

TARGETS = ("protobuf", "json", "gzip", "deflate", "zstd", "stacked")
INSTRUMENTED = ["headrace", "google.protobuf.json_format", "mlflow.tracing.otel.translation"]
_CHATTER = re.compile(r"#|{|INFO|WARNING|\d+ bodies")


def main() -> int:
    """Each target in a process of its own, as libFuzzer never returns. The exit status is the number of those with findings."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="target", help=f"any of {', '.join(TARGETS)}; all of them by default")
    parser.add_argument("--runs", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"unknown target: {unknown.pop()}")
    os.environ.update(MLFLOW_DEFAULTS)
    if options.corpus:
        run_here(options.targets[0], options.runs, options.seed, options.corpus)
        return 0
    return sum(not _run(name, options.runs, options.seed) for name in options.targets or TARGETS)


def _run(name: str, runs: int, seed: int) -> bool:
    """Whether all is well with this target."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="headrace-fuzz-") as corpus:
        options = ["--corpus", corpus, "--runs", str(runs), "--seed", str(seed)]
        command = [sys.executable, "-m", "fuzz", *options, name]
        done = subprocess.run(command, text=True, capture_output=True, check=False)
    tally = next((line for line in reversed(done.stdout.splitlines()) if "bodies" in line), "")
    well = done.returncode == 0
    print(f"{name}: {'ok' if well else 'FAILED'} in {time.monotonic() - started:.0f} s: {tally}", flush=True)
    if not well:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if not _CHATTER.match(line)]
        print(*(line[:2000] for line in lines), sep="\n", flush=True)
    return well


def run_here(name: str, runs: int, seed: int, corpus: Path) -> None:
    """One target in this process."""
    if find_spec("atheris") is None:
        _configure()
        from fuzz import bodies, core

        print(core.run(bodies.TARGETS[name], runs, str(seed)))
        return
    atheris: Any = import_module("atheris")
    with atheris.instrument_imports(include=INSTRUMENTED):
        from fuzz import bodies, core
    _configure()
    target, tally = bodies.TARGETS[name], core.Tally()

    def one(data: bytes) -> None:
        core.drive(*target.split(data), tally)
        if tally.outcomes.total() % 1000 == 0 or tally.outcomes.total() == runs:
            print(f"{tally}, peak {core.memory_mib('VmHWM')} MiB, {dict(tally.permanent)}", flush=True)

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        random = Random(seed)
        return target.mutate(data, random)[:max_size] if random.random() < 0.8 else bytes(atheris.Mutate(data, max_size))

    for number, data in enumerate(target.seeds()):
        (corpus / str(number)).write_bytes(data)
    limits = [f"-runs={runs}", f"-seed={seed}", f"-max_len={bodies.MAX_BYTES}", "-rss_limit_mb=3072", "-timeout=60"]
    limits.append(f"-artifact_prefix={tempfile.gettempdir()}/headrace-fuzz-{name}-")
    atheris.Setup([sys.argv[0], *limits, str(corpus)], one, custom_mutator=mutate)
    atheris.Fuzz()


def _configure() -> None:
    from headrace.telemetry.logging import configure_logging

    configure_logging("json", "error")


if __name__ == "__main__":
    sys.exit(main())
