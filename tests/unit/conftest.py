"""A unit test does no I/O: it uses no network, starts no process, asks no Postgres, and writes no file. It may read files, as
Python does whenever it imports a module. What is here fails a test that breaks the rule."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest

from headrace.config import Config, load

_EVENTS = {
    *("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname", "sqlite3.connect"),
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty"),
    *("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink"),
}
"""Python's audit events (PEP 578) of what is forbidden."""
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_PYTHON_S_OWN = ("__pycache__", os.devnull, ".hypothesis")
_IN_C = (
    *((psycopg, "connect"), (psycopg.Connection, "connect"), (psycopg.AsyncConnection, "connect")),
    *((grpc, "insecure_channel"), (grpc, "secure_channel"), (grpc, "server"), (grpc.aio, "insecure_channel")),
)
"""What opens connections without an audit event."""
_FIXTURES = {"postgres", "new_database", "headrace", "up", "tmp_path", "tmp_path_factory", "tmpdir"}
"""Fixtures that do I/O; each fixture that needs one of them does, too."""


class DoesIO(RuntimeError):
    """A unit test did what unit tests do not."""


class Guard:
    """While it is active, what is forbidden raises DoesIO, and is noted: the code under test may catch the exception."""

    def __init__(self) -> None:
        self.active = False
        self.seen: list[str] = []

    def audit(self, event: str, args: tuple[Any, ...]) -> None:
        """Python's audit hook; it is called in each thread."""
        if self.active and (event in _EVENTS or (event == "open" and _is_written(args))) and not _is_python_s_own(args):
            self.refuse(f"{event}{args}")

    def refuse(self, what: str) -> None:
        """Always raises DoesIO."""
        self.seen.append(what)
        raise DoesIO(f"{what}: a unit test does no I/O. Tests with files or Postgres belong to tests/db.")


def _is_written(args: tuple[Any, ...]) -> bool:
    """Of the event `open`: path, mode, flags."""
    path, _, flags = args
    return bool((flags or 0) & _WRITES) and not isinstance(path, int)  # a descriptor was opened before, and seen then


def _is_python_s_own(args: tuple[Any, ...]) -> bool:
    """Whether a path is one that Python writes whenever it imports a module for the first time, or that writes to nothing."""
    path = args[0] if args else None
    return isinstance(path, str | bytes | os.PathLike) and any(name in os.fsdecode(path) for name in _PYTHON_S_OWN)


guard = Guard()
sys.addaudithook(guard.audit)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """pytest's hook; it gets the items of all tiers."""
    for item in items:
        needed = _FIXTURES & set(getattr(item, "fixturenames", ()))
        if needed and Path(__file__).parent in item.path.parents:
            raise pytest.UsageError(
                f"{item.nodeid} needs {', '.join(sorted(needed))}: it belongs to another tier than tests/unit"
            )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """pytest's hook."""
    yield from guarded()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """pytest's hook."""
    yield from guarded()


def guarded() -> Iterator[None]:
    """Fails what runs meanwhile if it does I/O, even where the code under test catches the exception."""
    guard.seen.clear()
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in _IN_C:
            patch.setattr(owner, name, lambda *_, _name=name, **__: guard.refuse(_name))
        guard.active = True
        try:
            yield
        finally:
            guard.active = False
    if guard.seen:
        raise DoesIO(f"a unit test does no I/O, and this one did: {'; '.join(guard.seen)}")


@pytest.fixture(scope="session")
def config() -> Config:
    """Settings as `headrace serve` has them; their data directory does not exist. They are frozen, and read once."""
    return load(data_dir=Path("/nonexistent"))
