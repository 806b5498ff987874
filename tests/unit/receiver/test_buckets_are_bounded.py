"""What is remembered of addresses and keys is bounded, and a flood of others does not make it forget the active ones."""

from functools import partial
from pathlib import Path

import pytest

from headrace.config import load
from headrace.errors import RateLimited, Unauthenticated
from headrace.receiver.auth import Keys
from headrace.receiver.limits import Bucket, Limits


def refusal(keys: Keys, address: str) -> Exception:
    try:
        keys.authenticate({}, address)
    except (Unauthenticated, RateLimited) as error:
        return error
    pytest.fail(f"{address} is let in")


def test_a_flood_of_addresses_gives_nobody_new_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.receiver.auth.Bucket", partial(Bucket, clock=lambda: 0.0))  # nothing is filled up
    keys = Keys(Path("nowhere/keys.json"))
    assert isinstance([refusal(keys, "10.0.0.1") for _ in range(100)][-1], RateLimited)
    for number in range(11_000):
        assert isinstance(refusal(keys, f"2001:db8::{number:x}"), Unauthenticated)
        if number % 1000 == 0:
            assert isinstance(refusal(keys, "10.0.0.1"), RateLimited)
    assert len(keys._failures) == 10_000


def test_keys_that_come_and_go_leave_no_buckets_without_end() -> None:
    limits = Limits(load(burst_seconds=1))
    limits.charge("spans", 1_000_000, "busy", 1)  # so far in debt that it stays there
    for number in range(21_000):
        limits.charge("spans", 1, f"revoked-{number}", 1)
        if number % 1000 == 0:
            with pytest.raises(RateLimited, match="the API key's spans a second"):
                limits.charge("spans", 1, "busy", 1)
    assert len(limits._of_keys) == 20_000
