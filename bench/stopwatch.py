"""The first five minutes on this machine, measured: `python -m bench.stopwatch` prints the table of docs/getting-started.md.

It builds the wheel, installs it with `[up]` into a fresh environment from an empty cache, starts `headrace up`, sends the first
trace and waits until MLflow shows it, stops, and starts once more. Wall time tells what a person waits; the processor's time
does not depend on what else runs here.
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.servers import free_port

ROOT = Path(__file__).parent.parent
_READY = "Headrace is ready"
_SECONDS = 900


def main() -> None:
    """Measures, and prints each line as soon as it is known."""
    parser = argparse.ArgumentParser(prog="python -m bench.stopwatch", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--pip", action="store_true", help="install with pip, not with uv")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-stopwatch-") as directory:
        Path(directory).chmod(0o711)  # the Postgres of root runs as another user
        print("| Step | Seconds | Of the processor |\n|---|--:|--:|", flush=True)
        _measure(Path(directory), options.pip)
    print(f"\n{os.cpu_count()} cores, Python {platform.python_version()}, load average {os.getloadavg()[0]:.1f}")


def _measure(directory: Path, with_pip: bool) -> None:
    wheels, environment = directory / "wheels", directory / "venv"
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(wheels), str(ROOT)]
    subprocess.run(build, check=True)
    (wheel,) = wheels.glob("*.whl")
    with _step(f"installation with {'pip' if with_pip else 'uv'}, download included"):
        _install(f"{wheel}[up]", environment, directory / "cache", with_pip)
    ports = {f"HEADRACE_{name}_PORT": str(free_port()) for name in ("HTTP", "GRPC", "UI", "CONSOLE", "JAEGER")}
    settings = {**os.environ, **ports, "HEADRACE_DATA_DIR": str(directory / "data")}
    for name in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE"):  # with the second, each start would compile all modules
        settings.pop(name, None)
    for start in ("first", "second"):
        log = directory / f"{start}.log"
        with log.open("wb") as output, _step(f"{start} start, until the MLflow UI answers") as running:
            process = subprocess.Popen([environment / "bin" / "headrace", "up"], env=settings, stdout=output, stderr=output)
            running.append(process)
            _wait(log, process)
        if start == "first":
            with _step("first trace: sent, and seen in MLflow"):
                subprocess.run([environment / "bin" / "headrace", "demo"], env=settings, check=True, capture_output=True)
        process.terminate()
        process.wait(60)


def _install(what: str, environment: Path, cache: Path, with_pip: bool) -> None:
    if with_pip:
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-cache-dir"]
        subprocess.run([*pip, "--disable-pip-version-check", what], check=True, timeout=_SECONDS)
        return
    uv = str(Path(sys.executable).with_name("uv"))
    settings = {**os.environ, "UV_CACHE_DIR": str(cache)}
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(environment)], check=True, env=settings)
    install = [uv, "pip", "install", "--quiet", "--python", str(environment / "bin" / "python"), what]
    subprocess.run(install, check=True, env=settings, timeout=_SECONDS)


def _wait(log: Path, process: "subprocess.Popen[bytes]") -> None:
    """Until the panel is printed."""
    deadline = time.monotonic() + _SECONDS
    while _READY not in log.read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"`headrace up` did not become ready:\n{log.read_text()}")
        time.sleep(0.02)


@contextmanager
def _step(name: str) -> Iterator["list[subprocess.Popen[bytes]]"]:
    """Measures a block. Processes that it lists go on afterwards; what they have used so far counts."""
    running: list[subprocess.Popen[bytes]] = []
    began, used = time.monotonic(), _used()
    yield running
    live = sum(_used_by(each.pid) for each in running)
    print(f"| {name} | {time.monotonic() - began:.1f} | {_used() - used + live:.1f} |", flush=True)


def _used() -> float:
    """Seconds of the processor, of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _used_by(pid: int) -> float:
    """The same of a process that runs, and of all below it."""
    import psutil

    tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return sum(sum(each.cpu_times()[:4]) for each in tree if each.is_running())


if __name__ == "__main__":
    main()
