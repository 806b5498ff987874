"""What the connections to Postgres wait for while it is measured."""

import re
import threading
from collections import Counter
from contextlib import suppress
from types import TracebackType

import psycopg
from typing_extensions import Self

_EVERY_SECONDS = 0.05
_ACTIVE = """
SELECT CASE WHEN state = 'active' THEN coalesce(wait_event_type || ':' || wait_event, 'CPU') ELSE 'idle' END, count(*)
FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid() GROUP BY 1"""
_KINDS = {
    "idle": r"idle|Client:.*",
    "WAL": r"(?:IO|LWLock|IPC):W(?:al|AL).*",
    "files of tables and indexes": r"IO:(?:DataFile|Slru|SLRU|Buffile).*|LWLock:RelationExtension|Lock:extend",
    "buffers": r"LWLock:Buffer.*|Buffer(?:Pin)?:.*",
    "locks": r"Lock:.*|LWLock:LockManager",
}
"""The kind of a wait event, by a pattern of its type and name; `CPU` where a backend works, and `other` for all else."""


class Waits:
    """Inside the block, the state of all connections to a database is looked at twenty times a second.

    The connection that looks is one of Postgres' own; what it costs is part of Postgres' CPU, about a hundredth of a core.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="waits", daemon=True)
        self._seen: Counter[str] = Counter()
        self._looks = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def shares(self) -> dict[str, float]:
        """Kind of wait → backends that were in it, in the mean. They are those that write, for the rest are idle."""
        kinds: Counter[str] = Counter()
        for event, count in self._seen.items():
            kinds[kind_of(event)] += count
        return {kind: count / max(1, self._looks) for kind, count in kinds.most_common()}

    def events(self) -> dict[str, float]:
        """Wait event → backends that were in it, in the mean; the most frequent ten."""
        return {event: count / max(1, self._looks) for event, count in self._seen.most_common(10)}

    def _look(self) -> None:
        with suppress(psycopg.Error), psycopg.connect(self._url, autocommit=True) as connection:
            while not self._over.wait(_EVERY_SECONDS):
                self._looks += 1
                for event, count in connection.execute(_ACTIVE).fetchall():
                    self._seen[event] += count


def kind_of(event: str) -> str:
    """The kind of a wait event `type:name`."""
    if event == "CPU":
        return event
    return next((kind for kind, pattern in _KINDS.items() if re.fullmatch(pattern, event)), "other")
