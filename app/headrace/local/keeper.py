"""The servers beside `headrace up`: each is waited for, and started again whenever it ends. The receiver lives without them."""

import threading
import time
from collections.abc import Callable, Iterable

from headrace.local.child import Child
from headrace.telemetry.logging import log

_LOOK_SECONDS = 0.2
_FIRST_PAUSE_SECONDS, _MOST_PAUSE_SECONDS = 1.0, 60.0


class Ready:
    """Calls `announce` once, when all of these parts have said that they answer. Safe for threads."""

    def __init__(self, parts: Iterable[str], announce: Callable[[], None]) -> None:
        self._silent = {*parts}
        self._announce = announce
        self._lock = threading.Lock()

    def answers(self, part: str) -> None:
        """Notes that a part answers."""
        with self._lock:
            last = self._silent == {part}
            self._silent.discard(part)
        if last:
            self._announce()


class Keeper:
    """A thread that keeps one server running.

    `patience_seconds`: if the server does not answer for so long after a start, a warning says so, and where its log is.
    """

    def __init__(self, server: Child, patience_seconds: float, ready: Ready) -> None:
        """`ready` is told when the server first answers, by the server's title."""
        self._server = server
        self._patience = patience_seconds
        self._ready = ready
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"headrace-{server.title}", daemon=True)
        self._database_url = ""

    def start(self, database_url: str) -> None:
        """Starts the server on this database. Returns at once."""
        self._database_url = database_url
        self._thread.start()

    def stop(self) -> None:
        """Ends the server and the thread."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._server.stop()

    def _keep(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        answered = False
        while not self._stopping.is_set():
            try:
                self._server.start(self._database_url)
                if self._wait_for_answer():
                    pause = _FIRST_PAUSE_SECONDS
                    self._tell(answered)
                    answered = True
                while self._server.running and not self._stopping.wait(_LOOK_SECONDS):
                    pass
                said = self._server.last_line()
            except OSError as error:  # no process, no descriptor, no room for the log
                said = str(error)
            if not self._stopping.is_set():
                log.error(
                    "a server of `up` has ended: starting it again",
                    server=self._server.title,
                    error=said,
                    log=str(self._server.log),
                    seconds=pause,
                )
                self._stopping.wait(pause)
                pause = min(_MOST_PAUSE_SECONDS, pause * 2)

    def _tell(self, again: bool) -> None:
        if again:
            log.info("a server of `up` answers again", server=self._server.title)
        else:
            self._ready.answers(self._server.title)

    def _wait_for_answer(self) -> bool:
        """Waits until the server answers. False: it ended before that, or is to stop."""
        warn_at: float | None = time.monotonic() + self._patience
        while not self._server.answers():
            if not self._server.running or self._stopping.wait(_LOOK_SECONDS):
                return False
            if warn_at is not None and time.monotonic() >= warn_at:
                warn_at = None
                log.warning(
                    "a server of `up` does not answer yet: waiting, and spans are taken meanwhile",
                    server=self._server.title,
                    seconds=self._patience,
                    log=str(self._server.log),
                )
        return True
