"""The threads in which questions wait for Postgres: as many as there are connections, whoever asks."""

from concurrent.futures import ThreadPoolExecutor

from headrace.config import Config
from headrace.errors import RateLimited

_MAX_WAITING = 64
"""Questions that wait for a connection to Postgres. One more is told to come again."""


class Room:
    """The threads, and how many questions there are. Entered and left on the event loop."""

    def __init__(self, config: Config) -> None:
        self.threads = ThreadPoolExecutor(config.read_connections, "reading")
        self._questions = 0
        self._most = config.read_connections + _MAX_WAITING

    def enter(self) -> None:
        """Raises RateLimited: too many questions wait."""
        if self._questions >= self._most:
            raise RateLimited("Too many questions wait for Postgres: ask again later.", 1)
        self._questions += 1

    def leave(self) -> None:
        """A question is answered."""
        self._questions -= 1

    def close(self) -> None:
        """Begins no further question."""
        self.threads.shutdown(wait=False, cancel_futures=True)
