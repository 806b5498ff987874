"""How this process gives memory back to the system."""

import ctypes
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h
_LARGE_BYTES = 1024 * 1024
_KEPT_BYTES = 8 * 1024 * 1024


def give_back_large_blocks() -> None:
    """Has malloc give blocks of 1 MiB and more back to the system as soon as they are freed. Does nothing without glibc.

    glibc raises that bound up to 32 MiB by itself, and what it then keeps up to 64 MiB (mallopt(3), M_MMAP_THRESHOLD): each
    thread that has inflated a body of 60 MB kept 38 MiB for good.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
