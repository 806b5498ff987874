"""Questions to Postgres about experiments, asked while a client waits for its answer."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from headrace.errors import DatabaseUnavailable
from headrace.store.database import Database

_ANSWER_SECONDS = 2.0
"""So long may Postgres think about experiments while a client waits: one that hangs is away."""
_T = TypeVar("_T")


class Questions:
    """Its threads are its own: those that hang with Postgres must not be missing for large bodies."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._threads = ThreadPoolExecutor(2, "headrace-experiments")

    @property
    def hopeless(self) -> bool:
        """Postgres is known to be away."""
        return self._database.state.away

    async def ask(self, question: Callable[[], _T]) -> _T:
        """The answer, if it comes while a client may wait for it.

        Raises:
            DatabaseUnavailable: there is none in time. Besides, what `question` raises.
        """
        asked = asyncio.get_running_loop().run_in_executor(self._threads, question)
        try:
            return await asyncio.wait_for(asked, _ANSWER_SECONDS)
        except asyncio.TimeoutError:
            self._database.note(f"no answer within {_ANSWER_SECONDS:g} s")
            raise DatabaseUnavailable("Postgres does not answer in time.") from None
