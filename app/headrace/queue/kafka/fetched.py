"""A record as the reader has fetched it."""

from dataclasses import dataclass
from typing import Any

from headrace.queue.kafka.records import decode, offered_at


@dataclass(frozen=True, slots=True)
class Fetched:
    """A record as it was fetched. `epoch`: of the assignment of its partition under which it came. `ours`: a Headrace wrote it,
    and `value` is an envelope; else `value` is the record's own."""

    partition: int
    offset: int
    epoch: int
    value: bytes
    headers: dict[str, bytes]
    ours: bool
    offered_unix_nano: int

    @property
    def bytes(self) -> int:
        """What it takes of a batch, and of the memory."""
        return len(self.value)


def to_fetched(message: Any, epoch: int) -> Fetched:
    """A message of the client, as a record. A Headrace's own holds an envelope."""
    headers = {name: value or b"" for name, value in message.headers() or ()}
    value, (_, milliseconds) = message.value() or b"", message.timestamp()
    envelope = decode(headers, value)
    return Fetched(
        message.partition(),
        message.offset(),
        epoch,
        value if envelope is None else envelope,
        headers,
        envelope is not None,
        offered_at(headers, max(0, milliseconds) * 1_000_000),
    )
