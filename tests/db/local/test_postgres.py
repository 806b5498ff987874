"""The embedded Postgres on a machine that others use, too."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from conftest import database_directory, wait_until

from headrace.errors import StartError
from headrace.local.postgres import EmbeddedPostgres, _programs, running_postgres

LONG = "x" * 120
START = "import sys, time; from pathlib import Path; from headrace.local.postgres import EmbeddedPostgres\n"
START += "with EmbeddedPostgres(Path(sys.argv[1])): print('up', flush=True); time.sleep(600)"


@pytest.fixture
def home() -> Iterator[Path]:
    with database_directory() as directory:
        yield directory


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def modes_above(path: Path) -> dict[Path, tuple[int, int, int]]:
    """Modes and owners of the directories above it."""
    return {each: (mode(each), each.stat().st_uid, each.stat().st_gid) for each in path.parents}


def answers(url: str) -> bool:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT 1").fetchone() == (1,)


def test_it_needs_nothing_in_the_common_temporary_directory(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first user of the machine may have whatever he likes."""
    common = home / "tmp"
    common.mkdir(mode=0o500)
    (home / "tmp-of-another").mkdir()
    monkeypatch.setenv("TMPDIR", str(common))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with EmbeddedPostgres(home / "data" / "postgres") as postgres:
        assert answers(postgres.url)
    assert list(common.iterdir()) == []


@pytest.mark.parametrize("name", ["data", LONG, "a b,c'd\"e%f"], ids=["short", "long", "odd"])
def test_its_socket_is_its_owner_s_alone(home: Path, name: str) -> None:
    with EmbeddedPostgres(home / name / "postgres") as postgres:
        assert answers(postgres.url)
        assert running_postgres(home / name) == postgres.url
        sockets = Path(postgres.url.partition("host=")[2])
        assert mode(sockets) == 0o700
        assert sockets.stat().st_uid == (home / name / "postgres").stat().st_uid
        assert mode(sockets / ".s.PGSQL.5432") == 0o700
        assert not psutil.Process(postgres._process.pid).net_connections("inet")  # type: ignore[union-attr]
    assert sockets.exists() is (sockets == home / name / "postgres")
    assert running_postgres(home / name) is None


def test_its_files_are_its_owner_s_alone(home: Path) -> None:
    with EmbeddedPostgres(home / "above" / "data" / "postgres"):
        pass
    for path in (home / "above").rglob("*"):
        own = 0o710 if path == home / "above" / "data" and os.geteuid() == 0 else 0o700
        assert mode(path) & ~own == 0, path


def test_no_directory_but_its_own_is_changed(home: Path) -> None:
    above, users = home / "above", Path("/etc/passwd").read_bytes()
    above.mkdir(mode=0o711)
    before = modes_above(above / "data")
    with EmbeddedPostgres(above / "data" / "postgres") as postgres:
        assert answers(postgres.url)
    assert modes_above(above / "data") == before
    assert Path("/etc/passwd").read_bytes() == users


def assert_refused_to_root(postgres: EmbeddedPostgres, said: str) -> None:
    """Root is told; for anybody else, who runs it as himself, it starts."""
    if os.geteuid() == 0:
        with pytest.raises(StartError, match=said):
            postgres.__enter__()
    else:
        with postgres:
            assert answers(postgres.url)


def test_a_home_that_is_closed_stays_closed(home: Path) -> None:
    """For root, whose Postgres is another user: he is told what to do."""
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    before = modes_above(closed / "data")
    postgres = EmbeddedPostgres(closed / "data" / "postgres")
    assert_refused_to_root(postgres, rf"may not enter {closed}\. .* set HEADRACE_DATA_DIR")
    assert modes_above(closed / "data") == before


def test_a_directory_with_others_files_is_not_its_own(home: Path) -> None:
    shared = home / "shared"
    shared.mkdir(mode=0o700)
    (shared / "letter.txt").touch()
    before = modes_above(shared / "postgres")
    postgres = EmbeddedPostgres(shared / "postgres")
    assert_refused_to_root(postgres, f"may not enter {shared}")
    assert modes_above(shared / "postgres") == before


def test_programs_that_its_user_may_not_run_are_copied(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    install = _programs().parent
    for part in (install, install.parent.with_name(f"{install.parent.name}.libs")):
        if part.exists():
            shutil.copytree(part, closed / part.relative_to(install.parents[1]), symlinks=True)
    programs = closed / install.parent.name / install.name / "bin"
    monkeypatch.setattr("headrace.local.postgres._programs", lambda: programs)
    with EmbeddedPostgres(home / "data" / "postgres") as postgres:
        assert answers(postgres.url)
        assert (postgres.programs == programs) is (os.geteuid() != 0)
    assert mode(closed) == 0o700


def test_two_do_not_run_on_one_directory(home: Path) -> None:
    with (
        EmbeddedPostgres(home / "data" / "postgres"),
        pytest.raises(StartError, match="Another Headrace"),
        EmbeddedPostgres(home / "data" / "postgres"),
    ):
        pass


def test_what_a_killed_headrace_has_left_is_stopped_and_kept(home: Path) -> None:
    data = home / "data"
    with subprocess.Popen([sys.executable, "-c", START, data / "postgres"], stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert b"up\n" in iter(first.stdout.readline, b"")
        url = running_postgres(data)
        assert url is not None
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept (n int)")
        first.kill()
    assert running_postgres(data) == url  # it runs on
    with EmbeddedPostgres(data / "postgres") as postgres, psycopg.connect(postgres.url) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    wait_until(lambda: running_postgres(data) is None, 10)


@pytest.mark.parametrize(
    "spoil", [lambda pg: (pg / "PG_VERSION").write_text("9\n"), lambda pg: (pg / "global").rename(pg / "x")]
)
def test_what_is_wrong_is_said(home: Path, spoil: Callable[[Path], object]) -> None:
    with EmbeddedPostgres(home / "data" / "postgres"):
        pass
    spoil(home / "data" / "postgres")
    with pytest.raises(StartError, match="Postgres"), EmbeddedPostgres(home / "data" / "postgres"):
        pass


def test_a_first_start_that_was_killed_is_begun_anew(home: Path) -> None:
    (home / "data" / "postgres.new").mkdir(parents=True)
    (home / "data" / "postgres.new" / "half").touch()
    (home / "data").chmod(0o700)
    with EmbeddedPostgres(home / "data" / "postgres") as postgres:
        assert answers(postgres.url)
