"""Limits a second: the bucket, and who takes from which."""

import pytest

from headrace.config import load
from headrace.errors import RateLimited
from headrace.receiver.limits import Bucket, Limits


class Clock:
    """Stands still until told otherwise."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_starts_full_and_fills_at_its_rate() -> None:
    clock = Clock()
    bucket = Bucket(rate=10, burst_seconds=2, clock=clock)
    bucket.take(20)
    assert bucket.wait() == pytest.approx(0.1)  # until one is there
    clock.now += 0.5
    assert bucket.wait() == 0
    clock.now += 1000
    assert bucket.wait() == 0
    bucket.take(20)
    assert bucket.wait() > 0  # no more than the burst was saved up


def test_a_batch_larger_than_the_burst_is_taken_whole_and_waited_for_afterwards() -> None:
    clock = Clock()
    bucket = Bucket(rate=10, burst_seconds=1, clock=clock)
    assert bucket.wait() == 0
    bucket.take(60)
    assert bucket.wait() == pytest.approx(5.1)
    clock.now += 5.2
    assert bucket.wait() == 0


def test_a_key_s_limit_is_its_own_and_a_refusal_takes_from_nobody() -> None:
    limits = Limits(load(max_spans_per_second=100, burst_seconds=1))
    limits.charge("spans", 50, "a", 10)
    with pytest.raises(RateLimited, match="the API key's spans a second") as caught:
        limits.charge("spans", 1, "a", 10)
    assert 1 <= (caught.value.retry_after or 0) <= 5
    limits.charge("spans", 60, "b", 1000)
    with pytest.raises(RateLimited, match="HEADRACE_MAX_SPANS_PER_SECOND"):
        limits.charge("spans", 1, "b", 1000)
    limits.charge("bytes", 10**9, "b", None)  # no limit


def test_each_worker_holds_its_share() -> None:
    limits = Limits(load(max_spans_per_second=100, burst_seconds=1, workers=4))
    limits.charge("spans", 26)
    with pytest.raises(RateLimited):
        limits.charge("spans", 1)
