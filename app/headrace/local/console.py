"""The console beside `headrace up`: `headrace console` as a process of its own, so that reading never slows writing.

It is started again whenever it ends.
"""

import sys
import threading
from collections.abc import Mapping

from headrace.config import Config
from headrace.local.child import Child, browsable
from headrace.telemetry.logging import log

_LOOK_SECONDS = 0.2
_FIRST_PAUSE_SECONDS, _MOST_PAUSE_SECONDS = 1.0, 60.0


class ConsoleProcess(Child):
    """`headrace console` on a database, with the settings of this process."""

    def __init__(self, config: Config, http_port: int) -> None:
        """`http_port`: that of the receiver, which it asks for its numbers."""
        super().__init__("console", "headrace", config.data_dir, [sys.executable, "-m", "headrace", "console"])
        scheme = "http" if config.tls_cert is None else "https"
        self.url = config.console_url or f"{scheme}://{browsable(config.console_host)}:{config.console_port}"
        self._settings = {
            "HEADRACE_DATA_DIR": str(config.data_dir),
            "HEADRACE_HOST": config.host,
            "HEADRACE_HTTP_PORT": str(http_port),
            "HEADRACE_UI_PORT": str(config.ui_port),
        }

    def environment(self, database_url: str) -> Mapping[str, str]:
        """See `Child.environment`."""
        return {**self._settings, "HEADRACE_DATABASE_URL": database_url}


class ConsoleKeeper:
    """A thread that keeps one console running. The receiver lives without it."""

    def __init__(self, console: ConsoleProcess) -> None:
        self._console = console
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="headrace-console", daemon=True)
        self._database_url = ""

    def start(self, database_url: str) -> None:
        """Starts the console on this database. Returns at once."""
        self._database_url = database_url
        self._thread.start()

    def stop(self) -> None:
        """Ends the console and the thread."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._console.stop()

    def _keep(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not self._stopping.is_set():
            try:
                self._console.start(self._database_url)
                while self._console.running and not self._stopping.wait(_LOOK_SECONDS):
                    pass
                said = self._console.last_line()
            except OSError as error:  # no process, no descriptor, no room for the log
                said = str(error)
            if not self._stopping.is_set():
                log.error("the console has ended: starting it again", error=said, log=str(self._console.log), seconds=pause)
                self._stopping.wait(pause)
                pause = min(_MOST_PAUSE_SECONDS, pause * 2)
