"""Files and sockets: how many this process may open, and how many of them each server may have for its connections."""

import resource

_MOST = 1 << 20
"""Where the hard limit is none, or a billion, as some containers have it."""
_RESERVE = 256
"""For what is not a client's connection: the queue's files, Postgres, logs, MLflow, listening sockets, event loops."""
SERVERS = 2
"""HTTP and gRPC."""


def raise_limit() -> int:
    """Raises the soft limit of open files to the hard one, and returns what holds then. Children inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return _MOST if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # macOS has a lower limit of its own
        return soft
    return wanted


def connections_of_each(limit: int) -> int:
    """How many connections each of the two servers may have, where the process may open `limit` files: a reserve is left for
    everything else, a quarter of it where it is small."""
    return max(1, (limit - min(_RESERVE, limit // 4)) // SERVERS)
