"""Plays cases: opens a connection, sends what the case says, reads what comes back."""

import select
import socket
import struct
import time

from fuzz.wire.answers import Answers, of_http1, of_http2
from fuzz.wire.case import Case, Step

CONNECT_SECONDS = 5.0
_SEND_SECONDS = 3.0
_IDLE_SECONDS = 0.3
"""A server that says nothing for so long is not waited for any more."""
_MOST_READ = 4 * 2**20
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: a close resets the connection."""


def play(case: Case, address: tuple[str, int]) -> Answers:
    """Returns what came back.

    Raises:
        ConnectionRefusedError, TimeoutError: nobody takes connections there.
    """
    with socket.create_connection(address, CONNECT_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = bytearray()
        try:
            for step in case.steps:
                _send(connection, step, data, deaf=case.end == "deaf")
            if case.end == "half":
                connection.shutdown(socket.SHUT_WR)
            if case.end in ("read", "half"):
                _read(connection, case, data)
        except OSError:
            pass  # the server has closed or reset it, which is its right
        if case.end == "deaf":
            time.sleep(_IDLE_SECONDS)
        elif case.end == "cut":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    return _answers(case, bytes(data))


def _answers(case: Case, data: bytes) -> Answers:
    return of_http2(data) if case.port == "grpc" and not data.startswith(b"HTTP/1") else of_http1(data)


def _send(connection: socket.socket, step: Step, data: bytearray, deaf: bool) -> None:
    """Sends without stopping for ever at a server that does not read; takes in what comes meanwhile, unless deaf."""
    left = memoryview(step.data * step.times)
    until = time.monotonic() + _SEND_SECONDS
    connection.setblocking(False)
    while left:
        readable, writable, _ = select.select(
            [] if deaf else [connection], [connection], [], max(0.0, until - time.monotonic())
        )
        if readable:
            if not (got := connection.recv(65536)):
                raise ConnectionResetError
            data += got[: _MOST_READ - len(data)]
        if writable:
            left = left[connection.send(left[: 2**16]) :]
        if not readable and not writable:
            raise TimeoutError
    if step.wait:
        time.sleep(step.wait)


def _read(connection: socket.socket, case: Case, data: bytearray) -> None:
    """Reads until all answers are there, the server closes, or is silent."""
    connection.settimeout(_IDLE_SECONDS)
    while len(data) < _MOST_READ:
        answers = _answers(case, bytes(data)) if len(data) < 65536 else Answers()
        if answers.over or answers.done >= case.answers:
            return
        if not (got := connection.recv(65536)):
            return
        data += got
