"""The MLflow UI beside `headrace up`: it is waited for, and started again whenever it ends. The receiver lives without it."""

import threading
import time
from collections.abc import Callable

from headrace.local.mlflow_server import MlflowServer
from headrace.telemetry.logging import log

_LOOK_SECONDS = 0.2
_FIRST_PAUSE_SECONDS, _MOST_PAUSE_SECONDS = 1.0, 60.0


class UiKeeper:
    """A thread that keeps one MLflow server running. `on_ready` is called once, when both it and the receiver answer.

    `patience_seconds`: if the server does not answer for so long, a warning says so, and where its log is.
    """

    def __init__(self, server: MlflowServer, patience_seconds: float, on_ready: Callable[[], None]) -> None:
        self._server = server
        self._patience = patience_seconds
        self._on_ready = on_ready
        self._stopping, self._receiver_answers = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._keep, name="headrace-ui", daemon=True)
        self._database_url = ""

    def start(self, database_url: str) -> None:
        """Starts the server on this database. Returns at once."""
        self._database_url = database_url
        self._thread.start()

    def receiver_answers(self) -> None:
        """Notes that the receiver takes requests."""
        self._receiver_answers.set()

    def stop(self) -> None:
        """Ends the server and the thread."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._server.stop()

    def _keep(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not self._stopping.is_set():
            try:
                self._server.start(self._database_url)
                if self._wait_for_answer():
                    pause = _FIRST_PAUSE_SECONDS
                    self._announce()
                while self._server.running and not self._stopping.wait(_LOOK_SECONDS):
                    pass
                said = self._server.last_line()
            except OSError as error:  # no process, no descriptor, no room for the log
                said = str(error)
            if not self._stopping.is_set():
                log.error("MLflow's server has ended: starting it again", error=said, log=str(self._server.log), seconds=pause)
                self._stopping.wait(pause)
                pause = min(_MOST_PAUSE_SECONDS, pause * 2)

    def _wait_for_answer(self) -> bool:
        """Waits until the server answers. False: it ended before that, or is to stop."""
        warn_at: float | None = time.monotonic() + self._patience
        while not self._server.answers():
            if not self._server.running or self._stopping.wait(_LOOK_SECONDS):
                return False
            if warn_at is not None and time.monotonic() >= warn_at:
                warn_at = None
                log.warning(
                    "the MLflow UI does not answer yet: waiting, and spans are taken meanwhile",
                    seconds=self._patience,
                    log=str(self._server.log),
                )
        return True

    def _announce(self) -> None:
        """Calls `on_ready` when the receiver answers, too."""
        while not self._receiver_answers.wait(_LOOK_SECONDS):
            if self._stopping.is_set():
                return
        announce, self._on_ready = self._on_ready, lambda: log.info("the MLflow UI answers again")
        announce()
