"""What this machine gives: settings, the data directory and its disk, open files, what waits on disk."""

import os
import resource
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from headrace.config import Config, meant, unknown_variables
from headrace.doctor import Finding, ok, wrong
from headrace.queue.disk.inspect import status, used_queues
from headrace.receiver.descriptors import SERVERS, connections_of_each

_WRITES = 16
_SLOW_SECONDS = 0.02
_OLD_SECONDS = 60
_MB = 1_000_000


def settings(environ: dict[str, str]) -> Iterator[Finding]:
    """Variables that look like settings and are none."""
    unknown = unknown_variables(environ)
    for name in unknown:
        hint = f" Is {meant(name)} meant?" if meant(name) else ""
        yield wrong("settings", "unknown-setting", f"{name} is no setting.{hint}")
    if not unknown:
        count = sum(name.startswith("HEADRACE_") for name in environ)
        yield ok("settings", f"{count} set, all of them known." if count else "All at their defaults.")


def data_directory(config: Config) -> Iterator[Finding]:
    """Whether the data directory can be written, how much is free there, and how long a durable write takes."""
    directory = config.data_dir
    there = next(path for path in (directory, *directory.parents) if path.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        yield wrong("data directory", "data-directory", f"{there} cannot be written by this user.")
        return
    yield ok("data directory", f"{directory} can be written." if there == directory else f"{directory} can be made.")
    free = shutil.disk_usage(there).free
    if free < config.min_free_bytes:
        yield wrong("disk", "disk-full", f"{free // _MB:,} MB are free, {config.min_free_bytes // _MB:,} MB have to be.")
        return
    try:
        seconds = _durable_write_seconds(there)
    except OSError as error:
        yield wrong("disk", "data-directory", f"{there}: {error.strerror}.")
        return
    said = f"{free // _MB:,} MB free, a durable write takes {seconds * 1000:.1f} ms."
    yield wrong("disk", "disk-slow", said) if seconds > _SLOW_SECONDS else ok("disk", said)


def _durable_write_seconds(directory: Path) -> float:
    """The median time of a write of 4 KiB with fsync, in seconds."""
    times = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(_WRITES):
            began = time.perf_counter()
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def open_files(config: Config) -> Iterator[Finding]:
    """Whether HEADRACE_MAX_CONNECTIONS fits under the limit of open files, which Headrace raises to the hard one itself."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        yield ok("open files", "No limit.")
        return
    each = connections_of_each(hard)
    if each < config.max_connections:
        said = f"The hard limit is {hard:,}: {each:,} connections to each of {SERVERS} ports, not {config.max_connections:,}."
        yield wrong("open files", "few-files", said)
    else:
        yield ok("open files", f"The hard limit is {hard:,}, enough for {config.max_connections:,} connections.")


def queue(config: Config) -> Iterator[Finding]:
    """What waits on disk, whether Headrace runs or not."""
    waiting, oldest = 0, 0
    try:
        for directory in used_queues(config.data_dir):
            one = status(directory)
            waiting += one.requests
            oldest = max(oldest, (time.time_ns() - one.oldest_unix_nano) // 1_000_000_000 if one.oldest_unix_nano else 0)
            for path in one.moved_aside:
                yield wrong("queue", "queue-damaged", f"Moved aside: {path}")
    except (sqlite3.Error, OSError) as error:
        yield wrong("queue", "queue-damaged", f"The queue cannot be read: {error}.")
        return
    if oldest > _OLD_SECONDS:
        yield wrong("queue", "backlog", f"{waiting:,} requests wait, the oldest for {oldest:,} s.")
    else:
        yield ok("queue", f"{waiting:,} requests wait.")
