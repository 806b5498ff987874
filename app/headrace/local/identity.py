"""The user as whom the embedded Postgres runs. Postgres refuses to run as root. Any other user runs it under his own name.

Started by root, Headrace makes no user and changes no directory but its own. It takes a user who exists. If that user cannot
reach the data, a message says what to do.
"""

import os
import pwd
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from headrace.errors import StartError
from headrace.telemetry.logging import log

_USERS = ("headrace", "pgserver", "postgres", "nobody")
"""The first of them that exists runs Postgres for root. Earlier versions made `pgserver`; `nobody` is everywhere."""
_OURS = ("queue", "artifacts", "mlflow-server.", "metrics-", "postgres")
"""How the entries of a data directory begin."""
_ENTER_BY_GROUP = 0o710


class Ids(TypedDict, total=False):
    """What `subprocess` is given so that a program runs as somebody else. Empty: as we do."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class Identity:
    """The user as whom Postgres runs; None: as we do."""

    user: pwd.struct_passwd | None

    @classmethod
    def of(cls, directory: Path) -> "Identity":
        """Whoever owns the data in `directory`, if there are any and we are root; else the first of `_USERS`.

        Raises:
            StartError: we are root, and there is nobody else.
        """
        if os.geteuid() != 0:
            return cls(None)
        found = list(_candidates(directory))
        if not found:
            raise StartError("Postgres does not run as root, and there is no other user: run `headrace up` as another user.")
        log.info("Postgres does not run as root", runs_as=found[0].pw_name)
        return cls(found[0])

    @property
    def ids(self) -> Ids:
        """For `subprocess`."""
        return {} if self.user is None else {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Gives a directory, which we have just made, to the user."""
        if self.user is not None:
            os.chown(path, self.user.pw_uid, self.user.pw_gid)

    def let_in(self, directory: Path) -> None:
        """Lets the user enter the data directory, if only Headrace's files are in it: changes its group, and none above it.

        Raises:
            StartError: the user cannot get there.
        """
        if self.user is None:
            return
        if self._cannot_enter(directory) and _is_ours(directory):
            os.chown(directory, -1, self.user.pw_gid)
            directory.chmod(_ENTER_BY_GROUP)
        if blocked := self._blocked(directory):
            raise StartError(
                f"Postgres does not run as root. It would run as the user {self.user.pw_name}, who may not enter {blocked}. "
                "Headrace changes no directory but its own. Run `headrace up` as another user; or set HEADRACE_DATA_DIR to a "
                "directory that every user can get to, such as /var/lib/headrace."
            )

    def reachable(self, programs: Path, own: Path) -> Path:
        """The directory of a Postgres that the user may run: `programs`, or a copy in the directory `own`, which is ours.

        The programs look for their libraries beside the wheel's package, in `<package>.libs`: the copy has the same form.
        """
        if self.user is None or self._blocked(programs) is None:
            return programs
        package = programs.parents[1]
        copy = own / f"postgres-programs-{programs.parent.name}"
        if not copy.exists():
            half = copy.with_suffix(".new")
            shutil.rmtree(half, ignore_errors=True)
            for part in (programs.parent, package.with_name(f"{package.name}.libs")):
                if part.exists():
                    shutil.copytree(part, half / part.relative_to(package.parent), symlinks=True)
            _open_to_readers(half)
            half.rename(copy)
        return copy / programs.relative_to(package.parent)

    def _blocked(self, path: Path) -> Path | None:
        """The first directory on the way to `path`, and `path` itself, that the user may not enter."""
        return next((each for each in (*reversed(path.parents), path) if self._cannot_enter(each)), None)

    def _cannot_enter(self, directory: Path) -> bool:
        assert self.user is not None  # noqa: S101 - asked for root only
        status = directory.stat()
        if status.st_uid == self.user.pw_uid:
            return not status.st_mode & stat.S_IXUSR
        if status.st_gid == self.user.pw_gid:
            return not status.st_mode & stat.S_IXGRP
        return not status.st_mode & stat.S_IXOTH


def _candidates(directory: Path) -> Iterator[pwd.struct_passwd]:
    for key in (_owner(directory), *_USERS):
        try:
            if key:
                yield pwd.getpwuid(key) if isinstance(key, int) else pwd.getpwnam(key)
        except KeyError:
            pass


def _owner(directory: Path) -> int:
    try:
        return (directory / "PG_VERSION").lstat().st_uid
    except FileNotFoundError:
        return 0


def _is_ours(directory: Path) -> bool:
    """Whether the directory belongs to root and holds only Headrace's files."""
    return directory.stat().st_uid == 0 and all(entry.name.startswith(_OURS) for entry in directory.iterdir())


def _open_to_readers(directory: Path) -> None:
    """Lets everybody read a copy, which stands in a directory that few may enter."""
    for path in (directory, *directory.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o444))
