"""A queue elsewhere, and a disk queue for the time that it takes nothing (HEADRACE_SPILL=disk).

    offer ──► the queue elsewhere ──► done
       └── refused, or something waits on disk already ──► disk ──► done        disk ── claim ──► elsewhere ──► settle

While anything waits on disk, all offers go there. So what comes later does not overtake it.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress

from headrace.errors import BodyTooLarge, HeadraceError, QueueError
from headrace.parts import PartThread
from headrace.queue import Item, Queue, Size
from headrace.telemetry.kafka import SPILLED
from headrace.telemetry.logging import log

_CLAIM_SECONDS = 0.2
_AGAIN_SECONDS = 1.0


class SpillQueue:
    """A `Queue` that offers to `elsewhere` and, while that refuses, to `disk`. A thread forwards what is on disk, in order.

    What is claimed comes from `elsewhere` alone. `keeps`: whether new requests may go to disk; if not, what an earlier life has
    left there is forwarded, and nothing is added.
    """

    def __init__(self, elsewhere: Queue, disk: Queue, batch_bytes: int, keeps: bool = True) -> None:
        self._elsewhere, self._disk, self._batch_bytes, self._keeps = elsewhere, disk, batch_bytes, keeps
        self._lock = threading.Lock()
        self._waiting = disk.size().items  # on disk, or on their way there
        self._closed = False
        self._batch: list[Item] = []  # claimed from the disk, and not all of it forwarded
        if self._waiting:
            log.info("requests on disk go to kafka", requests=self._waiting)
        self._thread = PartThread("spill", self._forward)
        self._thread.start()

    @property
    def max_record(self) -> int | None:
        """The most bytes of a record of the queue elsewhere, if it has such a limit."""
        found: int | None = getattr(self._elsewhere, "max_record", None)
        return found

    def offer(self, envelope: bytes) -> "Future[None]":
        """See `Queue.offer`."""
        with self._lock:
            spills = self._keeps and self._waiting > 0
        if spills:
            return self._keep(envelope)
        try:
            first = self._elsewhere.offer(envelope)
        except QueueError:
            if not self._keeps:
                raise
            return self._keep(envelope)
        if not self._keeps:
            return first
        answer: Future[None] = Future()
        first.add_done_callback(lambda done: self._done(done, envelope, answer))
        return answer

    def claim(self, max_bytes: int, timeout: float) -> list[Item]:
        """See `Queue.claim`."""
        return self._elsewhere.claim(max_bytes, timeout)

    def settle(self, items: Sequence[Item]) -> None:
        """See `Queue.settle`."""
        self._elsewhere.settle(items)

    def size(self) -> Size:
        """See `Queue.size`. That of both; what the disk says of a refusal."""
        there, here = self._elsewhere.size(), self._disk.size()
        times = [each.oldest_unix_nano for each in (there, here) if each.oldest_unix_nano]
        refusal = here.refusal if self._keeps else there.refusal
        return Size(
            there.items + here.items, there.bytes + here.bytes, there.max_bytes + here.max_bytes, min(times, default=0), refusal
        )

    def drain(self, timeout: float) -> bool:
        """See `Queue.drain`. What is on disk stays there for the next start."""
        return self._elsewhere.drain(timeout) and not self._waiting

    def close(self) -> None:
        """See `Queue.close`."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._thread.stop()
        self._elsewhere.close()  # what it has not taken by now goes to disk
        self._disk.close()

    def _done(self, done: "Future[None]", envelope: bytes, answer: "Future[None]") -> None:
        """The queue elsewhere has taken an envelope, or not: then it goes to disk."""
        error = done.exception()
        if not isinstance(error, QueueError):
            _answer(answer, error)
            return
        try:
            self._keep(envelope).add_done_callback(lambda kept: _answer(answer, kept.exception()))
        except HeadraceError as refused:
            _answer(answer, refused)

    def _keep(self, envelope: bytes) -> "Future[None]":
        with self._lock:
            self._waiting += 1
        try:
            kept = self._disk.offer(envelope)
        except BaseException:
            self._forwarded(1)
            raise
        kept.add_done_callback(self._note_kept)
        return kept

    def _note_kept(self, kept: "Future[None]") -> None:
        if kept.cancelled() or kept.exception() is None:
            SPILLED.labels("kept").inc()
        else:
            self._forwarded(1)

    def _forwarded(self, requests: int) -> None:
        with self._lock:
            self._waiting -= requests

    def _forward(self) -> None:
        """The thread's body. The disk queue hands out no item twice: a batch is kept until all of it is taken elsewhere."""
        while not self._thread.stopping.is_set():
            self._batch = self._batch or self._disk.claim(self._batch_bytes, _CLAIM_SECONDS)
            settled, done = self._send(self._batch)
            self._disk.settle(settled)
            self._forwarded(done)
            SPILLED.labels("forwarded").inc(len(settled))
            self._batch = self._batch[done:]
            if self._batch:
                self._thread.stopping.wait(_AGAIN_SECONDS)

    def _send(self, batch: Sequence[Item]) -> tuple[list[Item], int]:
        """Offers a batch, in order. Returns those of its first items that were taken, and how many items are done with. An item
        that can never be taken is logged, and stays on disk."""
        offers: list[tuple[Item, Future[None] | None]] = []
        for item in batch:
            try:
                offers.append((item, self._elsewhere.offer(item.envelope)))
            except BodyTooLarge as error:
                log.error("a request on disk does not fit into a record", item=str(item.token), error=str(error))
                offers.append((item, None))
            except QueueError:
                break
        settled: list[Item] = []
        done = 0
        with suppress(QueueError):
            for item, offer in offers:
                if offer is not None:
                    offer.result()
                    settled.append(item)
                done += 1
        return settled, done


def _answer(answer: "Future[None]", error: BaseException | None) -> None:
    if not answer.set_running_or_notify_cancel():
        return
    if error is None:
        answer.set_result(None)
    else:
        answer.set_exception(error)
