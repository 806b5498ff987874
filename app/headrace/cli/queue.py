"""`headrace queue`: what waits on disk or in Kafka, and whether any of it is damaged."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.console import fail, stderr, stdout

if TYPE_CHECKING:
    from rich.table import Table

    from headrace.config import Config
    from headrace.config.kafka import KafkaUrl
    from headrace.queue.disk.inspect import Status

queue = typer.Typer(rich_markup_mode=None, help="The queue: what waits, and whether it is damaged.", no_args_is_help=True)

_MOST_LINES = 20

DataDir = Annotated[Path | None, typer.Option(help="HEADRACE_DATA_DIR: directory of the queues [default: ~/.headrace].")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object for each queue, one a line.")]


@queue.command()
def status(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show how full each worker's queue is; with HEADRACE_QUEUE_URL, how far the writers are in each partition. It does not
    matter whether Headrace runs."""
    from headrace.queue.disk.inspect import status as read

    config = _settings(data_dir)
    if config.kafka is not None:
        _kafka_status(config.kafka, as_json)
        return

    with _readable():
        found = [read(directory) for directory in _directories(data_dir)]
    if as_json:
        for one in found:
            print(json.dumps(_as_object(one)))
        return
    stdout().print(_table(found), soft_wrap=False)
    for path in [path for one in found for path in one.moved_aside]:
        stdout().print(f"Damaged, moved aside: {path}")


@queue.command()
def verify(data_dir: DataDir = None) -> None:
    """Read every request that waits, and check its bytes. The exit status is 1 if something is damaged."""
    from headrace.queue.disk.inspect import check_requests, damage

    sound = True
    for directory in _directories(data_dir):
        with _readable():
            if found := damage(directory):
                sound = False
                stderr().print(f"{directory}: {found}")
                continue
            requests = records = damaged = 0
            for checked in _with_progress(directory, check_requests(directory)):
                requests, records, damaged = requests + 1, records + checked.records, damaged + bool(checked.damage)
                if checked.damage and damaged <= _MOST_LINES:
                    stderr().print(f"{directory}: request {checked.id}: {checked.damage}")
            sound = sound and not damaged
            stdout().print(f"{directory}: {requests:,} requests, {records:,} records, {damaged:,} damaged")
    if not sound:
        fail(
            "Headrace moves a damaged file aside at its next start, and a damaged request when its turn comes. "
            "It writes the rest."
        )


def _with_progress(directory: Path, checked: "Iterator[Any]") -> "Iterator[Any]":
    from rich.progress import track

    from headrace.queue.disk.inspect import status as read

    total, hidden = read(directory).requests, not sys.stderr.isatty()
    return iter(track(checked, str(directory), total, console=stderr(), transient=True, disable=hidden))


def _settings(data_dir: Path | None) -> "Config":
    """The settings. Ends the process with a message if one is wrong."""
    from headrace.config import load
    from headrace.errors import StartError

    try:
        return load(data_dir=data_dir)
    except StartError as error:
        fail(error)


def _directories(data_dir: Path | None) -> list[Path]:
    """The directories of the queues. Ends the process with a message if there is none."""
    from headrace.queue.disk.inspect import used_queues

    directory = _settings(data_dir).data_dir
    return used_queues(directory) or fail(f"{directory} has no queue: name the directory with --data-dir.")


def _kafka_status(url: "KafkaUrl", as_json: bool) -> None:
    """Prints a line for each partition."""
    from rich.table import Table

    from headrace.errors import HeadraceError
    from headrace.queue.kafka.topic import Brokers

    try:
        brokers = Brokers(url)
        found = brokers.lag()
        brokers.close()
    except HeadraceError as error:
        fail(error)
    if as_json:
        for one in found:
            named = {"topic": url.topic, "group": url.group, "partition": one.partition, "committed": one.committed}
            print(json.dumps(named | {"first": one.first, "end": one.end, "records": one.records}))
        return
    table = Table("partition", "committed", "end", "records that wait", box=None, pad_edge=False)
    for one in found:
        table.add_row(
            str(one.partition), f"{one.committed:,}" if one.committed >= 0 else "–", f"{one.end:,}", f"{one.records:,}"
        )
    stdout().print(table, soft_wrap=False)
    stdout().print(f"{url.topic}, group {url.group}: {sum(one.records for one in found):,} records wait")


@contextmanager
def _readable() -> "Iterator[None]":
    """Turns an error of reading into one message and exit status 1."""
    import sqlite3

    try:
        yield
    except (sqlite3.Error, OSError) as error:
        fail(f"The queue cannot be read: {error}. `headrace queue verify` says more; the next start of Headrace repairs it.")


def _table(found: "list[Status]") -> "Table":
    """A row for each queue."""
    from rich.table import Table

    table = Table("queue", "requests", "size", "oldest", "file", "disk free", "owner", box=None, pad_edge=False)
    for one in found:
        owner = f"process {one.owner}" if one.owner else "not running"
        sizes = _size(one.bytes), _age(one.oldest_unix_nano), _size(one.file_bytes), _size(one.disk_free_bytes)
        table.add_row(str(one.directory), f"{one.requests:,}", *sizes, owner)
    return table


def _as_object(status: "Status") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        name: str(value) if isinstance(value, Path) else [str(path) for path in value] if isinstance(value, list) else value
        for name, value in asdict(status).items()
    }


def _size(number: int) -> str:
    """Bytes with a unit: `4.9 MB`."""
    from rich.filesize import decimal

    return decimal(number)


def _age(unix_nano: int) -> str:
    seconds = max(0, time.time_ns() - unix_nano) // 1_000_000_000
    if not unix_nano:
        return "–"
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
