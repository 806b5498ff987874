"""Stores resources and scopes in `headrace.origin`, so that spans can be read back as they were sent."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping

from cachetools import LRUCache

from headrace.mlflow.write.statements import STATEMENTS, Rows

_MAX_REMEMBERED = 100_000
"""Digests that a writer remembers, some 10 MB. The one not used for longest goes first, and is stored again."""
_MAX_BYTES = 8 * 1024 * 1024
"""Bytes of origins that one statement stores. psycopg holds some four copies of what a statement sends."""


class Origins:
    """Those that one writer has stored."""

    def __init__(self) -> None:
        self._used: MutableMapping[str, int] = LRUCache(_MAX_REMEMBERED)
        """Digest → the day, as a number, on which it was stored."""

    def add(self, cursor: Rows, origins: Mapping[str, tuple[bytes, str]]) -> dict[str, int]:
        """Stores resources and scopes, each with a trace that has them, unless this writer did so today: the same few come
        with every request. Returns those that it stored, with the day, to be remembered after the commit."""
        today = int(time.time() // 86_400)
        new = sorted(digest for digest in origins if self._used.get(digest) != today)
        for digests in _within(_MAX_BYTES, new, lambda digest: len(origins[digest][0])):
            data, traces = zip(*(origins[digest] for digest in digests), strict=True)
            cursor.execute(STATEMENTS["add_origins"], {"digest": digests, "origin": list(data), "trace_id": list(traces)})
        return dict.fromkeys(new, today)

    def remember(self, used: Mapping[str, int]) -> None:
        """Takes what `add` returned, once the transaction is committed."""
        self._used.update(used)


def _within(most: int, items: Iterable[str], size: Callable[[str], int]) -> Iterator[list[str]]:
    """The items in groups whose sizes add up to `most` at most; a larger item is a group of its own."""
    group: list[str] = []
    total = 0
    for item in items:
        total += size(item)
        if group and total > most:
            yield group
            group, total = [], size(item)
        group.append(item)
    if group:
        yield group
