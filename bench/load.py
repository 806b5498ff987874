"""The load: a process of its own, one thread that writes HTTP by hand on connections that stay open.

    closed loop (rate 0):  a connection sends its next request when its last one was answered
    open loop:             request n is due at start + n / rate, whatever the server does; late is late

A request is sent once: one that is refused is counted, not repeated.
"""

import gzip
import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import cast

import psutil
from bench.shapes import SHAPES
from bench.stream import Request, Stream
from bench.wire import Connection, Grpc, Http, connect

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send: until `seconds` are over or `requests` are sent, whichever is first; `rate` is in requests a second.

    A trace that has begun is sent to its end.
    """

    shape: str
    connections: int
    seconds: float
    requests: int = 0
    rate: float = 0.0
    port: int = 0
    processes: int = 1
    """The server's, over which the connections are spread evenly."""
    transport: str = "http"
    encoding: str = ""
    """Of the bodies: empty, or gzip."""

    @property
    def name(self) -> str:
        """In the table: the shape, and what is unusual about its way."""
        return " ".join(filter(None, [self.shape, self.transport.replace("http", ""), self.encoding]))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it. `first` (sent) and `last` (answered) are on the monotonic clock, which all processes share."""

    acknowledged: int
    """Requests that were answered with success, with nothing rejected."""
    refused: int
    spans: int
    """In the requests that were acknowledged."""
    traces: int
    """Of which each request was acknowledged."""
    first: float
    last: float
    ack: list[float]
    """p50, p99; in the open loop from when the request was due. Empty: nothing was answered."""
    cpu: float
    """Seconds of the generator's process between the two."""


def generate(plan: Plan) -> Outcome:
    """Runs a generator to its end. Raises SubprocessError where it has none."""
    command = [sys.executable, "-m", "bench.load", json.dumps(asdict(plan))]
    limit = plan.seconds + 300
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, timeout=limit, start_new_session=True, check=True)
    return Outcome(**json.loads(done.stdout))


@dataclass(slots=True)
class _Tally:
    """What has been sent and answered so far."""

    sent: int = 0
    acknowledged: int = 0
    spans: int = 0
    groups: dict[int, int] = field(default_factory=dict)
    """The traces of each group of which nothing was refused."""
    broken: set[int] = field(default_factory=set)
    waits: list[float] = field(default_factory=list)

    def answered(self, request: Request, *, accepted: bool, seconds: float) -> None:
        self.waits.append(seconds)
        if accepted:
            self.acknowledged += 1
            self.spans += request.spans
            self.groups[request.group] = request.traces
        else:
            self.broken.add(request.group)

    def outcome(self, first: float, cpu: float) -> Outcome:
        traces = sum(count for group, count in self.groups.items() if group not in self.broken)
        waits = sorted(self.waits)
        ack = [waits[int(len(waits) * share)] for share in (0.5, 0.99)] if waits else []
        refused = self.sent - self.acknowledged
        return Outcome(self.acknowledged, refused, self.spans, traces, first, time.monotonic(), ack, cpu)


class _Run:
    """One measurement. Everything is serialized before the clock starts; then only ids and times are written over it."""

    def __init__(self, plan: Plan) -> None:
        encode = partial(gzip.compress, compresslevel=1, mtime=0) if plan.encoding else None
        self._plan, self._tally, self._selector = plan, _Tally(), DefaultSelector()
        self._stream = Stream(SHAPES[plan.shape], plan.requests, encode)
        if encode:
            self._stream.make_ahead()
        self._idle = _connect(plan, plan.connections, plan.processes)
        for connection in self._idle:
            self._selector.register(connection, EVENT_READ)
        self._busy: dict[Connection, tuple[Request, float]] = {}
        self._upcoming = self._stream.next()

    def outcome(self) -> Outcome:
        """Sends and receives until all is answered."""
        plan, over = self._plan, False
        cpu, first = time.process_time(), time.monotonic()
        while self._upcoming or self._busy:
            now = time.monotonic()
            if not (over or plan.rate) and now >= first + plan.seconds:
                over = True
                self._stop()
                continue  # perhaps all is answered, and nothing is left to send: then nothing would ever be received
            due = first + self._tally.sent / plan.rate if plan.rate else now
            if self._idle and self._upcoming and due <= now:
                self._send(self._upcoming, due)
            else:
                self._receive(due - now if self._idle and self._upcoming else None)
        return self._tally.outcome(first, time.process_time() - cpu)

    def _stop(self) -> None:
        self._stream.stop()
        if self._upcoming and self._upcoming.opens:
            self._stream.take_back(self._upcoming)
            self._upcoming = self._stream.next()

    def _send(self, request: Request, due: float) -> None:
        connection = self._idle.pop(0)  # in turn: the server closes one that is idle for long
        self._busy[connection] = request, due
        self._tally.sent += 1
        self._settle(connection, connection.send(request.body, request.signal))
        self._upcoming = self._stream.next()

    def _receive(self, seconds: float | None) -> None:
        for key, _ in self._selector.select(seconds):
            connection = cast("Connection", key.fileobj)
            if connection in self._busy:
                self._settle(connection, connection.answer())
            elif not connection.lives():  # a server may close what is idle for some seconds
                self._selector.unregister(connection)
                self._idle.remove(connection)
                connection.close()
                self._idle += (fresh := _connect(self._plan, 1, 1))
                self._selector.register(fresh[0], EVENT_READ)

    def _settle(self, connection: Connection, accepted: bool | None) -> None:
        if accepted is not None:
            request, since = self._busy.pop(connection)
            self._tally.answered(request, accepted=accepted, seconds=time.monotonic() - since)
            self._idle.append(connection)


def _connect(plan: Plan, connections: int, processes: int) -> list[Connection]:
    """The connections, as many to each of the server's processes. Left to chance, one worker may well accept them all while
    the others stand idle: that would be no fair measurement."""
    kept: list[Connection] = []
    owners: Counter[int] = Counter()
    while len(kept) < connections:
        made = connect(plan.port)
        owner = _owner(made.getpeername(), made.getsockname()) if processes > 1 else 0
        if owners[owner] * processes < connections:
            owners[owner] += 1
            wire: Connection = Grpc(made, plan.encoding) if plan.transport == "grpc" else Http(made, plan.encoding)
            kept.append(wire)
    return kept


def _owner(*ends: tuple[str, int]) -> int:
    """The process that has accepted a connection."""
    while True:
        time.sleep(0.01)
        for found in psutil.net_connections("tcp4"):
            if (found.laddr, found.raddr) == ends and found.pid:
                return found.pid


if __name__ == "__main__":
    print(json.dumps(asdict(_Run(Plan(**json.loads(sys.argv[1]))).outcome())))
