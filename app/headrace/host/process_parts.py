"""What runs in one process: the order in which its parts start and stop."""

import gc
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from fastapi import FastAPI

from headrace import tracing
from headrace.config import Config
from headrace.export.forwarder import Forwarder
from headrace.export.housekeeper import Housekeeper
from headrace.export.worker import Worker
from headrace.parts import PartTask
from headrace.queue import Queue
from headrace.receiver.grpc import GrpcReceiver
from headrace.receiver.serving import GRACE_SECONDS
from headrace.store.database import Database
from headrace.telemetry.logging import log

_CUT_AGAIN_SECONDS = 0.5
Beside = Housekeeper | Forwarder
"""A thread beside the writer."""


@dataclass(slots=True)
class Parts:
    """What runs in one process, in the order of its start; it stops in the other order, the senders first. A process that does
    not receive has no `grpc`, one that does not write no `worker` and no `housekeepers`."""

    config: Config
    queue: Queue
    database: Database
    worker: Worker | None = None
    housekeepers: Sequence[Beside] = ()
    grpc: GrpcReceiver | None = None
    tasks: list[PartTask] = field(default_factory=list)

    @asynccontextmanager
    async def running(self, _: FastAPI) -> AsyncIterator[None]:
        """FastAPI's lifespan: inside it all parts run."""
        # The garbage collector looks for cycles; a span makes many objects and no cycle. With Python's default thresholds
        # the collector took 40 % of the writer's time: 48 instead of 28 µs a span.
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        tracing.start(self.config)
        for part in (*self._threads, *self.tasks):
            part.start()
        if self.grpc is not None:
            await self.grpc.start()
        yield
        if self.grpc is not None:
            await self.grpc.stop(GRACE_SECONDS)
        for task in self.tasks:
            await task.stop()
        self._drain_and_stop()

    @property
    def _threads(self) -> Sequence[Worker | Beside]:
        return self.housekeepers if self.worker is None else (self.worker, *self.housekeepers)

    def _drain_and_stop(self) -> None:
        # All requests have been answered by now. What is still queued at the deadline is written after the next start. What a
        # fleet's queue holds, the other writers go on with: nobody could wait for its end.
        if self.grpc is not None and not self.queue.drain(self.config.shutdown_seconds):
            log.warning("stopped with a backlog, which is kept", requests=self.queue.size().items)
        with self._patience():
            for part in reversed(self._threads):
                part.stop()
        tracing.stop()
        self.queue.close()
        self.database.abort()  # a thread that looks experiments up may still wait for a Postgres that hangs
        self.database.close()
        log.info("stopped")

    @contextmanager
    def _patience(self) -> Iterator[None]:
        """Inside it, a Postgres that hangs, or somebody who holds a table, does not hold up the stop: after a while all
        connections are cut. That is done again and again, as a part that was not told to stop yet connects anew."""
        stopped = threading.Event()

        def cut() -> None:
            pause: float = GRACE_SECONDS
            while not stopped.wait(pause):
                self.database.abort()
                pause = _CUT_AGAIN_SECONDS

        cutting = threading.Thread(target=cut, name="headrace-patience", daemon=True)
        cutting.start()
        yield
        stopped.set()
        cutting.join()
