"""The servers that are measured: `mlflow server` and `headrace serve`, each on a database of its own."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import psutil
from bench.lab import tree
from bench.load import Outcome
from typing_extensions import Self

from headrace.config import MLFLOW_DEFAULTS, sqlalchemy_url

ROADS = ("mlflow", "headrace", "headrace-2")
"""Those that are servers, of all that are compared unless others are named. `headrace-3` has three processes, and so on."""
_START_SECONDS, _DRAIN_SECONDS, _STOP_SECONDS = 90, 600, 20


def processes(road: str) -> int:
    """How many processes of a server receive and write. Raises ValueError for what is no server."""
    if found := re.fullmatch(r"headrace(?:-([2-9]))?", road):
        return int(found[1] or 1)
    if road == "mlflow":
        return 2
    raise ValueError(f"no such road: {road}")


def free_port() -> int:
    """A port that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """`mlflow server` or `headrace serve`: inside the block it answers, after it its process tree is gone."""

    def __init__(self, road: str, directory: Path, url: str, python: str = sys.executable) -> None:
        """`python` runs Headrace. MLflow is always run by this process' own."""
        directory.mkdir()
        self._log = directory / "log"
        self._headrace = road != "mlflow"
        self.port, self.grpc_port = free_port(), free_port() if self._headrace else 0
        if self._headrace:
            arguments = "headrace serve"
            settings = {
                "HEADRACE_DATABASE_URL": url,
                "HEADRACE_DATA_DIR": str(directory),
                "HEADRACE_HTTP_PORT": str(self.port),
                "HEADRACE_GRPC_PORT": str(self.grpc_port),
                "HEADRACE_WORKERS": str(processes(road)),
            }
        else:
            arguments = f"mlflow server --host 127.0.0.1 --port {self.port} --workers {processes(road)}"
            arguments += f" --artifacts-destination {directory}"
            settings = {"MLFLOW_BACKEND_STORE_URI": sqlalchemy_url(url)}
        self._command = [python if self._headrace else sys.executable, "-m", *arguments.split()]
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "HEADRACE_"))}
        self._environment = kept | MLFLOW_DEFAULTS | settings

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:  # a session of its own: Ctrl-C reaches it through us, and our signals all of it
            process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log, start_new_session=True)
        self._process, self.pid = process, process.pid
        try:
            self._wait("/healthz" if self._headrace else "/health", "", _START_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        processes_of_it = tree(self.pid)
        for kind in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self.pid, kind)
            psutil.wait_procs(processes_of_it, timeout=_STOP_SECONDS)
        self._process.wait()

    def written(self, outcome: Outcome) -> float:
        """Waits until all that was acknowledged is in the tables; when that was. MLflow answers no sooner."""
        if not self._headrace:
            return outcome.last
        self._wait("/readyz", '"requests":0,', _DRAIN_SECONDS)
        return time.monotonic()

    def visible(self) -> dict[float, float]:
        """So many requests were visible within so many seconds; empty where they are when they are acknowledged."""
        text = self._get("/metrics") if self._headrace else ""
        found = re.findall(r'^headrace_visible_seconds_bucket\{le="(.+)"\} (\S+)$', text, re.MULTILINE)
        return {float(bound): float(requests) for bound, requests in found}

    def peak_rss(self) -> int:
        """Bytes: the sum of its processes' peaks."""
        texts = [Path(f"/proc/{process.pid}/status").read_text() for process in tree(self.pid)]
        return sum(1024 * int(found[1]) for text in texts if (found := re.search(r"VmHWM:\s+(\d+)", text)))

    def log_tail(self) -> str:
        """The last lines that it wrote."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-10:])

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return str(answer.read().decode())

    def _wait(self, path: str, words: str, seconds: float) -> None:
        """Asks until the answer has these words."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(OSError):
                if words in self._get(path):
                    return
            time.sleep(0.05)  # asking costs the server something
        raise RuntimeError(f"no {words or 'answer'} from {path} within {seconds} s")
