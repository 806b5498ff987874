"""`headrace top`: asks a receiver for its numbers again and again, and shows the road of a span in a terminal."""

import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.cli.console import fail, stdout

if TYPE_CHECKING:
    from headrace.cli.top_view import Seen
    from headrace.console.web.road import Numbers
    from headrace.console.web.watch import Ask

_KEPT = 1_000
"""Samples that are remembered."""


def top(url: str, api_key: str, ca: Path | None, interval: float, once: bool) -> None:
    """Shows the numbers of the receiver at `url`; empty: of HEADRACE_RECEIVER_URL, or of this machine.

    `interval`: seconds between two questions. With `once`, or where stdout is no terminal, it asks twice, so that there are
    rates, prints the numbers and returns.

    Raises:
        StartError: nobody answers to the first question, or not as Headrace does.
    """
    from headrace.config import load
    from headrace.console.web.watch import Receiver, receiver_url

    config = load()
    where = (url or receiver_url(config)).rstrip("/")
    watcher = _Watcher(where, Receiver(where, _trust(url, ca), "headrace-top"), config.mlflow_api, api_key)
    watcher.first()
    pause = threading.Event()
    if once or not sys.stdout.isatty():
        pause.wait(interval)
        watcher.look()
        _print(watcher)
    else:
        _live(watcher, lambda: pause.wait(interval))


def _trust(url: str, ca: Path | None) -> ssl.SSLContext | None:
    """Whose certificates are believed: `ca`'s; of a URL that was named, the system's; of this machine itself, anybody's."""
    from headrace.errors import StartError

    try:
        return ssl.create_default_context(cafile=str(ca)) if ca else ssl.create_default_context() if url else None
    except OSError as error:
        raise StartError(f"--ca {ca} cannot be used ({error}): name a file of PEM certificates.") from None


class _Watcher:
    """What was seen of one receiver, and of MLflow beside it."""

    def __init__(self, url: str, ask: "Ask", mlflow: str, api_key: str) -> None:
        self._url, self._ask, self._mlflow = url, ask, mlflow
        self._headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._samples: deque[Numbers] = deque(maxlen=_KEPT)
        self._error = ""

    def first(self) -> None:
        """The first question, whose answer decides whether there is anything to show."""
        from headrace.errors import StartError

        self.look()
        if self._error:
            raise StartError(
                f"No Headrace answers at {self._url} ({self._error.rstrip('.')}). Is it running? --url names another, "
                "`headrace doctor` looks for the reason."
            )

    def look(self) -> None:
        """Asks once."""
        from headrace.console.web.watch import sample

        found = sample(self._ask)
        if isinstance(found, str):
            self._error = found
        else:
            self._error = "" if found.known else "its /metrics are not Headrace's"
            if found.known:
                self._samples.append(found)

    def seen(self) -> "Seen":
        """What is to be drawn now."""
        from headrace.cli.top_view import Seen
        from headrace.console.web.senders import senders

        refused = [] if self._error else senders(self._ask, self._headers)
        return Seen(self._url, list(self._samples), self._error, self._mlflow_state(), refused, time.time())

    def _mlflow_state(self) -> str:
        from headrace.doctor.running import ask

        try:
            status, body = ask(f"{self._mlflow}/version")
        except (OSError, ValueError):
            return f"does not answer at {self._mlflow}"
        return f"{body[:40].decode('utf-8', 'replace').strip()} at {self._mlflow}" if status == 200 else f"answers {status}"


def _print(watcher: _Watcher) -> None:
    from headrace.cli.top_view import draw

    seen = watcher.seen()
    stdout().print(draw(seen))
    if seen.error:
        fail(f"It answers no more: {seen.error}")


def _live(watcher: _Watcher, wait: Callable[[], object]) -> None:
    """Draws on a screen of its own, which leaves the terminal as it was."""
    from rich.live import Live

    from headrace.cli.top_view import draw

    with Live(draw(watcher.seen()), console=stdout(), screen=True, auto_refresh=False) as live:
        while True:
            wait()
            watcher.look()
            live.update(draw(watcher.seen()), refresh=True)
