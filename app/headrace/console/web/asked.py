"""What a page is asked: its path, its parameters, and who asks. Whatever a parameter says, it is one of a kind, and bounded."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone

from headrace.config import Config
from headrace.console.access import readable
from headrace.envelope.limit import Limit
from headrace.errors import RequestError
from headrace.reader import Experiments, TraceReader

_MAX_TEXT = 500
_UNITS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000, "min": 60_000_000_000}
_SPANS = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and what answers it."""

    config: Config
    reader: TraceReader
    limit: Limit | None
    """Of the key. None: there is none."""
    now: int
    """In nanoseconds since 1970."""
    path: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def keyed(self) -> bool:
        """Whether keys are asked for."""
        return self.config.api_keys is not None

    def experiments(self, named: str = "") -> Experiments:
        """The experiments that may be read; of these the named one, if any is."""
        return readable(self.reader, self.limit, [named] if named else [])

    def text(self, name: str) -> str:
        """A parameter, without spaces around it; at most 500 characters. Empty: it is not there."""
        return self.parameters.get(name, "").strip()[:_MAX_TEXT]

    def number(self, name: str, default: int = 0, most: int = 10**9) -> int:
        """A parameter that is a whole number from 0 on; the default if it is none."""
        text = self.text(name)
        return min(int(text), most) if text.isascii() and text.isdigit() and len(text) < 20 else default

    def choice(self, name: str, among: Mapping[str, object]) -> str:
        """A parameter that is one of these; the first of them if it is none."""
        text = self.text(name)
        return text if text in among else next(iter(among))

    def trace_id(self, name: str) -> str:
        """A trace's id, OTLP's or MLflow's.

        Raises:
            RequestError: it is none.
        """
        return to_trace_id(self.path.get(name) or self.text(name))


def to_trace_id(text: str) -> str:
    """OTLP's or MLflow's id of a trace → OTLP's in hex.

    Raises:
        RequestError: it is none.
    """
    plain = text.strip().lower().removeprefix("tr-")
    if not _ID.fullmatch(plain):
        raise RequestError(f"{text[:80]!r} is no trace id: give its 32 hexadecimal digits.")
    return plain


def to_nanoseconds(text: str) -> int:
    """`250ms`, `1.5 s`, `2min` → nanoseconds; without a unit: milliseconds. Empty: 0.

    Raises:
        RequestError: it is none of these.
    """
    if not text:
        return 0
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,9})?)\s*([a-zµ]*)", text.strip().lower())
    if found is None or found[2] not in ("", *_UNITS):
        raise RequestError(f"{text[:80]!r} is no duration: write 250ms, 1.5s or 2min.")
    whole, _, part = found[1].partition(".")
    unit = _UNITS[found[2] or "ms"]
    return int(whole) * unit + (int(part) * unit // 10 ** len(part) if part else 0)


def to_time(text: str, now: int) -> int:
    """`15m`, `2h`, `7d` ago, or a date with or without a time (UTC) → nanoseconds since 1970. Empty: 0.

    Raises:
        RequestError: it is none of these.
    """
    if not text:
        return 0
    if found := re.fullmatch(r"(\d{1,6})([mhdw])", text):
        return max(0, now - int(found[1]) * _SPANS[found[2]] * 1_000_000_000)
    try:
        time = datetime.fromisoformat(text.removesuffix("Z"))
    except ValueError:
        raise RequestError(f"{text[:80]!r} is no time: write 2h, 7d, or 2026-11-28T09:30.") from None
    whole = int((time if time.tzinfo else time.replace(tzinfo=timezone.utc)).timestamp())
    return max(0, whole) * 1_000_000_000 + time.microsecond * 1000


def to_attributes(text: str) -> dict[str, str]:
    """`key=value` pairs, separated by spaces; a value with spaces stands in quotes.

    Raises:
        RequestError: a pair has no `=`.
    """
    pairs: dict[str, str] = {}
    for found in re.finditer(r'([^\s="]+)(?:=("(?:[^"]*)"|\S*))?', text):
        if found[2] is None:
            raise RequestError(f'{found[1][:80]!r} is no attribute: write key=value, or key="a value".')
        pairs[found[1]] = found[2][1:-1] if len(found[2]) > 1 and found[2][0] == found[2][-1] == '"' else found[2]
    return pairs
