"""Power cuts played from a record of what a process did to its files (see record_writes.c).

A disk keeps what was synced. Of what was not, each write may have reached it or not, whole or in part, in any order.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

_SECTOR = 512
_HEAD = struct.Struct("=cQQQ")


@dataclass(frozen=True, slots=True)
class Operation:
    """w(rite), t(runcate), u(nlink) or s(ync) of a file; a(cknowledged): what the process says of itself, in `offset`."""

    kind: str
    path: Path
    offset: int
    data: bytes


@dataclass(slots=True)
class _File:
    synced: bytearray | None = None
    """What the disk has for certain; None: no such file."""
    open: list[Operation] = field(default_factory=list)


def read_record(log: Path) -> list[Operation]:
    """All operations, in order."""
    data, position, found = log.read_bytes(), 0, []
    while position < len(data):
        kind, length, offset, size = _HEAD.unpack_from(data, position)
        position += _HEAD.size
        path = Path(data[position : position + length].decode())
        body = data[position + length : position + length + size] if kind == b"w" else b""
        position += length + len(body)
        found.append(Operation(kind.decode(), path, offset, body))
    return found


def cut(operations: list[Operation], at: set[int], random: Random) -> Iterator[tuple[int, dict[Path, bytes]]]:
    """For each place of `at` one of the states in which a power cut before that operation may leave the files."""
    files: dict[Path, _File] = {}
    for place, operation in enumerate(operations):
        if place in at:
            states = {path: _left(file, random) for path, file in files.items()}
            yield place, {path: bytes(state) for path, state in states.items() if state is not None}
        if operation.kind == "s":
            file = files.setdefault(operation.path, _File())
            file.synced, file.open = _apply(file.synced, file.open), []
            _sync_removals(operation.path, files)
        elif operation.kind != "a":
            files.setdefault(operation.path, _File()).open.append(operation)


def _sync_removals(directory: Path, files: dict[Path, _File]) -> None:
    """A removal is of the directory, and certain once that is synced."""
    for path, file in files.items():
        removals = [place for place, operation in enumerate(file.open) if operation.kind == "u"]
        if removals and path.parent == directory:
            file.synced, file.open = None, file.open[removals[-1] + 1 :]


def _left(file: _File, random: Random) -> bytearray | None:
    """What of the operations that were not synced has reached the disk: in order up to some place, or any of them."""
    if random.random() < 0.3:
        reached = file.open[: random.randint(0, len(file.open))]
    else:
        reached = [part for operation in file.open for part in _torn(operation, random)]
    return _apply(None if file.synced is None else bytearray(file.synced), reached)


def _torn(operation: Operation, random: Random) -> Iterator[Operation]:
    if operation.kind != "w" or len(operation.data) <= _SECTOR or random.random() < 0.5:
        if random.random() < 0.5:
            yield operation
        return
    start = random.randrange(0, len(operation.data), _SECTOR)
    end = random.randrange(start, len(operation.data) + _SECTOR, _SECTOR)
    yield Operation("w", operation.path, operation.offset + start, operation.data[start:end])


def _apply(content: bytearray | None, operations: list[Operation]) -> bytearray | None:
    now = content
    for operation in operations:
        if operation.kind == "u":
            now = None
            continue
        now = bytearray() if now is None else now
        end = operation.offset + len(operation.data)
        if operation.kind == "t":
            del now[operation.offset :]
        if len(now) < end:
            now.extend(bytes(end - len(now)))
        now[operation.offset : end] = operation.data
    return now
