"""A run that is ended by SIGTERM ends as one that is ended by Ctrl-C: the fixtures end what they have started. Without this,
their Postgres and Headrace processes outlive it. A part of tests/conftest.py."""

import os
import signal
import sys
from types import FrameType

import psutil
import pytest


class Terminated(KeyboardInterrupt):
    """SIGTERM came. Not an Exception: nothing between the signal and pytest catches it."""


def pytest_configure(config: pytest.Config) -> None:
    """pytest's hook, in each process of pytest-xdist too."""
    if hasattr(signal, "SIGTERM") and sys.platform != "win32":
        _install(spreads=bool(config.getoption("numprocesses", 0)) and not hasattr(config, "workerinput"))


def end_in_order() -> None:
    """From now on SIGTERM ends this program, which is no pytest, as Ctrl-C does: its `finally` blocks are run."""
    _install(spreads=False)


def _install(spreads: bool) -> None:
    """`spreads`: this is the process whose children are pytest-xdist's workers; they get the signal before it ends itself."""
    owner = os.getpid()

    def end(number: int, _: FrameType | None) -> None:
        if os.getpid() != owner:  # a fork of a test's
            os._exit(128 + number)
        # From now on only finalizers run: they are not to be interrupted, neither by a second SIGTERM, nor by the SIGINT that
        # execnet sends to a worker that takes more than 5 s. A handler and not SIG_IGN, which new processes would inherit.
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, lambda *_: None)
        if spreads:
            for worker in psutil.Process().children():
                worker.terminate()
        raise Terminated("SIGTERM")

    signal.signal(signal.SIGTERM, end)
