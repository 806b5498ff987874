"""The contract of `headrace.queue.Queue`. Each implementation has a class of its own that inherits `QueueContract`:

MemoryQueue   tests/unit/queue/test_memory.py   (the fake of tests/fakes.py)
DiskQueue     tests/db/queue/test_contract.py
SharedQueue   tests/db/queue/test_contract.py
KafkaQueue    tests/world/kafka/test_contract.py
"""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from headrace.errors import QueueError, QueueFull, QueueUnavailable
from headrace.queue import Item, Queue, Size

MAX_BYTES = 1 << 20
"""What `QueueContract.open_queue` has to make the queue's limit."""


class QueueContract(ABC):
    """Inherit it in a class whose name begins with Test, and say how the queue is opened."""

    patience: float = 0
    """Seconds within which a claim gives out what was offered before it. A queue of this process does so at once; what lies
    beyond a network may need longer."""

    @abstractmethod
    def open_queue(self) -> Queue:
        """Opens a queue that takes `MAX_BYTES`; within one test always the same one, with what is left in it."""

    @pytest.fixture
    def queue(self) -> Iterator[Queue]:
        """An empty queue."""
        queue = self.open_queue()
        yield queue
        queue.close()

    def test_items_come_out_in_the_order_of_their_offers_and_once(self, queue: Queue) -> None:
        offer(queue, b"one", b"two", b"three")
        assert claim(queue) == [b"one", b"two", b"three"]
        assert queue.claim(MAX_BYTES, 0) == []

    def test_a_claim_is_bounded_but_takes_at_least_one(self, queue: Queue) -> None:
        offer(queue, b"x" * 600, b"y" * 600, b"z" * 10)
        assert [len(item.envelope) for item in queue.claim(500, 20)] == [600]
        assert [len(item.envelope) for item in queue.claim(610, 20)] == [600, 10]

    def test_a_claim_waits_for_an_offer(self, queue: Queue) -> None:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(queue.claim, MAX_BYTES, 20)
            offer(queue, b"late")
            assert [item.envelope for item in waiting.result(10)] == [b"late"]

    def test_a_claim_that_waits_in_vain_returns_nothing(self, queue: Queue) -> None:
        began = time.monotonic()
        assert queue.claim(MAX_BYTES, 0.05) == []
        assert time.monotonic() - began >= 0.05

    def test_an_empty_envelope_is_an_item(self, queue: Queue) -> None:
        offer(queue, b"")
        (item,) = queue.claim(MAX_BYTES, 20)
        assert item.envelope == b""
        queue.settle([item])
        assert queue.drain(5)

    def test_what_is_not_settled_comes_again_when_the_queue_is_opened_again(self, queue: Queue) -> None:
        offer(queue, *(b"%d" % number for number in range(10)))
        items = queue.claim(MAX_BYTES, 20)
        queue.settle([items[7], *items[:3]])  # in any order, with gaps
        queue.settle([])
        queue.close()
        again = self.open_queue()
        try:
            assert again.size().items == 6
            assert claim(again) == [b"3", b"4", b"5", b"6", b"8", b"9"]
            offer(again, b"new")
            assert claim(again) == [b"new"]
        finally:
            again.close()

    def test_size_counts_what_is_not_settled(self, queue: Queue) -> None:
        empty = queue.size()
        assert empty == Size(0, 0, empty.max_bytes, 0)
        assert empty.max_bytes >= MAX_BYTES
        began = time.time_ns()
        offer(queue, b"x" * 100, b"y" * 50)
        size = queue.size()
        assert (size.items, size.bytes) == (2, 150)
        assert began <= size.oldest_unix_nano <= time.time_ns()
        items = queue.claim(MAX_BYTES, 20)
        assert (queue.size().items, queue.size().bytes) == (2, 150)
        queue.settle(items)
        assert queue.drain(5)
        assert queue.size() == empty

    def test_a_full_queue_refuses_and_takes_again_when_there_is_space(self, queue: Queue) -> None:
        offer(queue, bytes(MAX_BYTES - 10))
        with pytest.raises(QueueFull):
            offer(queue, bytes(11))
        assert (queue.size().items, queue.size().bytes) == (1, MAX_BYTES - 10)  # nothing of it is stored
        queue.settle(queue.claim(2 * MAX_BYTES, 20))
        assert queue.drain(5)
        assert queue.size().refusal == ""
        offer(queue, bytes(MAX_BYTES))

    def test_concurrent_offers_cannot_overshoot_the_limit(self, queue: Queue) -> None:
        def one(_: int) -> int:
            try:
                offer(queue, bytes(MAX_BYTES // 10))
            except QueueFull:
                return 0
            return 1

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(one, range(40))) == 10
        assert queue.size().items == 10

    def test_concurrent_offers_all_arrive_each_thread_s_in_order(self, queue: Queue) -> None:
        def many(thread: int) -> None:
            offer(queue, *(b"%d/%02d" % (thread, number) for number in range(50)))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(many, range(8)))
        found = claim(queue)
        assert len(found) == 400
        for thread in range(8):
            own = [envelope for envelope in found if envelope.startswith(b"%d/" % thread)]
            assert own == [b"%d/%02d" % (thread, number) for number in range(50)]

    def test_concurrent_claims_share_the_items(self, queue: Queue) -> None:
        offer(queue, *(b"%d" % number for number in range(200)))

        def some(_: int) -> list[Item]:
            return queue.claim(1, self.patience)

        with ThreadPoolExecutor(8) as pool:
            claimed = [item for items in pool.map(some, range(200)) for item in items]
        assert sorted(int(item.envelope) for item in claimed) == list(range(200))
        assert len({item.token for item in claimed}) == 200

    def test_drain_waits_for_the_last_item(self, queue: Queue) -> None:
        assert queue.drain(0)
        offer(queue, b"one", b"two")
        first, second = queue.claim(MAX_BYTES, 20)
        queue.settle([first])
        assert not queue.drain(0.05)
        with ThreadPoolExecutor(1) as pool:
            drained = pool.submit(queue.drain, 20)
            queue.settle([second])
            assert drained.result(10)

    def test_a_cancelled_offer_harms_no_other(self, queue: Queue) -> None:
        offered = [queue.offer(b"%d" % number) for number in range(50)]
        cancelled = {number for number, future in enumerate(offered) if number % 2 and future.cancel()}
        for number, future in enumerate(offered):
            if number not in cancelled:
                future.result(5)
        offer(queue, b"50")
        found = {int(envelope) for envelope in claim(queue)}
        assert set(range(51)) - cancelled <= found

    def test_close_stores_what_waits_and_refuses_the_rest(self, queue: Queue) -> None:
        offered = [queue.offer(b"%d" % number) for number in range(20)]
        queue.close()
        for future in offered:
            future.result(0)
        with pytest.raises(QueueUnavailable):
            queue.offer(b"late")
        assert queue.claim(MAX_BYTES, 1) == []
        queue.close()  # does nothing
        again = self.open_queue()
        try:
            assert claim(again) == [b"%d" % number for number in range(20)]
        finally:
            again.close()

    def test_close_wakes_whoever_claims(self, queue: Queue) -> None:
        begun = threading.Event()

        def wait() -> list[Item]:
            begun.set()
            return queue.claim(MAX_BYTES, 60)

        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(wait)
            begun.wait(5)
            queue.close()
            assert waiting.result(10) == []

    def test_a_refusal_is_a_queue_error(self, queue: Queue) -> None:
        """So that a receiver answers it by one rule."""
        with pytest.raises(QueueError):
            offer(queue, bytes(MAX_BYTES + 1))


def offer(queue: Queue, *envelopes: bytes) -> None:
    """Offers these, in this order, and waits until all are stored."""
    for future in [queue.offer(envelope) for envelope in envelopes]:
        future.result(10)


def claim(queue: Queue) -> list[bytes]:
    """The envelopes of all items that are not claimed yet."""
    return [item.envelope for item in queue.claim(2 * MAX_BYTES, 20)]
