"""The process of MLflow's server: MLflow's own commands, in one interpreter that has imported MLflow before the database is up.

    python -m headrace.local.mlflow_process --host 127.0.0.1 …        # the options of `mlflow server`

It reads orders on stdin, one a line: the command and the URL of the database, with a blank between them. `upgrade` is `mlflow
db upgrade`; an empty line on stdout answers it, or a line with what went wrong. `serve` is `mlflow server`, and the last order.
If stdin ends before that, so does the process: its parent is gone. All else that MLflow says goes to stderr.

`mlflow server` imports MLflow to check the database, and starts uvicorn in a second interpreter that imports it again: seconds
each. Here its code runs unchanged, but for that second interpreter: `serve_here` takes its place.
"""

import gc
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, TextIO

APP = "mlflow.server.fastapi_app:app"
"""What `mlflow server` serves, unless it is given an `--app-name`."""
READ_LATER = frozenset(
    {
        *("_MLFLOW_SERVER_FILE_STORE", "_MLFLOW_SERVER_READ_REPLICA_BACKEND_STORE", "_MLFLOW_SERVER_REGISTRY_STORE"),
        *("_MLFLOW_SERVER_ARTIFACT_ROOT", "_MLFLOW_SERVER_SERVE_ARTIFACTS", "_MLFLOW_SERVER_ARTIFACT_DESTINATION"),
        *("MLFLOW_SERVER_SECRETS_CACHE_TTL", "MLFLOW_SERVER_SECRETS_CACHE_MAX_SIZE", "MLFLOW_FLASK_SERVER_SECRET_KEY"),
        *("_MLFLOW_SERVER_BOOT_ID", "_MLFLOW_IN_JOB_EXECUTOR", "_MLFLOW_SGI_NAME", "_MLFLOW_HUEY_STORAGE_PATH"),
        "_MLFLOW_SERVER_TLS_LISTENER",
    }
)
"""Variables that `mlflow server` sets for its second interpreter and that no module of MLflow 3.14 to 3.18 reads while it is
imported. With any other variable the second interpreter is started."""


def main() -> None:
    """See the top."""
    orders, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what MLflow prints
    import_mlflow()
    for order in orders:
        command, _, url = order.strip().partition(" ")
        if command == "upgrade":
            print(_upgrade(url), file=answers, flush=True)
        else:
            os.environ["MLFLOW_BACKEND_STORE_URI"] = url
            _serve(answers)


def import_mlflow() -> None:
    """Imports all that the server needs. uvicorn comes first: by it MLflow's modules know that they are to be a server.

    Without the garbage collector, which finds nothing in a hundred thousand new functions and classes: a tenth of the time.
    """
    gc.disable()
    for name in ("uvicorn.main", "mlflow.cli", "mlflow.server.fastapi_app"):
        import_module(name)
    gc.freeze()
    gc.enable()


def _upgrade(url: str) -> str:
    """`mlflow db upgrade` → what went wrong, in a line; empty if nothing did."""
    try:
        _cli().main(["db", "upgrade", url], standalone_mode=False)
    except Exception as error:  # MLflow's, SQLAlchemy's, alembic's
        return " ".join(f"{type(error).__name__}: {error}".split())
    return ""


def _serve(answers: TextIO) -> None:
    """`mlflow server`. Does not return."""
    answers.close()
    stay_in_one_interpreter(import_module("mlflow.server"))
    _cli().main(["server", *sys.argv[1:]], prog_name="mlflow")


def stay_in_one_interpreter(server: Any) -> None:
    """Puts `serve_here` before what the module `mlflow.server` starts its second interpreter with. A release that does so in
    another way goes on doing so."""
    if (start := getattr(server, "_exec_cmd", None)) is not None:
        server._exec_cmd = lambda command, **options: serve_here(command, options.get("extra_env")) or start(command, **options)


def _cli() -> Any:
    return import_module("mlflow.cli").cli


def serve_here(command: Sequence[str], variables: Mapping[str, str] | None) -> "Server | None":
    """What `mlflow server` would start → the same in this interpreter. None: it is not as known here, and must be started."""
    is_known = list(command[:3]) == [sys.executable, "-m", "uvicorn"] and command[-1] == APP
    if not is_known or variables is None or not READ_LATER.issuperset(variables):
        return None
    os.environ.update(variables)
    return Server(command[3:])


class Server:
    """uvicorn in this interpreter, with the methods of `subprocess.Popen` that `mlflow server` calls."""

    def __init__(self, options: Sequence[str]) -> None:
        """`options`: of uvicorn's command line."""
        self.pid = os.getpid()
        self._options = options

    def wait(self) -> int:
        """Serves until a signal. SIGTERM and SIGINT are uvicorn's meanwhile. Returns 0."""
        import uvicorn.main

        uvicorn.main.main(self._options, prog_name="uvicorn", standalone_mode=False)
        return 0

    def poll(self) -> int | None:
        """None: it has not ended, as long as anybody here can ask."""
        return None

    def send_signal(self, number: int) -> None:
        """For MLflow's handler of signals: uvicorn does not serve yet, or no more, so that the process ends. For another
        thread: uvicorn gets the signal."""
        if threading.current_thread() is threading.main_thread():
            sys.exit(128 + number)
        os.kill(self.pid, number)

    def terminate(self) -> None:
        """See `subprocess.Popen`."""
        self.send_signal(signal.SIGTERM)


if __name__ == "__main__":
    main()
