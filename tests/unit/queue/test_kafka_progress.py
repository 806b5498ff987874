"""What of a partition is settled, and what is committed of it."""

import pytest

from headrace.queue.kafka.progress import MOST_METADATA, Progress, from_text, to_text


def fetched(*offsets: int, settled: set[int] | None = None) -> Progress:
    progress = Progress(1, offsets[0], offsets[-1] + 1, settled or set())
    for offset in offsets:
        progress.fetch(offset, 10, offset)
    return progress


def test_what_is_committed_is_the_first_that_is_not_settled() -> None:
    progress = fetched(5, 6, 7, 9)  # 8 is none of ours: a mark of a transaction
    assert (progress.committable, progress.items, progress.bytes, progress.oldest_unix_nano) == (5, 4, 40, 5)
    assert progress.settle(6)
    assert (progress.committable, progress.settled) == (5, {6})
    assert progress.settle(5)
    assert (progress.committable, progress.settled, progress.oldest_unix_nano) == (7, set(), 7)
    assert progress.settle(7)
    assert progress.settle(9)
    assert (progress.committable, progress.items, progress.bytes, progress.oldest_unix_nano) == (10, 0, 0, 0)


def test_a_record_is_settled_with_its_last_part_and_once() -> None:
    progress = fetched(1)
    progress.pending[1].parts = 2
    assert [progress.settle(1), progress.settle(1), progress.settle(1)] == [False, True, False]


def test_what_was_settled_beyond_the_committed_offset_is_not_handed_out_again() -> None:
    progress = Progress(2, 10, 14, from_text("11,13"))
    assert progress.items == 2
    assert [progress.fetch(offset, 1, 0) for offset in range(10, 14)] == [True, False, True, False]
    assert (progress.items, progress.committable, to_text(progress.settled)) == (2, 10, "11,13")


@pytest.mark.parametrize("text", ["3", "3-5", "3-5,7", "1,3,5-9"])
def test_ranges_survive_as_text(text: str) -> None:
    assert to_text(from_text(text)) == text


@pytest.mark.parametrize("text", ["", "somebody else's", "3-", "1,,2", "1-99999999999", "-1"])
def test_metadata_that_is_not_ours_says_nothing(text: str) -> None:
    assert from_text(text) == set() or text == "3-"


def test_metadata_is_bounded() -> None:
    text = to_text(range(0, 100_000, 2))
    assert len(text) <= MOST_METADATA
    assert text.startswith("0,2,4,")
