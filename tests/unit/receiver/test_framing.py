"""What comes around the bodies of requests is bounded."""

from collections.abc import Callable

import pytest

from headrace.receiver.framing import Body, Head, Refused

KIB = 1024


def taken_until_refused(feed: Callable[[], None], because: str) -> int:
    """How many times it can be called."""
    taken = 0
    while taken < 1_000_000:
        try:
            feed()
        except Refused as refused:
            said = str(refused.error)
            break
        taken += 1
    else:
        pytest.fail("it is never refused")
    assert because in said
    return taken


def test_a_head_is_bounded_while_it_comes_and_when_it_is_there() -> None:
    head = Head()
    head.add_url(8 * KIB)
    for _ in range(20):
        head.add(KIB)
    assert head.size > 28 * KIB  # with what each header takes beside its bytes
    assert taken_until_refused(lambda: head.add(KIB), "over 65536 bytes") == 64 - 8 - 20
    coming, many = Head(), Head()
    assert taken_until_refused(lambda: coming.fed(8 * KIB), "over 65536 bytes") == 8
    assert taken_until_refused(lambda: many.add(1), "over 128 headers") == 128
    assert taken_until_refused(lambda: Head().add_url(65 * KIB), "over 65536 bytes") == 0


def test_a_long_body_in_fair_chunks_passes() -> None:
    body = Body()
    for _ in range(10_000):
        before = body.pieces
        body.add(16 * KIB)
        body.fed(16 * KIB + 8, before)
    assert (body.size, body.pieces) == (10_000 * 16 * KIB, 10_000)


def test_chunks_of_a_byte_are_refused_once_they_are_many() -> None:
    body = Body()
    assert 256 * KIB <= taken_until_refused(lambda: body.add(1), "chunks of a few bytes") < 300 * KIB


@pytest.mark.parametrize(("between", "most"), [(0, 9), (1, 130)])
def test_trailers_and_extensions_without_end_are_refused(between: int, most: int) -> None:
    """With no piece of the body in between, and with one byte of it each time."""
    body = Body()

    def feed() -> None:
        before = body.pieces
        for _ in range(between):
            body.add(1)
        body.fed(8 * KIB, before)

    assert taken_until_refused(feed, "Trailers") <= most
