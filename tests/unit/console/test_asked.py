"""What people write into the forms, and what it means."""

import pytest

from headrace.console.web.asked import to_attributes, to_nanoseconds, to_time, to_trace_id
from headrace.console.web.format import age, count, duration, moment, share, signed, size
from headrace.errors import RequestError

NOW = 1_790_000_000 * 10**9


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("", 0),
        ("250ms", 250_000_000),
        ("1.5 s", 1_500_000_000),
        ("2min", 120 * 10**9),
        ("7", 7_000_000),
        ("0.000000001s", 1),
        ("3µs", 3000),
    ],
)
def test_durations(text: str, nanoseconds: int) -> None:
    assert to_nanoseconds(text) == nanoseconds


@pytest.mark.parametrize("text", ["soon", "-1s", "1e9", "9" * 40, "1 parsec", "1.2.3s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(RequestError, match="write 250ms"):
        to_nanoseconds(text)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("", 0),
        ("2h", NOW - 7200 * 10**9),
        ("999999w", 0),
        ("2026-09-21T14:13:20", 1_790_000_000 * 10**9),
        ("2026-09-21T16:13:20.250+02:00", 1_790_000_000 * 10**9 + 250_000_000),
        ("1960-01-01", 0),
    ],
)
def test_times(text: str, nanoseconds: int) -> None:
    assert to_time(text, NOW) == nanoseconds


def test_attributes_and_ids() -> None:
    assert to_attributes('user=u1 note="a b" empty= n=3') == {"user": "u1", "note": "a b", "empty": "", "n": "3"}
    assert to_trace_id(f" tr-{'AB' * 16} ") == "ab" * 16
    for wrong in ("", "ab", "x" * 32, "ab" * 17):
        with pytest.raises(RequestError):
            to_trace_id(wrong)
    for text in ("user", "=", "a=b c"):
        if text != "=":
            with pytest.raises(RequestError):
                to_attributes(text)


def test_what_people_read() -> None:
    assert [duration(n) for n in (0, 7, 1_230, 12_345_678, 999_999_999, 61 * 10**9)] == [
        "0",
        "7 ns",
        "1.23 µs",
        "12.3 ms",
        "1000 ms",
        "1.02 min",
    ]
    assert (signed(5_000_000), signed(-5_000_000), signed(0)) == ("+5.00 ms", "−5.00 ms", "±0")
    assert (count(12_345), count(1_234_567), size(1536), share(1, 3), share(1, 0)) == (
        "12\u202f345",
        "1.23 M",
        "1.50 KiB",
        "33 %",
        "0 %",
    )
    assert (moment(NOW + 5_000_000), moment(0), moment(2**63)) == ("2026-09-21 14:13:20.005", "", "2262-04-11 23:47:16.854")
    assert (age(5), age(75), age(7300), age(3 * 86_400)) == ("5 s", "1 min", "2 h", "3 d")
