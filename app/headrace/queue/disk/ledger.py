"""What a disk queue knows without reading its file: how much it holds, what waits for its writer, and why it accepts nothing.

Everything that several threads share stands here, behind one lock.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from enum import IntEnum
from typing import NamedTuple, Protocol

from headrace.errors import QueueUnavailable
from headrace.queue import Item, Size
from headrace.queue.disk.capacity import Capacity


class Offer(NamedTuple):
    """An envelope that waits to be committed, and the future that its offerer waits for."""

    envelope: bytes
    future: "Future[None]"

    def end(self, error: Exception | None = None) -> None:
        """Acknowledges the offer, or refuses it. If the future was cancelled meanwhile, the item stays in the queue and will be
        written."""
        if self.future.set_running_or_notify_cancel():
            if error is None:
                self.future.set_result(None)
            else:
                self.future.set_exception(error)


class Round(NamedTuple):
    """The work of one transaction: offers to store, and items to delete."""

    offers: list[Offer]
    settled: list[Item]


class Trouble(IntEnum):
    """Why the queue accepts nothing. If there are several troubles at once, clients are told the first one of this list."""

    DAMAGED = 1
    WRITER_ENDED = 2
    FILES_LOST = 3
    DISK_REFUSES = 4
    """The last commit failed. Offers are still tried, because the next one may succeed."""


class Observer(Protocol):
    """Follows a `DiskQueue`, to keep something beside it. An observer may raise only what its methods say."""

    def placed(self) -> None:
        """Called when the queue's directory exists: at the start, and each time it had to be made again.

        Raises:
            QueueUnavailable: what belongs beside the queue cannot be kept.
        """

    def changed(self, size: Size) -> None:
        """Called with the queue's new numbers: before an offer is acknowledged, and after settled items are deleted.

        It is called under the queue's lock, in the order of the changes. It must be quick, and must not call the queue.
        """


class Ledger:
    """The numbers, the waiting work and the troubles of one queue. Every method may be called from any thread."""

    def __init__(self, capacity: Capacity, observer: Observer | None) -> None:
        self._capacity = capacity
        self._observer = observer
        self._lock = threading.RLock()  # guards everything below, and `capacity`
        self._work = threading.Condition(self._lock)  # for the writer: there is something to store, or to delete
        self._stored = threading.Condition(self._lock)  # for all others: something was stored, or is gone
        self._offers: list[Offer] = []
        self._settled: list[Item] = []
        self._closed = False
        self._items = self._bytes = self._oldest = 0
        self._committed_up_to = 0
        self._troubles: dict[Trouble, str] = {}

    @property
    def is_observed(self) -> bool:
        """Whether there is an observer."""
        return self._observer is not None

    @property
    def is_full(self) -> bool:
        """Whether offers are refused because the queue, or its disk, is full."""
        return bool(self._capacity.refusal)

    @property
    def queued_bytes(self) -> int:
        """Bytes of envelopes in the queue, waiting ones included."""
        return self._bytes

    def offer(self, envelope: bytes) -> "Future[None]":
        """See `Queue.offer`. The bytes are counted at once, so that concurrent offers cannot overshoot the limit."""
        offer = Offer(envelope, Future())
        with self._lock:
            if self._closed:
                raise QueueUnavailable("Headrace is stopping: send the batch again.")
            if reason := self._obstacle():
                raise QueueUnavailable(reason)
            try:
                self._capacity.take(self._bytes, len(envelope))
                self._add(1, len(envelope))
                self._offers.append(offer)
                self._work.notify()
            finally:  # a refusal is news, too
                self._tell()
        return offer.future

    def settle(self, items: Sequence[Item]) -> None:
        """See `Queue.settle`."""
        with self._lock:
            self._settled.extend(items)
            self._work.notify()

    def close(self) -> None:
        """Takes no more offers, and wakes everybody who waits here."""
        with self._lock:
            self._closed = True
            self._work.notify()
            self._stored.notify_all()

    def wait_beyond(self, id_: int, timeout: float) -> int:
        """Waits until an item with a higher id is committed. Returns the highest id; `id_` if none came, or once closed."""
        with self._lock:
            self._stored.wait_for(lambda: self._committed_up_to > id_ or self._closed, timeout)
            return id_ if self._closed else max(id_, self._committed_up_to)

    def drain(self, timeout: float) -> bool:
        """See `Queue.drain`."""
        with self._lock:
            return bool(self._stored.wait_for(lambda: self._items == 0, timeout))

    def next_round(self, seconds: float) -> Round | None:
        """Waits up to `seconds` for work. Returns an empty round if none came, and None once the queue is closed and all work
        is done."""
        with self._lock:
            asked = self._work.wait_for(lambda: self._offers or self._settled or self._closed, seconds)
            due = Round(self._offers, self._settled)
            self._offers, self._settled = [], []
        return None if asked and not due.offers and not due.settled else due

    def committed(self, due: Round, last_id: int) -> int:
        """Notes that this round is committed. `last_id` is the id of its last offer. Returns how many bytes of envelopes its
        deletes freed."""
        freed = sum(len(item.envelope) for item in due.settled)
        with self._lock:
            self._troubles.pop(Trouble.DISK_REFUSES, None)
            if due.offers:
                self._committed_up_to = last_id
            self._add(-len(due.settled), -freed)
            self._stored.notify_all()
            self._tell()
        return freed

    def refuse(self, offers: Sequence[Offer], reason: str) -> None:
        """Refuses these offers: their offerers get the error."""
        with self._lock:
            self._add(-len(offers), -sum(len(offer.envelope) for offer in offers))
            self._stored.notify_all()
            self._tell()
        for offer in offers:
            offer.end(QueueUnavailable(reason))

    def settle_again(self, items: list[Item]) -> bool:
        """Puts back deletes that could not be written, unless the queue is closed. Then their items are written a second time,
        which changes nothing."""
        with self._lock:
            again = bool(items) and not self._closed
            if again:
                self._settled = items + self._settled
        return again

    def writer_ended(self, due: Round, reason: str) -> None:
        """Notes that the writer ended somewhere in this round. Its offers are refused, and its deletes are put back.

        It is not known what was committed, until `recount` is called with what the file holds.
        """
        with self._lock:
            self._troubles[Trouble.WRITER_ENDED] = reason
            offers, self._offers = due.offers + self._offers, []
            self._settled = due.settled + self._settled
            self._tell()
        for offer in offers:
            if not offer.future.done():
                offer.end(QueueUnavailable(reason))

    def take_settled(self) -> list[Item]:
        """Takes all deletes that wait. The caller has to write them."""
        with self._lock:
            items, self._settled = self._settled, []
        return items

    def recount(self, items: int, size: int, last_id: int) -> None:
        """Sets the numbers to what the file holds. The writer runs again."""
        with self._lock:
            self._items, self._bytes = items, size
            self._committed_up_to = max(last_id, self._committed_up_to)
            self._troubles.pop(Trouble.WRITER_ENDED, None)
            self._stored.notify_all()
            self._tell()

    def set_trouble(self, trouble: Trouble, reason: str) -> None:
        """Notes a trouble. An empty reason: it is over."""
        with self._lock:
            self._troubles.pop(trouble, None)
            if reason:
                self._troubles[trouble] = reason
            self._tell()

    def trouble(self, trouble: Trouble) -> str:
        """The reason that was noted for this trouble. Empty: there is none."""
        return self._troubles.get(trouble, "")

    def set_oldest(self, unix_nano: int) -> None:
        """Notes when the oldest item was offered. Only an observer needs it."""
        with self._lock:
            self._oldest = unix_nano
            self._tell()

    def size(self, oldest_unix_nano: int) -> Size:
        """The queue's size. The age comes from the file."""
        with self._lock:
            self._capacity.look(self._bytes)
            self._tell()
            return self._size(oldest_unix_nano)

    def _add(self, items: int, size: int) -> None:
        self._items += items
        self._bytes += size

    def _tell(self) -> None:
        if self._observer is not None:
            self._observer.changed(self._size(self._oldest))

    def _size(self, oldest: int) -> Size:
        refusal = self._obstacle() or self._capacity.refusal or self.trouble(Trouble.DISK_REFUSES)
        return Size(self._items, self._bytes, self._capacity.max_bytes, oldest if self._items else 0, refusal)

    def _obstacle(self) -> str:
        """Why an offer is refused at once. Empty: it is tried."""
        if not self._troubles:
            return ""
        first = min(self._troubles)
        return "" if first is Trouble.DISK_REFUSES else self._troubles[first]
