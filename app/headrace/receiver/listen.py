"""Listening sockets, and who has a port that is taken."""

import errno
import socket

import psutil

from headrace.errors import StartError


def bind(host: str, port: int, setting: str, *, shared: bool = False) -> socket.socket:
    """A listening socket, or an error that says who has the port and how to choose another.

    `shared`: the workers of one supervisor each have one for the same port, and the kernel spreads the connections.

    Raises:
        StartError: the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio switches Nagle's algorithm off: an answer with a body takes 1 ms instead of 44.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise StartError(
                f"Port {port} on {host} is taken by {_owner(port)}. Stop it, or choose another port with {setting}."
            ) from None
        raise StartError(f"{host}:{port} cannot be bound: {error.strerror}. See HEADRACE_HOST and {setting}.") from None
    return listener


def reserve(host: str, port: int, setting: str) -> socket.socket:
    """A socket that keeps a port for sockets that are `shared`, and takes no connections itself.

    Raises:
        StartError: as `bind`.
    """
    # A socket that would share the port would not notice its owner; this one does, and says who it is.
    with bind(host, port, setting) as probe:
        family, address = probe.family, probe.getsockname()
    keeper = socket.socket(family, socket.SOCK_STREAM)
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    keeper.bind(address)
    return keeper


def _owner(port: int) -> str:
    """The process that listens on a port, as far as this user may know."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
                process = psutil.Process(connection.pid)
                if "--multiprocessing-fork" in process.cmdline():  # a worker: the one to stop is its supervisor
                    process = process.parent() or process
                return f"process {process.pid} ({process.name()})"
    except psutil.Error:
        pass
    return "another process"
