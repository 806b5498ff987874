"""Files and directories that only their owner may read."""

import os
from pathlib import Path
from typing import TextIO

PRIVATE = 0o077
"""The umask of a process whose files are its owner's alone: files 0600, directories 0700."""


def make_directory(path: Path) -> None:
    """Makes a directory with mode 0700, and those above it that are missing. One that is there stays as it is.

    Root's have mode 0711 above it: the user as whom Postgres runs has to pass them.
    """
    above = 0o711 if os.geteuid() == 0 else 0o700
    for missing in reversed([each for each in (path, *path.parents) if not each.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)
        missing.chmod(0o700 if missing == path else above)


def append_to(path: Path) -> TextIO:
    """Opens a file with mode 0600, to write at its end. A link in its place is not followed.

    Raises:
        OSError: it cannot be opened.
    """
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    os.fchmod(handle, 0o600)
    return os.fdopen(handle, "a", encoding="utf-8")
