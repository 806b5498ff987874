"""A second witness, not ours: telemetrygen, the load generator of OpenTelemetry's Collector.

It is built once, from the Go module proxy, into the user's directory for caches. Each span goes in a request of its own
(`--batch=false`): with batches it drops what its queue of 2,048 spans does not hold, without a word, and nobody can say what
was acknowledged. One process sends one request at a time, so there are as many processes as the bench has connections.
"""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import psycopg
from bench.lab import Lab, count_spans, cpu_of
from bench.load import Outcome
from bench.roads import Measurement
from bench.servers import Server

_MODULE, _VERSION = "github.com/open-telemetry/opentelemetry-collector-contrib/cmd/telemetrygen", "v0.149.0"
_CHILDREN = 9
_BUILD_SECONDS = 900
_FAILED = re.compile(r"^.*(?:traces export|failed to|error exporting).*$", re.MULTILINE | re.IGNORECASE)


class NoWitnessError(Exception):
    """telemetrygen cannot be built here; says why."""


def build() -> Path:
    """The program. Raises NoWitnessError where there is no Go, or it does not build."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "headrace-bench", f"telemetrygen-{_VERSION}")
    program = cache / "telemetrygen"
    if program.exists():
        return program
    if shutil.which("go") is None:
        raise NoWitnessError(
            "telemetrygen needs Go 1.25 or later to be built, and there is no `go` here: see https://go.dev/dl"
        )
    command = ["go", "install", "-buildvcs=false", f"{_MODULE}@{_VERSION}"]
    environment = os.environ | {"GOBIN": str(cache), "GOTOOLCHAIN": "local"}  # else an old Go fetches a newer one
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise NoWitnessError(f"telemetrygen was not built within {_BUILD_SECONDS} s") from None
    if done.returncode:
        raise NoWitnessError(f"telemetrygen could not be built:\n{done.stderr[-2000:]}")
    return program


def witness(lab: Lab, road: str, url: str, program: Path, seconds: float, clients: int) -> Measurement:
    """So many processes of telemetrygen for so long, traces of ten spans."""
    result = Measurement("telemetrygen", road)
    server = Server(road, lab.directory / f"witness-{road}", url)
    try:
        with server:
            warm, warm_failed, _ = _run(program, server.port, 1.0, clients)
            server.written(Outcome(0, 0, 0, 0, 0, time.monotonic(), [], 0))
            cpu, postgres_cpu, wal, first = cpu_of(server.pid), lab.cpu(), lab.wal(), time.monotonic()
            generated, failed, own_cpu = _run(program, server.port, seconds, clients)
            result.spans, result.refused_requests = generated - failed, failed
            outcome = Outcome(result.spans, failed, result.spans, 0, first, time.monotonic(), [], own_cpu)
            result.seconds = server.written(outcome) - first
            result.spans_per_second = result.requests_per_second = result.spans / result.seconds
            spent = (cpu_of(server.pid) - cpu, lab.cpu() - postgres_cpu, own_cpu)
            result.cpu = tuple(each * 1e6 / max(1, result.spans) for each in spent)
            result.wal, result.peak_rss = (lab.wal() - wal) / max(1, result.spans), (server.peak_rss(),)
        result.stored, result.warm = count_spans(url), warm - warm_failed
        if result.stored != result.spans + result.warm or not result.spans:
            result.failure = f"{result.spans + result.warm} spans were acknowledged, {result.stored} are in the table"
    except (RuntimeError, OSError, psycopg.Error, subprocess.SubprocessError) as error:
        result.failure = f"{error}; the end of the server's log:\n{server.log_tail()}"
    return result


def _run(program: Path, port: int, seconds: float, clients: int) -> tuple[int, int, float]:
    """Spans that were generated, those of them whose export failed, and seconds of CPU."""
    command = [
        *(str(program), "traces", "--otlp-http", "--otlp-insecure", "--otlp-endpoint", f"127.0.0.1:{port}"),
        *("--otlp-header", 'x-mlflow-experiment-id="0"', "--service", "telemetrygen", "--status-code", "Ok"),
        *("--child-spans", str(_CHILDREN), "--rate", "0", "--batch=false", "--duration", f"{seconds:.1f}s"),
    ]
    before = os.times()
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
        for _ in range(clients)
    ]
    try:
        logs = [process.communicate(timeout=seconds + 120)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    after = os.times()
    traces = [re.search(r'"traces generated".*"traces": (\d+)|traces generated\s+\{.*"traces": (\d+)', log) for log in logs]
    if any(process.returncode for process in running) or not all(traces):
        raise RuntimeError(f"telemetrygen failed: {logs[0][-1000:]}")
    generated = sum(int(found[1] or found[2]) for found in traces if found) * (1 + _CHILDREN)
    failed = sum(len(_FAILED.findall(log)) for log in logs)
    return generated, failed, sum(after[2:4]) - sum(before[2:4])
