"""Times that a person gives to a command."""

from datetime import datetime, timedelta, timezone

import pytest

from headrace.cli.console import parse_time


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("2026-11-28", 0),
        ("2026-11-28T12:00:00", 12),
        ("2026-11-28T12:00:00Z", 12),
        ("2026-11-28T12:00:00z", 12),
        ("2026-11-28 12:00:00.000+02:00", 10),
    ],
)
def test_a_date_is_utc_unless_it_says_otherwise(text: str, hours: int) -> None:
    """`Z` is no part of a date for Python 3.10."""
    assert parse_time(text, -1) == datetime(2026, 11, 28, tzinfo=timezone.utc) + timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "Z", "soon", "3x", "2026-13-01"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_time(text, 1)
