"""What tests/unit/conftest.py forbids is found."""

import asyncio
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest

from unit.conftest import DoesIO, guard


def bind() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))


FORBIDDEN: dict[str, Callable[[], Any]] = {
    "a connection": lambda: socket.create_connection(("127.0.0.1", 9)),
    "a name that is looked up": lambda: socket.getaddrinfo("localhost", 80),
    "a server": bind,
    "a process": lambda: subprocess.run([sys.executable, "--version"], check=False),
    "a fork": os.fork,
    "Postgres": lambda: psycopg.connect("postgresql://localhost"),
    "a gRPC channel": lambda: grpc.insecure_channel("127.0.0.1:9"),
    "SQLite": lambda: sqlite3.connect(":memory:"),
    "a written file": lambda: Path("/tmp/written").write_text("x"),
    "a directory": lambda: Path("/tmp/made").mkdir(),
    "a file by its descriptor": lambda: os.fdopen(os.open("/tmp/written", os.O_WRONLY | os.O_CREAT), "w"),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_is_refused_and_noted(what: str) -> None:
    with pytest.raises(DoesIO):
        FORBIDDEN[what]()
    assert guard.seen
    guard.seen.clear()  # else this test would fail


def test_python_may_keep_what_it_has_compiled() -> None:
    """As it does in a fresh clone: a directory, a file that it opens twice, and a new name for it."""
    for event, *arguments in (
        ("os.mkdir", "/code/__pycache__", 0o777, -1),
        ("open", "/code/__pycache__/module.pyc.1", "xb", os.O_WRONLY | os.O_CREAT),
        ("open", 12, "wb", os.O_WRONLY | os.O_CREAT),
        ("os.rename", "/code/__pycache__/module.pyc.1", "/code/__pycache__/module.pyc", -1, -1),
    ):
        sys.audit(event, *arguments)


def test_reading_and_event_loops_are_allowed() -> None:
    assert Path(__file__).read_text()
    assert asyncio.run(asyncio.sleep(0, "done")) == "done"
    Path(os.devnull).write_text("x")
