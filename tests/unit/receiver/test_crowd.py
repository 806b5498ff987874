"""The connections of a server are bounded in number."""

import pytest

from headrace.receiver.crowd import Crowd


class Guest:
    """A connection that notes what is done to it."""

    def __init__(self) -> None:
        self.closed = ""
        self.checks = 0

    def close(self, reason: str) -> None:
        self.closed = reason

    def check(self, now: float) -> None:
        self.checks += 1


@pytest.fixture
def guests() -> list[Guest]:
    return [Guest() for _ in range(4)]


def test_one_more_takes_the_place_of_the_longest_idle_one(guests: list[Guest]) -> None:
    crowd = Crowd(3, 1)
    for guest in guests[:3]:
        assert crowd.enter(guest, None)
    crowd.busy(guests[0])
    crowd.idle(guests[0])  # later than the others
    assert crowd.enter(guests[3], None)
    assert [guest.closed for guest in guests] == ["", "idle", "", ""]


def test_where_all_are_busy_there_is_no_room_until_one_leaves(guests: list[Guest]) -> None:
    crowd = Crowd(2, 1)
    for guest in guests[:2]:
        assert crowd.enter(guest, None)
        crowd.busy(guest)
    assert not crowd.enter(guests[2], None)
    crowd.leave(guests[0])
    assert crowd.enter(guests[2], None)
    assert [guest.closed for guest in guests] == [""] * 4


def test_who_has_left_does_not_become_idle(guests: list[Guest]) -> None:
    crowd = Crowd(1, 1)
    assert crowd.enter(guests[0], None)
    crowd.busy(guests[0])
    crowd.leave(guests[0])
    crowd.idle(guests[0])
    assert crowd.enter(guests[1], None)
    assert guests[0].closed == ""


def test_each_is_looked_after(guests: list[Guest]) -> None:
    crowd = Crowd(4, 1)
    for guest in guests:
        crowd.enter(guest, None)
    crowd.leave(guests[3])
    crowd.sweep()
    assert [guest.checks for guest in guests] == [1, 1, 1, 0]
