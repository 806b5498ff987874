"""The memory that requests in flight share."""

import pytest

from headrace.errors import InFlightFull
from headrace.receiver.memory import Memory as InFlight
from headrace.receiver.memory import Share


def test_of_several_that_grow_the_last_one_goes_on() -> None:
    """Whichever is refused gives back at once what it holds, so that they do not refuse each other for ever."""
    memory = InFlight(100)
    shares = [Share(memory) for _ in range(3)]
    for share in shares:
        share.charge(30)
    for share in shares[:2]:
        with pytest.raises(InFlightFull):
            share.charge(60)
    for _ in range(10):
        shares[2].charge(30)  # alone, over the limit
    with pytest.raises(InFlightFull):
        Share(memory).charge(1)
    with pytest.raises(InFlightFull):
        shares[0].charge(1)  # what was refused stays so
    shares[2].give_back()
    for share in shares:
        share.give_back()
    Share(memory).charge(100)


def test_small_ones_do_not_keep_a_large_one_out() -> None:
    memory = InFlight(800)
    Share(memory).charge(100)
    Share(memory).charge(5000)


def test_what_is_given_back_can_be_held_by_others() -> None:
    memory = InFlight(100)
    one, other = Share(memory), Share(memory)
    one.charge(60)
    one.charge(-20)
    assert one.size == 40
    other.charge(60)
    one.give_back()
    one.give_back()  # once is enough
    assert (one.size, other.size) == (0, 60)
    other.charge(-1000)  # never below nothing
    assert other.size == 0
