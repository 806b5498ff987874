"""What the commands print alike: to a terminal, to a file, and when something cannot be done."""

import re
import sys
from datetime import datetime, timedelta, timezone
from typing import NoReturn

from rich.console import Console

stdout = Console(highlight=False, markup=False, emoji=False, soft_wrap=True, width=None if sys.stdout.isatty() else 400)
"""No markup: what clients send may have brackets. What is not a terminal is wide enough for each row to be one line."""
stderr = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def fail(message: object) -> NoReturn:
    """Says why, and ends the process with status 1."""
    stderr.print("headrace:", style="bold red", end=" ")
    stderr.print(str(message))
    sys.exit(1)


def parse_time(text: str, direction: int) -> datetime:
    """`90m`, `12h`, `3d`, `4w` from now on (`direction` 1) or ago (-1); or a date, or a date and a time, in UTC unless it says.

    Raises:
        ValueError, OverflowError: it is none of these.
    """
    if match := re.fullmatch(r"(\d+)([mhdw])", text):
        return datetime.now(timezone.utc) + direction * timedelta(**{_UNITS[match[2]]: int(match[1])})
    date = datetime.fromisoformat(text)
    return date if date.tzinfo else date.replace(tzinfo=timezone.utc)
