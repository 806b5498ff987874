"""What a worker process of `supervisor.py` does around its work: it shares its metrics, and watches the others.

Importing this module must not import `headrace.telemetry.metrics`: the process first says that its metrics are shared, and only
then makes them.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path

from headrace.config import Config
from headrace.errors import HeadraceError

_ORPHAN_SECONDS = 3.0
"""Time for a worker without a supervisor to answer the requests in hand. Meanwhile it still has its port and its queue."""

Work = Callable[[Config, str, int, Callable[[], None]], None]
"""The function that a worker process runs. Its arguments: settings, the database's URL, the worker's number, and what to call
once it takes requests."""


def run_worker(
    work: Work,
    config: Config,
    database_url: str,
    number: int,
    restarts: int,
    metrics: Path,
    link: "Connection[str, str]",
) -> None:
    """Runs in the worker's process. Until it takes requests a SIGTERM ends it at once: it has nothing to complete yet."""
    _prepare(config, number, metrics)

    from headrace.telemetry.metrics import PART_RESTARTS

    def on_ready() -> None:
        PART_RESTARTS.labels("worker-process").inc(restarts)  # not before: a run that ends at its start counts for the next
        link.send("")

    try:
        work(config, database_url, number, on_ready)
    except HeadraceError as error:
        link.send(str(error))
        raise SystemExit(1) from None


def _prepare(config: Config, number: int, metrics: Path) -> None:
    """Metrics come first: whatever is imported after that may make some."""
    _share_metrics(metrics, number)

    from headrace.mlflow.libraries import leave_out_libraries
    from headrace.telemetry.logging import configure_logging

    leave_out_libraries()
    configure_logging(config.log_format, config.log_level, number)
    _watch_the_others(metrics, set(range(config.workers)) - {number})


def _share_metrics(metrics: Path, number: int) -> None:
    """From now on this process keeps its metrics in files of this directory, and its id in another one beside them.

    All workers read these files for `/metrics`. They are named by the worker's number, so that a worker that is started again
    goes on counting.
    """
    from prometheus_client import values

    metrics.mkdir(parents=True, exist_ok=True)  # somebody may have removed it
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(metrics)
    values.ValueClass = values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]
    (metrics / f"{number}.pid").write_text(str(os.getpid()))


def _watch_the_others(metrics: Path, others: set[int]) -> None:
    """Has `/healthz` report the other workers' processes, and this process stop when the supervisor is gone."""
    from headrace.parts import Part, PartThread

    for other in others:
        Part(f"worker-process-{other}", lives=partial(_is_alive, metrics / f"{other}.pid")).enter()
    PartThread("supervisor-watch", _end_with_supervisor).start()


def _is_alive(pid_file: Path) -> bool:
    """Whether another worker's process exists. True for one that has not written its file yet: it is being started."""
    try:
        os.kill(int(pid_file.read_text()), 0)
    except ProcessLookupError:
        return False
    except (OSError, ValueError):
        return True
    return True


def _end_with_supervisor() -> None:
    from headrace.telemetry.logging import log

    supervisor = multiprocessing.parent_process()
    assert supervisor is not None  # noqa: S101 - we were spawned
    wait([supervisor.sentinel])
    log.error("the supervisor is gone: stopping")
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_ORPHAN_SECONDS)
    os._exit(1)  # nothing is lost: what is queued is on disk
