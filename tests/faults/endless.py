"""Threads that work without end, until a block is left."""

import threading
from collections.abc import Callable, Mapping

from typing_extensions import Self


class Endless:
    """Inside the block each function runs in a thread of that name. At its end `stop` is set, and all of them are awaited."""

    def __init__(self, runs: Mapping[str, Callable[[], None]]) -> None:
        self.stop = threading.Event()
        self._threads = [threading.Thread(target=run, name=name) for name, run in runs.items()]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join()
