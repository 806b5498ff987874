"""Who was refused of late, as the receiver's `/refused` tells it. It is asked with the key of whoever looks at the page."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

from headrace.console.web.road import to_object

_KEYS = ("authorization", "x-api-key", "api_key", "api-key")
_MOST_PROCESSES, _TRIES = 64, 4
_MOST = 50


@dataclass(frozen=True, slots=True)
class Sender:
    """What was refused of one sender for one reason."""

    reason: str
    who: str
    times: int
    ago: float
    """Seconds since the last time."""
    said: str


def senders(ask: Callable[[str, Mapping[str, str]], tuple[int, bytes]], headers: Mapping[str, str]) -> list[Sender]:
    """The latest first, at most 50; none also if the receiver does not tell.

    Each process of the receiver knows its own: it is asked until all have answered, a few times for each.
    """
    key = {name: headers[name] for name in _KEYS if name in headers}
    found: dict[Any, Mapping[str, Any]] = {}
    processes = tries = 1
    while len(found) < processes and tries <= _TRIES * processes:
        tries += 1
        try:
            status, body = ask("/refused", key)
        except (OSError, HTTPException, ValueError):
            break
        told = to_object(body)
        if status != 200:
            break
        found[told.get("process")] = told
        processes = min(_MOST_PROCESSES, max(1, int(told.get("processes", 1))))
    listed = [each for told in found.values() for each in told.get("refused", ())]
    now = time.time()
    return sorted((_sender(each, now) for each in listed), key=lambda each: each.ago)[:_MOST]


def _sender(told: Mapping[str, Any], now: float) -> Sender:
    who = told["who"]
    names = {"key": "key ", "service": "service ", "address": "", "user_agent": ""}
    said = " · ".join(f"{before}{who[name]}" for name, before in names.items() if name in who)
    return Sender(told["reason"], said, told["times"], now - told["last"], told["said"])
