"""What a disk queue knows without its file: numbers, troubles, and what waits. No thread, no disk."""

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import QueueFull, QueueUnavailable
from headrace.queue import Item, Size
from headrace.queue.disk.capacity import Capacity
from headrace.queue.disk.ledger import Ledger, Round, Trouble

NOWHERE = Path("/nowhere")


class Notes:
    """An `Observer` that keeps all it is told."""

    def __init__(self) -> None:
        self.sizes: list[Size] = []

    def placed(self) -> None:
        """Not called by a ledger."""

    def changed(self, size: Size) -> None:
        self.sizes.append(size)


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def ledger(notes: Notes) -> Ledger:
    return Ledger(Capacity(NOWHERE, 100, 0, 50), notes)


def due(ledger: Ledger) -> Round:
    found = ledger.next_round(0)
    assert found is not None
    return found


def failed(future: "Future[Any]") -> str:
    return str(future.exception(0))


def test_an_offer_is_told_before_it_is_acknowledged(ledger: Ledger, notes: Notes) -> None:
    future = ledger.offer(b"x" * 30)
    assert notes.sizes == [Size(1, 30, 100, 0)]
    assert not future.done()
    round_ = due(ledger)
    assert ledger.committed(round_, 7) == 0
    assert ledger.wait_beyond(0, 0) == 7
    assert not future.done()  # it is the writer that acknowledges
    round_.offers[0].end()
    assert future.result(0) is None


def test_settled_items_are_told_once_they_are_gone(ledger: Ledger, notes: Notes) -> None:
    ledger.recount(2, 50, 9)
    ledger.set_oldest(5)
    assert notes.sizes[-1] == Size(2, 50, 100, 5)
    ledger.settle([Item(8, bytes(20)), Item(9, bytes(30))])
    assert notes.sizes[-1].items == 2
    assert ledger.committed(due(ledger), 0) == 50
    assert notes.sizes[-1] == Size(0, 0, 100, 0)
    assert ledger.wait_beyond(0, 0) == 9  # deletes do not take ids back
    assert ledger.drain(0)


def test_a_refusal_is_told(ledger: Ledger, notes: Notes) -> None:
    ledger.recount(1, 90, 1)
    with pytest.raises(QueueFull, match="Send the batch again later"):
        ledger.offer(bytes(11))
    assert "HEADRACE_QUEUE_MAX_BYTES" in notes.sizes[-1].refusal
    assert notes.sizes[-1].bytes == 90
    ledger.settle([Item(1, bytes(50))])
    ledger.committed(due(ledger), 0)
    assert ledger.size(0).refusal == ""  # 40 bytes: below the low water
    assert notes.sizes[-1].refusal == ""


def test_what_cannot_be_kept_is_refused_and_not_counted(ledger: Ledger) -> None:
    futures = [ledger.offer(bytes(10)) for _ in range(3)]
    ledger.refuse(due(ledger).offers, "The disk is full.")
    assert {failed(future) for future in futures} == {"The disk is full."}
    assert ledger.queued_bytes == 0
    assert ledger.drain(0)


def test_when_the_writer_ends_no_client_waits_and_no_delete_is_forgotten(ledger: Ledger) -> None:
    first = ledger.offer(b"first")
    ledger.settle([Item(1, b"")])
    round_ = due(ledger)
    second = ledger.offer(b"second")
    ledger.settle([Item(2, b"")])
    ledger.writer_ended(round_, "It has ended.")
    assert (failed(first), failed(second)) == ("It has ended.", "It has ended.")
    with pytest.raises(QueueUnavailable, match="It has ended"):
        ledger.offer(b"third")
    assert [item.token for item in ledger.take_settled()] == [1, 2]
    ledger.recount(1, 5, 3)  # the first was committed all the same
    assert ledger.size(0) == Size(1, 5, 100, 0)
    ledger.offer(b"third")


def test_the_first_trouble_is_told_and_ends_alone(ledger: Ledger) -> None:
    for trouble in reversed(Trouble):
        ledger.set_trouble(trouble, trouble.name)
        assert ledger.size(0).refusal == trouble.name
    for trouble, following in zip(Trouble, [*list(Trouble)[1:], None], strict=True):
        ledger.set_trouble(trouble, "")
        assert ledger.size(0).refusal == (following.name if following else "")


def test_a_disk_that_refuses_is_tried_by_each_offer(ledger: Ledger) -> None:
    ledger.set_trouble(Trouble.DISK_REFUSES, "The disk is full.")
    ledger.offer(b"x")
    ledger.committed(due(ledger), 1)
    assert ledger.size(0).refusal == ""


def test_a_closed_ledger_is_worked_off(ledger: Ledger) -> None:
    ledger.offer(b"x")
    ledger.close()
    with pytest.raises(QueueUnavailable, match="stopping"):
        ledger.offer(b"y")
    assert len(due(ledger).offers) == 1
    assert ledger.next_round(60) is None
    assert not ledger.settle_again([Item(1, b"")])  # nobody would try it any more
    assert ledger.wait_beyond(0, 60) == 0
