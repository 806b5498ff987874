"""Opens listening sockets. If a port is taken, says by which process."""

import errno
import socket

import psutil

from headrace.errors import StartError


def bind(host: str, port: int, setting: str, *, shared: bool = False) -> socket.socket:
    """Opens a listening socket. `setting` names the setting of the port, for the error.

    `shared`: several worker processes listen on the same port, and the kernel spreads connections over them.

    Raises:
        StartError: the address cannot be bound. It says which process has the port, and how to choose another.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # If the protocol is named, asyncio switches Nagle's algorithm off: an answer with a body takes 1 ms instead of 44.
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


def free_port(host: str) -> int:
    """A port that nobody has now, for a process that takes it a little later.

    Raises:
        StartError: the address cannot be bound.
    """
    with bind(host, 0, "the setting of its port") as listener:
        return int(listener.getsockname()[1])


def reserve(host: str, port: int, setting: str) -> socket.socket:
    """Opens a socket that holds a port for `shared` sockets. It takes no connections itself.

    Raises:
        StartError: as `bind`.
    """
    # First without sharing: a socket that shares its port would not notice that another process listens on it.
    with bind(host, port, setting) as probe:
        family, address = probe.family, probe.getsockname()
    keeper = socket.socket(family, socket.SOCK_STREAM)
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        keeper.bind(address)
    except OSError:
        # Connections of a server that has just ended are in the way. With this option, two that start at the same moment would
        # not notice each other: so it comes second.
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind(address)
    return keeper


def _owner(port: int) -> str:
    """The process that listens on a port, if this user may see it, as words for an error."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
                process = psutil.Process(connection.pid)
                if "--multiprocessing-fork" in process.cmdline():  # a worker process: its supervisor is the one to stop
                    process = process.parent() or process
                return f"process {process.pid} ({process.name()})"
    except psutil.Error:
        pass
    return "another process"
