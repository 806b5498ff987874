"""Threads and tasks that end are run again, and named meanwhile."""

import asyncio
import errno
import threading

import pytest
from conftest import wait_until

from headrace.parts import Part, PartTask, PartThread, Times, down
from headrace.telemetry.metrics import PART_RESTARTS

ENDS = [OSError(errno.EMFILE, "Too many open files"), MemoryError(), SystemExit(1), RecursionError("deep"), None]

SOON = Times(first_pause=0.001, longest_pause=0.001, well=0.01)
LATE = Times(first_pause=0.001, longest_pause=0.001, well=3600)
"""Not well before somebody has looked, however slow the machine is."""


def restarts(part: str) -> float:
    return float(PART_RESTARTS.labels(part)._value.get())


class Body:
    """Ends as it is told: the first time at once, the second time when it may; then runs until it is stopped."""

    def __init__(self, end: BaseException | None) -> None:
        self.end, self.runs = end, 0
        self.again, self.may_end, self.goes_on = threading.Event(), threading.Event(), threading.Event()
        self.thread = PartThread("worker", self, times=LATE)

    def __call__(self) -> None:
        self.runs += 1
        if self.runs == 2:
            self.again.set()
            assert self.may_end.wait(60)
        if self.runs < 3:
            if self.end is not None:
                raise self.end
            return
        self.goes_on.set()
        self.thread.stopping.wait()


@pytest.mark.parametrize("end", ENDS, ids=repr)
def test_a_thread_that_ends_is_run_again(end: BaseException | None, caplog: pytest.LogCaptureFixture) -> None:
    before = restarts("worker")
    body = Body(end)
    body.thread.start()
    assert body.again.wait(60)
    (found,) = down()
    assert (found.part, found.takes_requests) == ("worker", False)
    assert found.error == (f"{type(end).__name__}: {end}" if end else "it returned")
    body.thread._part._times = SOON
    body.may_end.set()
    assert body.goes_on.wait(60)
    wait_until(lambda: not down(), 60)
    assert restarts("worker") - before == 2
    assert caplog.text.count("part ended") == 1  # the same reason once
    body.thread.stop()
    assert down() == []


@pytest.mark.parametrize("end", [OSError("a fault"), asyncio.CancelledError(), None], ids=repr)
def test_a_task_that_ends_is_run_again(end: BaseException | None) -> None:
    async def main() -> None:
        runs, cleaned = 0, False
        goes_on = asyncio.Event()

        async def body() -> None:
            nonlocal runs, cleaned
            runs += 1
            if runs == 1:
                if end is not None:
                    raise end
                return
            goes_on.set()
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0)
                cleaned = True

        task = PartTask("tls", body, takes_requests=True, times=SOON)
        task.start()
        while not down():  # noqa: ASYNC110
            await asyncio.sleep(0)
        await asyncio.wait_for(goes_on.wait(), 60)
        while down():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await task.stop()
        assert cleaned
        assert (runs, down()) == (2, [])

    asyncio.run(main())


def test_a_part_that_cannot_be_run_again_stays_down() -> None:
    lives = True
    part = Part("own-traces", lives=lambda: lives)
    part.enter()
    assert down() == []
    lives = False
    (first,) = down()
    assert down() == [first]  # since when does not change
    part.leave()
