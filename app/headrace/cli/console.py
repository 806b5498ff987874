"""What all commands share: output to a terminal or a file, errors, and times as arguments."""

import re
import sys
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from rich.console import Console

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@cache
def stdout() -> "Console":
    """The console on stdout. No markup, because texts of clients may have brackets. If it is no terminal, it is wide enough for
    each row to be one line. Rich is imported by the first call: help does without it."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True, width=None if sys.stdout.isatty() else 400)


@cache
def stderr() -> "Console":
    """The console on stderr, as `stdout`."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)


def fail(message: object, status: int = 1) -> NoReturn:
    """Prints the message to stderr, in one line, and ends the process with this status."""
    stderr().print("headrace:", style="bold red", end=" ")
    stderr().print(" ".join(str(message).splitlines()))
    sys.exit(status)


def parse_time(text: str, direction: int) -> datetime:
    """A text → a time. `90m`, `12h`, `3d` and `4w` count from now: into the future for `direction` 1, into the past for -1.
    Also an ISO date, with or without a time; without a time zone it is UTC.

    Raises:
        ValueError, OverflowError: the text is none of these.
    """
    if match := re.fullmatch(r"(\d+)([mhdw])", text):
        return datetime.now(timezone.utc) + direction * timedelta(**{_UNITS[match[2]]: int(match[1])})
    date = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text))  # Python 3.10 does not know the letter
    return date if date.tzinfo else date.replace(tzinfo=timezone.utc)
