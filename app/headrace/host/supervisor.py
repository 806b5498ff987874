"""Several worker processes (HEADRACE_WORKERS), which share only the ports and Postgres, and a supervisor that keeps them
running.

    supervisor ─┬─ worker 0: receiver, <data_dir>/queue,   writer      The supervisor holds the ports (SO_REUSEPORT, never
                ├─ worker 1: receiver, <data_dir>/queue-1, writer      listening); each worker listens on its own socket, and
                └─ …                                                  the kernel spreads the connections over them.

In this module "worker" means such a process. A worker that ends is started again; its queue is on disk. If the supervisor ends,
its workers notice and stop. Workers are spawned, not forked, because no thread survives a fork.
Importing this module must not import `headrace.telemetry.metrics`: see `worker_process.py`.
"""

import asyncio
import multiprocessing
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.config import Config
from headrace.errors import StartError
from headrace.host.worker_process import Work, run_worker

if TYPE_CHECKING:
    from headrace.store.database import Database

_KILL_SECONDS = 10.0
"""Seconds after HEADRACE_SHUTDOWN_SECONDS when a stop kills the workers that have not ended."""

_STEADY_SECONDS = 30.0
_MOST_PAUSE_SECONDS = 5.0


class Supervisor:
    """A `Host` of several worker processes. It takes the ports when it is made; that of gRPC only if it `receives`.

    Raises:
        StartError: a port is taken by another process.
    """

    def __init__(self, config: Config, work: Work, receives: bool = True) -> None:
        from headrace.receiver.listen import reserve

        http = reserve(config.host, config.http_port, "HEADRACE_HTTP_PORT or --http-port")
        grpc = reserve(config.host, config.grpc_port, "HEADRACE_GRPC_PORT or --grpc-port") if receives else None
        self._held = (http, grpc)  # keeps the sockets open as long as this object lives
        self.port, self.grpc_port = http.getsockname()[1], grpc.getsockname()[1] if grpc else 0
        self._receives = receives
        self._config = config.model_copy(update={"http_port": self.port, "grpc_port": self.grpc_port} | _shares(config))
        self._work = work
        self._processes: dict[int, _WorkerProcess] = {}
        self._ready: set[int] = set()
        self._uncounted = dict.fromkeys(range(config.workers), 0)  # restarts that no run of the worker has counted yet

    def open(self, database_url: str) -> "Database":
        """See `Host.open`."""
        from headrace.queue.disk.adopt import adopt_leftovers
        from headrace.store.database import Database

        if self._receives:
            adopt_leftovers(self._config.data_dir, self._config.workers)
        self._database_url, self._database = database_url, Database(database_url)
        return self._database

    def run(self, on_ready: Callable[[], None], check: Callable[[], None]) -> None:
        """See `Host.run`. `on_ready` is called once all workers take requests."""
        try:
            self._metrics = Path(tempfile.mkdtemp(prefix="metrics-", dir=self._config.data_dir))
        except OSError as error:
            raise StartError(f"HEADRACE_DATA_DIR, {self._config.data_dir}, cannot be written: {error.strerror}.") from None
        self._database.close()  # it was opened only for the check of its schema
        resource_tracker.ensure_running()  # else the first spawn starts it, which unblocks the signal that _spawn() blocks
        try:
            asyncio.run(self._supervise(on_ready, check))
        finally:
            shutil.rmtree(self._metrics, ignore_errors=True)

    async def _supervise(self, on_ready: Callable[[], None], check: Callable[[], None]) -> None:
        self._stopping, self._all_ready = asyncio.Event(), asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._stopping.set)
        parts = [self._keep(number) for number in range(self._config.workers)]
        tasks = [asyncio.create_task(part) for part in (*parts, self._announce(on_ready), self._watch(check), self._end_all())]
        try:
            await asyncio.gather(*tasks)
        finally:
            self._stopping.set()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, number: int) -> None:
        """Runs one worker, and runs it again whenever it ends, until the stop."""
        from headrace.telemetry.logging import log

        quick = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            if (worker := self._spawned(number)) is None:
                await self._stopped_within(_MOST_PAUSE_SECONDS)
                continue
            await worker.ended.wait()
            if self._stopping.is_set():
                return
            status = worker.process.exitcode or 0  # negative: the signal that ended it
            if status >= 0 and not self._all_ready.is_set():
                raise StartError(worker.error or f"Worker {number} ended at its start with status {status}: see the log above.")
            quick = quick + 1 if time.monotonic() - began < _STEADY_SECONDS else 0
            pause = min(_MOST_PAUSE_SECONDS, 2.0 ** (quick - 3)) if quick > 1 else 0.0
            said = {"error": worker.error} if worker.error else {}
            log.error("worker ended: starting it again", worker=number, status=status, pause_seconds=pause, **said)
            self._uncounted[number] += 1
            await self._stopped_within(pause)

    def _spawned(self, number: int) -> "_WorkerProcess | None":
        """A new process for this worker. None: no process, memory or descriptor is to be had, and the other workers go on.

        Raises:
            StartError: none is to be had while Headrace starts.
        """
        from headrace.telemetry.logging import log

        try:
            worker = self._processes[number] = self._spawn(number)
        except OSError as error:
            if not self._all_ready.is_set():
                raise StartError(f"Worker {number} cannot be started: {error.strerror}.") from None
            log.error("worker cannot be started", worker=number, error=str(error))
            return None
        return worker

    def _spawn(self, number: int) -> "_WorkerProcess":
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        restarts = self._uncounted[number]
        arguments = (self._work, self._config, self._database_url, number, restarts, self._metrics, theirs)
        process = context.Process(target=run_worker, args=arguments, name=f"headrace-worker-{number}", daemon=True)
        # Ctrl-C on a terminal goes to all processes; the workers shall hear of it only from us.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        theirs.close()
        return _WorkerProcess(process, ours, partial(self._is_ready, number))

    def _is_ready(self, number: int) -> None:
        self._uncounted[number] = 0
        self._ready.add(number)
        if len(self._ready) == self._config.workers:
            self._all_ready.set()

    async def _announce(self, on_ready: Callable[[], None]) -> None:
        await self._all_ready.wait()
        if not self._stopping.is_set():
            # All queues of this directory are ours now. So no process uses the metrics that an earlier SIGKILL left here.
            for path in set(self._config.data_dir.glob("metrics-*")) - {self._metrics}:
                shutil.rmtree(path, ignore_errors=True)
            await asyncio.to_thread(on_ready)

    async def _watch(self, check: Callable[[], None]) -> None:
        while not await self._stopped_within(1):
            check()

    async def _end_all(self) -> None:
        """Waits for the stop. Then sends SIGTERM to all workers, and SIGKILL to those that do not end in time."""
        from headrace.telemetry.logging import log

        await self._stopping.wait()
        self._all_ready.set()  # so that `_announce` ends
        for worker in self._processes.values():
            worker.process.terminate()
        ends = asyncio.gather(*(worker.ended.wait() for worker in self._processes.values()))
        try:
            await asyncio.wait_for(ends, self._config.shutdown_seconds + _KILL_SECONDS)
        except asyncio.TimeoutError:
            for number, worker in self._processes.items():
                if not worker.ended.is_set():
                    log.error("worker does not stop: killed", worker=number)
                    worker.process.kill()

    async def _stopped_within(self, seconds: float) -> bool:
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        return self._stopping.is_set()


class _WorkerProcess:
    """One run of one worker: its process, and the pipe on which it sends "" once it takes requests, or why it cannot start."""

    def __init__(self, process: SpawnProcess, link: "Connection[str, str]", on_ready: Callable[[], None]) -> None:
        self.process, self.error, self.ended = process, "", asyncio.Event()
        self._link, self._on_ready = link, on_ready
        asyncio.get_running_loop().add_reader(link.fileno(), self._hear)

    def _hear(self) -> None:
        try:
            self.error = self._link.recv()
        except (EOFError, OSError):  # the process has ended: only it held the other end
            asyncio.get_running_loop().remove_reader(self._link.fileno())
            self._link.close()
            self.process.join()
            self.ended.set()
        else:
            if not self.error:
                self._on_ready()


def _shares(config: Config) -> dict[str, int]:
    """Limits for all workers together → one worker's share of each. If a total admits the largest body, so does a share."""
    totals = {"queue_max_bytes": config.queue_max_bytes, "max_in_flight_bytes": config.max_in_flight_bytes}
    shares = {name: max(total // config.workers, min(total, config.max_body_bytes)) for name, total in totals.items()}
    return shares | {"max_connections": -(-config.max_connections // config.workers)}
