"""How many files and sockets this process may open, and how many of them each server may use for its connections."""

import resource

_MOST = 1 << 20
"""Used if there is no hard limit, or one of a billion, as in some containers."""
_RESERVE = 256
"""Files kept for all else: the queue's files, Postgres, logs, MLflow, listening sockets, event loops."""
SERVERS = 2
"""HTTP and gRPC."""


def raise_limit() -> int:
    """Raises the soft limit of open files to the hard one. Returns the limit that then holds. Child processes inherit it."""
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
    """How many connections each of the two servers may have if the process may open `limit` files. 256 files are kept for all
    else, or a quarter if the limit is below 1,024."""
    return max(1, (limit - min(_RESERVE, limit // 4)) // SERVERS)
