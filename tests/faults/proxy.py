"""A TCP proxy that cuts connections after a random number of bytes."""

import random
import socket
import struct
import threading
from contextlib import suppress

from typing_extensions import Self

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER 0: close() sends RST


class Proxy:
    """Carries connections to a port of this machine. `longest`: bytes after which one is cut at the latest; 0: never."""

    def __init__(self, port: int, rng: random.Random) -> None:
        self._to = port
        self.random = rng
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self.longest = 0
        self.cuts = 0
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut_all()

    def cut_all(self) -> None:
        """Resets every connection that is open."""
        for end in list(self._open):
            _reset(end)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            try:
                server = socket.create_connection(("127.0.0.1", self._to), timeout=5)
            except OSError:
                client.close()
                continue
            for end in (client, server):
                end.settimeout(None)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open |= {client, server}
            left = [self._budget()]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._carry, args=(source, sink, left), daemon=True).start()

    def _budget(self) -> float:
        """As many cuts in the first hundreds of bytes (logging in) as in the last ten thousands (COPY)."""
        return 10 ** self.random.uniform(2, len(str(self.longest)) - 1) if self.longest else float("inf")

    def _carry(self, source: socket.socket, sink: socket.socket, left: list[float]) -> None:
        with suppress(OSError):
            while left[0] > 0 and (data := source.recv(65536)):
                sink.sendall(data[: int(min(len(data), left[0]))])
                left[0] -= len(data)
        self.cuts += left[0] <= 0
        for end in (source, sink):
            self._open.discard(end)
            _reset(end)


def _reset(end: socket.socket) -> None:
    """Closes with RST, and wakes the thread that reads from it."""
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        end.shutdown(socket.SHUT_RD)
    end.close()
