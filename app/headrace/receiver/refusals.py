"""Who was refused of late, and why: a book in memory, for the operator. No I/O.

Counters say how much was refused. The log says whose it was, but once a minute only. The book has each sender, bounded.
"""

import threading
import time
from collections import OrderedDict
from dataclasses import asdict, dataclass
from typing import Any

from headrace.receiver.who import Who

_MOST = 100
"""Senders and reasons that are remembered; the one that was refused longest ago is forgotten first."""
_MAX_SAID = 300


@dataclass(slots=True)
class Refusal:
    """What was refused of one sender for one reason."""

    reason: str
    who: dict[str, str]
    """Address, user agent, key and services, as far as they are known."""
    times: int = 0
    last: float = 0.0
    """Unix seconds."""
    said: str = ""
    """What the sender was told last."""


class Book:
    """The refusals of one process. Any thread may write."""

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[str, ...], Refusal] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, reason: str, said: str, who: Who) -> None:
        """Notes one refusal."""
        fields = who.fields()
        key = (reason, *fields.values())
        with self._lock:
            entry = self._entries.pop(key, None) or Refusal(reason, fields)
            entry.times, entry.last, entry.said = entry.times + 1, time.time(), said[:_MAX_SAID]
            self._entries[key] = entry
            if len(self._entries) > _MOST:
                self._entries.popitem(last=False)

    def listed(self) -> list[dict[str, Any]]:
        """All of them, the latest first."""
        with self._lock:
            return [asdict(entry) for entry in reversed(self._entries.values())]


BOOK = Book()
"""That of this process."""
