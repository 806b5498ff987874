"""The seam between the receiver and the writer: a durable queue of accepted requests.

    receiver ── offer ──► queue ── claim ──► writer ── settle ──► queue

`open.py` chooses the implementation: `disk/` by default, `kafka/` with HEADRACE_QUEUE_URL. tests/fakes.py has one in memory
for unit tests.
All of them pass the contract suite of tests/contracts/queue.py.
"""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Item:
    """One accepted request, as `Queue.claim` hands it out.

    `token` says where the queue keeps the item. It is opaque: only the queue that made it reads it (the disk queue puts a row's
    id there; a partition and an offset fit as well). `envelope` is a serialized `headrace.v1.Envelope` (proto/).
    """

    token: object
    envelope: bytes
    refused: str = ""
    """Why it can never be written: then it becomes a dead letter at once. Only what others than Headrace have put into the
    queue can be so."""


@dataclass(frozen=True, slots=True)
class Size:
    """How full a queue is.

    `items` and `bytes` (of envelopes) count what was offered and is not settled yet. `oldest_unix_nano` is when the oldest of
    these items was offered; 0 for an empty queue. `refusal` says why the queue takes nothing now; empty: it takes requests.
    """

    items: int
    bytes: int
    max_bytes: int
    oldest_unix_nano: int
    refusal: str = ""


class Queue(Protocol):
    """A queue of one process. Every method may be called from any thread.

    At least once: an item that is not settled is handed out again after a restart. Within one life of the queue it is handed
    out once. Whoever claims must therefore write idempotently, and keep what was claimed until it is settled.

    In order: items come out in the order in which they were offered. An implementation with several partitions keeps this
    order for each trace only.

    Implementations: `DiskQueue`, `SharedQueue`, `KafkaQueue`.
    """

    def offer(self, envelope: bytes) -> "Future[None]":
        """Stores an item. The future is done once the item would survive a power cut.

        An offer whose future is cancelled may be stored all the same.

        Raises (at once, or through the future; the item is not acknowledged, and the client shall send it again):
            QueueFull: there is no space for it. Nothing of it is stored.
            QueueUnavailable: the queue is closed, or cannot write. Usually nothing of it is stored; after a fault in the middle
                of a commit it may be.
        """

    def claim(self, max_bytes: int, timeout: float) -> list[Item]:
        """Hands out the oldest items that no call has handed out yet: up to `max_bytes` of envelopes, but at least one item.

        Waits up to `timeout` seconds for the first one. Returns an empty list if none came, or if the queue was closed.

        Raises:
            QueueUnavailable: the queue cannot be read. No item is skipped: the next call begins with the same one.
        """

    def settle(self, items: Sequence[Item]) -> None:
        """Forgets claimed items, in any order: each is written, or is a dead letter.

        Returns before that is durable. After a crash an item that was settled just before it may be handed out again.
        """

    def size(self) -> Size:
        """How full the queue is. Cheap enough to be asked several times a second.

        Raises:
            QueueUnavailable: the queue cannot be read.
        """

    def drain(self, timeout: float) -> bool:
        """Waits until every item is settled, for `timeout` seconds at most. Returns whether that is so.

        The queue goes on to take offers: it is for the caller to end them before.
        """

    def close(self) -> None:
        """Takes no more offers, stores those that wait, wakes those who wait in `claim`, and gives the queue up.

        The items that are left are handed out when the queue is opened again. A second call does nothing.
        """
