"""A server that `headrace up` runs beside itself, as a process of its own.

It runs in a session of its own. So Ctrl-C does not reach it directly: Headrace stops it, in order.
"""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from headrace.local.private import append_to

_STOP_SECONDS = 10.0


class Child:
    """One such server. `start()` returns at once; `stop()` ends it with all its children."""

    title: str
    """What messages call it."""

    def __init__(self, name: str, mark: str, data_dir: Path, command: Sequence[str]) -> None:
        """`name`: of its files in the data directory. `mark`: a word of its command line, by which a leftover is known."""
        self.log = data_dir / f"{name}.log"
        self._pid_file = data_dir / f"{name}.pid"
        self._mark = mark
        self._command = [*command]
        self._process: subprocess.Popen[bytes] | None = None

    def environment(self, database_url: str) -> Mapping[str, str]:
        """The variables that it is given beside ours."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether it answers now."""
        raise NotImplementedError

    def end_leftover(self) -> None:
        """Ends the server of an earlier `headrace up` on this data directory that was killed, if it still runs."""
        try:
            pid = int(self._pid_file.read_text())
            if self._mark in " ".join(psutil.Process(pid).cmdline()):
                _end_tree(pid)
        except (OSError, ValueError, psutil.Error):
            pass

    def start(self, database_url: str) -> None:
        """Starts the server on this database. If it was started before, ends what is left of that, and appends to its log."""
        self._spawn(self.environment(database_url))

    def _spawn(self, environment: Mapping[str, str], talks: bool = False) -> None:
        """`talks`: its stdin and stdout are pipes to us. Otherwise it reads nothing, and its stdout goes to its log, too."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # the first process has ended; others may still have the port
        else:
            self.log.unlink(missing_ok=True)
        with append_to(self.log) as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                self._command,
                env={**os.environ, **environment},
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else log,
                stderr=log,
                start_new_session=True,
            )
        self._pid_file.write_text(str(self._process.pid))

    @property
    def running(self) -> bool:
        """False once its process has ended."""
        return self._process is not None and self._process.poll() is None

    def last_line(self) -> str:
        """The last line of its log that is not empty."""
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1][:300] if lines else "it has said nothing"

    def stop(self) -> None:
        """Ends the server and all of its children: with SIGTERM, and after ten seconds with SIGKILL."""
        if self._process is not None:
            _end_tree(self._process.pid)
            self._process.wait()
            self._process = None
            self._pid_file.unlink(missing_ok=True)


def _end_tree(pid: int) -> None:
    """Sends SIGTERM to a process and its descendants, and SIGKILL to those that do not end in time."""
    try:
        parent = psutil.Process(pid)
        tree = [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return
    for kind in (signal.SIGTERM, signal.SIGKILL):
        for process in tree:
            try:
                process.send_signal(kind)
            except psutil.Error:
                pass
        _, tree = psutil.wait_procs(tree, timeout=_STOP_SECONDS)
        if not tree:
            return


def browsable(host: str) -> str:
    """An address that is listened on → the host in a URL for people of this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]", "127.0.0.1": "localhost"}.get(host, host)
