"""The load: a process of its own, one thread that writes HTTP/1.1 by hand on kept-alive connections.

    closed loop (rate 0):  a connection sends its next request when its last one was answered
    open loop:             request n is due at start + n / rate, whatever the server does; late is late

A request is sent once: one that is refused is counted, not repeated.
"""

import json
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from itertools import cycle
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import cast

import psutil
from bench.shapes import SHAPES, templates

ROOT = Path(__file__).resolve().parent.parent
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send: until `seconds` are over or `requests` are sent, whichever is first; `rate` is in requests a second."""

    shape: str
    connections: int
    seconds: float
    requests: int = 0
    rate: float = 0.0
    port: int = 0
    processes: int = 1
    """The server's, over which the connections are spread evenly."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it. `first` (sent) and `last` (answered) are on the monotonic clock, which all processes share."""

    acknowledged: int
    """Requests that were answered 200, with nothing rejected."""
    refused: int
    first: float
    last: float
    ack: list[float]
    """p50, p99; in the open loop from when the request was due."""
    cpu: float
    """Seconds of the generator's process between the two."""


def generate(plan: Plan) -> Outcome:
    """Runs a generator to its end. Raises SubprocessError where it has none."""
    command = [sys.executable, "-m", "bench.load", json.dumps(asdict(plan))]
    limit = plan.seconds + 300
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, timeout=limit, start_new_session=True, check=True)
    return Outcome(**json.loads(done.stdout))


def _run(plan: Plan) -> Outcome:
    """Everything is serialized before the clock starts; then only ids and times are written over it."""
    bodies, idle, selector = cycle(templates(SHAPES[plan.shape])), _connect(plan), DefaultSelector()
    for connection in idle:
        selector.register(connection, EVENT_READ)
    head = f"POST /v1/traces HTTP/1.1\r\nhost: 127.0.0.1:{plan.port}\r\nx-mlflow-experiment-id: 0\r\n"
    start = f"{head}content-type: application/x-protobuf\r\ncontent-length: ".encode()
    sent, acknowledged = 0, 0
    began: dict[object, float] = {}
    waits: list[float] = []
    cpu, first = time.process_time(), time.monotonic()
    while True:
        now = time.monotonic()
        due = first + sent / plan.rate if plan.rate else now
        over = sent >= plan.requests or (not plan.rate and now >= first + plan.seconds)
        if over and len(waits) == sent:
            break
        if idle and not over and due <= now:
            body = next(bodies).fill()
            connection = idle.pop(0)  # in turn: the server closes one that is idle for long
            began[connection] = due
            connection.sendall(b"%b%d\r\n\r\n%b" % (start, len(body), body))
            sent += 1
            continue
        for key, _ in selector.select(due - now if idle and not over else None):
            connection = cast("socket.socket", key.fileobj)
            if connection in idle:  # a server may close what is idle for some seconds
                selector.unregister(connection)
                idle.remove(connection)
                connection.close()
                idle += (fresh := _connect(replace(plan, connections=1, processes=1)))
                selector.register(fresh[0], EVENT_READ)
                continue
            acknowledged += _answer(connection)
            waits.append(time.monotonic() - began[connection])
            idle.append(connection)
    cpu, last = time.process_time() - cpu, time.monotonic()
    ack = [sorted(waits)[int(len(waits) * share)] for share in (0.5, 0.99)]
    return Outcome(acknowledged, sent - acknowledged, first, last, ack, cpu)


def _connect(plan: Plan) -> list[socket.socket]:
    """The connections, as many to each of the server's processes. Left to chance, one worker may well accept them all while
    the others stand idle: that would be no fair measurement."""
    kept: list[socket.socket] = []
    owners: Counter[int] = Counter()
    while len(kept) < plan.connections:
        connection = socket.create_connection(("127.0.0.1", plan.port), timeout=280)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)  # a body fits, so that sending never waits
        owner = _owner(connection) if plan.processes > 1 else 0
        if owners[owner] * plan.processes < plan.connections:
            owners[owner] += 1
            kept.append(connection)
    return kept


def _owner(connection: socket.socket) -> int:
    """The process that has accepted a connection."""
    ends = connection.getpeername(), connection.getsockname()
    while True:
        time.sleep(0.01)
        for found in psutil.net_connections("tcp4"):
            if (found.laddr, found.raddr) == ends and found.pid:
                return found.pid


def _answer(connection: socket.socket) -> bool:
    """Reads one answer: is it 200, and empty? (In OTLP a body says what was rejected.)"""
    received = b""
    while True:
        received += (chunk := connection.recv(65536))
        head, complete, body = received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if complete and len(body) >= (int(length[1]) if length else 0):
            return head.startswith(b"HTTP/1.1 200") and not body
        if not chunk:
            raise ConnectionError("the server hung up")


if __name__ == "__main__":
    print(json.dumps(asdict(_run(Plan(**json.loads(sys.argv[1]))))))
