"""The seam between the receiver and the worker: whoever can do these four things can stand between them.

`disk.py` is the one that ships. Items are opaque bytes (a serialized `headrace.v1.Envelope`, see proto/).
"""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Item:
    """One accepted request: its place in the queue, and its envelope."""

    id: int
    envelope: bytes


@dataclass(frozen=True, slots=True)
class Size:
    """How full the queue is. `oldest_unix_nano` is when the oldest item was offered; 0 for an empty queue.

    `refusal`: why it takes nothing more now; empty where it does.
    """

    items: int
    bytes: int
    max_bytes: int
    oldest_unix_nano: int
    refusal: str = ""


class Queue(Protocol):
    """At-least-once: an item is handed out again after a restart until it is settled."""

    def offer(self, envelope: bytes) -> "Future[None]":
        """Stores an item; the future is done once it would survive a power cut.

        Raises (at once, or through the future):
            QueueFull: it has no room. QueueUnavailable: it cannot write.
        """

    def claim(self, max_bytes: int, timeout: float) -> list[Item]:
        """The oldest unclaimed items, up to `max_bytes` but at least one; empty when none came within `timeout` s."""

    def settle(self, items: Sequence[Item]) -> None:
        """Forgets these items: they are written, or dead-lettered."""

    def size(self) -> Size:
        """How full it is; cheap."""
