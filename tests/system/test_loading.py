"""MLflow is imported by several threads at once when Headrace starts and requests wait already."""

import os
import subprocess
import sys
from pathlib import Path

_THREADS = """
import importlib, threading
from headrace.mlflow.loading import load_mlflow

MODULES = ("write.bulk", "write.logs", "write.finish", "write.prune", "write.retain", "write.waiting", "metrics.prune")
start = threading.Barrier(len(MODULES))

def load(name):
    start.wait()
    load_mlflow()
    importlib.import_module(f"headrace.mlflow.{name}")

threads = [threading.Thread(target=load, args=[name]) for name in MODULES]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_threads_that_need_mlflow_at_once_all_get_it() -> None:
    """Without the lock some of them found modules half done, or were told of a deadlock."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "app")}
    command = [sys.executable, "-c", _THREADS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
