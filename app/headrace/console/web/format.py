"""Values → what people read. Pure; no I/O."""

from collections.abc import Mapping
from datetime import datetime, timezone
from urllib.parse import quote, urlencode

_NS = ((60_000_000_000, "min"), (1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs"))
_BYTES = ("B", "KiB", "MiB", "GiB", "TiB")
_LARGE = ((1_000_000_000, "G"), (1_000_000, "M"), (100_000, "k"))
_CUT = "…"


def duration(nanoseconds: float) -> str:
    """`1_234_567` → `1.23 ms`: three digits, and the unit that fits."""
    size = abs(nanoseconds)
    for unit, name in _NS:
        if size >= unit:
            return f"{_three(nanoseconds / unit)} {name}"
    return f"{nanoseconds:.0f} ns" if size else "0"


def signed(nanoseconds: int) -> str:
    """A difference of durations, with its sign."""
    return f"{'+' if nanoseconds > 0 else '−' if nanoseconds < 0 else '±'}{duration(abs(nanoseconds))}"


def count(number: float) -> str:
    """`123456` → `123 k`; below a hundred thousand all digits."""
    for unit, name in _LARGE:
        if abs(number) >= unit:
            return f"{_three(number / (1_000 if name == 'k' else unit))} {name}"
    return f"{number:,.0f}".replace(",", "\u202f")


def rate(number: float) -> str:
    """A number a second; below ten with one digit after the point."""
    return f"{number:.1f}" if 0 < abs(number) < 10 else count(number)


def figure(number: float) -> str:
    """A metric's value, or tokens: four digits that count."""
    return count(number) if abs(number) >= 10_000 or number == round(number) else f"{number:.4g}"


def size(number: float) -> str:
    """Bytes, in the unit that fits."""
    value, unit = float(number), 0
    while abs(value) >= 1024 and unit < len(_BYTES) - 1:
        value, unit = value / 1024, unit + 1
    return f"{_three(value)} {_BYTES[unit]}" if unit else f"{value:.0f} B"


def share(part: float, whole: float) -> str:
    """`1, 3` → `33 %`; below one per cent with one digit after the point."""
    percent = 100 * part / whole if whole else 0.0
    return f"{percent:.1f} %" if 0 < percent < 1 else f"{percent:.0f} %"


def moment(nanoseconds: int) -> str:
    """Nanoseconds since 1970 → `2026-11-28 09:30:15.123`, in UTC. Empty: not known, or not a year that people live in."""
    try:
        time = datetime.fromtimestamp(nanoseconds // 1_000_000_000, timezone.utc)
    except (ValueError, OverflowError, OSError):
        return ""
    return f"{time:%Y-%m-%d %H:%M:%S}.{nanoseconds // 1_000_000 % 1000:03}" if nanoseconds > 0 else ""


def age(seconds: float) -> str:
    """`75` → `1 min`; how long ago, roughly."""
    for unit, name in ((86_400 * 2, "d"), (3_600 * 2, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds // (unit // 2 if unit > 60 else unit):.0f} {name}"
    return f"{max(0, seconds):.0f} s"


def shortened(text: str, most: int) -> str:
    """A text of at most so many characters; one that was longer ends with `…`."""
    return text if len(text) <= most else text[: most - 1] + _CUT


def url(path: str, parameters: Mapping[str, object] | None = None) -> str:
    """A path and its parameters, without those that are empty."""
    asked = {key: value for key, value in (parameters or {}).items() if value not in ("", None)}
    return quote(path) + (f"?{urlencode(asked)}" if asked else "")


def _three(value: float) -> str:
    """Three digits: `1.23`, `12.3`, `123`."""
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:.{digits}f}"
