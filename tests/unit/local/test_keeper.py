"""What `up` says when its servers answer, end, and answer again."""

import threading
from pathlib import Path

import pytest

from headrace.local import keeper
from headrace.local.child import Child
from headrace.local.keeper import Keeper, Ready
from headrace.telemetry.logging import log


class Server(Child):
    """A server that answers and ends when it is told to."""

    title = "console"

    def __init__(self) -> None:
        super().__init__("console", "", Path("/nowhere"), [])
        self.starts = 0
        self.up = self.open = False
        self.started = threading.Semaphore(0)

    @property
    def running(self) -> bool:
        return self.up

    def start(self, database_url: str) -> None:
        self.starts += 1
        self.up = True
        self.started.release()

    def answers(self) -> bool:
        return self.open

    def last_line(self) -> str:
        return "Killed"

    def stop(self) -> None:
        self.up = False


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "_LOOK_SECONDS", 0.001)
    monkeypatch.setattr(keeper, "_FIRST_PAUSE_SECONDS", 0.001)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    events: list[str] = []
    for level in ("info", "warning", "error"):
        monkeypatch.setattr(log, level, lambda event, **_: events.append(event))
    return events


def test_all_parts_have_to_answer_and_it_is_said_once() -> None:
    told: list[str] = []
    ready = Ready(["receiver", "console"], lambda: told.append("ready"))
    ready.answers("receiver")
    ready.answers("receiver")
    assert not told
    ready.answers("console")
    ready.answers("console")
    assert told == ["ready"]


def test_nothing_is_ready_before_the_server_answers(said: list[str]) -> None:
    server, announced = Server(), threading.Event()
    kept = Keeper(server, 60, Ready(["console"], announced.set))
    kept.start("postgresql:///mlflow")
    assert server.started.acquire(timeout=20)
    assert not announced.wait(0.05)
    server.open = True
    assert announced.wait(20)
    kept.stop()
    assert not server.up
    assert not said


def test_a_server_that_ends_is_started_again_and_that_is_said(said: list[str]) -> None:
    server, announced = Server(), threading.Event()
    server.open = True
    kept = Keeper(server, 60, Ready(["console"], announced.set))
    kept.start("postgresql:///mlflow")
    assert announced.wait(20)
    server.started.acquire()
    server.up = False
    assert server.started.acquire(timeout=20)
    while len(said) < 2:
        threading.Event().wait(0.001)
    kept.stop()
    assert said == ["a server of `up` has ended: starting it again", "a server of `up` answers again"]
