"""What of one partition was fetched, and what of that is settled. No I/O."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count, groupby

MOST_METADATA = 3500
"""The most characters of settled ranges that are committed with an offset. Kafka's own limit is 4096 bytes
(`offset.metadata.max.bytes`). What does not fit is handed out again after a restart, which changes no row."""


@dataclass(slots=True)
class Pending:
    """A record that was fetched and is not settled: how many of its parts are not, its bytes, and when it was offered."""

    parts: int
    bytes: int
    offered_unix_nano: int


@dataclass(slots=True)
class Progress:
    """One partition, from the time that it is assigned to this process until it is taken away.

    `position`: the offset that is fetched next. `end`: the offset behind the last record that is known to exist. `settled`:
    offsets of records that are settled while an earlier one is not.
    """

    epoch: int
    position: int
    end: int
    settled: set[int] = field(default_factory=set)
    pending: dict[int, Pending] = field(default_factory=dict)
    bytes: int = 0

    def fetch(self, offset: int, size: int, offered_unix_nano: int) -> bool:
        """Notes that a record was fetched. Returns whether it is to be handed out: it is not if it was settled already."""
        self.position = max(self.position, offset + 1)
        self.end = max(self.end, self.position)
        if offset in self.settled:
            self._prune()
            return False
        self.pending[offset] = Pending(1, size, offered_unix_nano)
        self.bytes += size
        return True

    def settle(self, offset: int) -> bool:
        """Settles one part of a record. Returns whether the whole record is settled by that."""
        if (record := self.pending.get(offset)) is None:
            return False
        record.parts -= 1
        if record.parts > 0:
            return False
        del self.pending[offset]
        self.bytes -= record.bytes
        self.settled.add(offset)
        self._prune()
        return True

    @property
    def committable(self) -> int:
        """The offset to be committed: all records before it are settled."""
        return next(iter(self.pending), self.position)

    @property
    def items(self) -> int:
        """How many records exist from here on and are not settled."""
        ahead = sum(1 for offset in self.settled if offset >= self.position)
        return len(self.pending) + max(0, self.end - self.position - ahead)

    @property
    def oldest_unix_nano(self) -> int:
        """When the first record that was fetched and is not settled was offered. 0: there is none."""
        first = next(iter(self.pending.values()), None)
        return first.offered_unix_nano if first else 0

    def _prune(self) -> None:
        upto = self.committable
        self.settled = {offset for offset in self.settled if offset >= upto}


def to_text(settled: Iterable[int]) -> str:
    """Offsets → `3-5,7`, which is committed with the offset. It is cut to `MOST_METADATA` characters."""
    ranges: list[str] = []
    length = 0
    for first, last in _ranges(settled):
        text = f"{first}-{last}" if last > first else str(first)
        length += len(text) + 1
        if length > MOST_METADATA:
            break
        ranges.append(text)
    return ",".join(ranges)


def from_text(text: str) -> set[int]:
    """The inverse of `to_text`. Empty for a text of somebody else."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()) or int(last or first) - int(first) > 1_000_000:
            return set()
        found.update(range(int(first), int(last or first) + 1))
    return found


def _ranges(offsets: Iterable[int]) -> Iterator[tuple[int, int]]:
    numbers = count()
    for _, together in groupby(sorted(offsets), key=lambda offset: offset - next(numbers)):
        run = list(together)
        yield run[0], run[-1]
