"""MLflow is upgraded underneath a Headrace that is at work, and a database is brought back from its backup: the steps of
docs/operations.md, on databases that MLflow's older releases have made themselves."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path

import psycopg
import pytest
from conftest import Launcher, Running, rows, wait_until
from faults.load import Load, send, verify
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from parity.environments import python_of
from parity.releases import RELEASES
from parity.servers import create, named, seed, upgrade

import otlp
from headrace.local.postgres import EmbeddedPostgres

pytestmark = [
    pytest.mark.slow(
        "errors parts otlp envelope queue store processor pipeline mlflow export receiver host local tests/parity tests/faults"
    ),
    pytest.mark.timeout(1800),
]

OF = {release.minor: release for release in RELEASES}
TRACE = f"tr-{'07' * 16}"
TOKENS = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
_numbers = count()


@pytest.fixture(scope="module")
def seeded(postgres: EmbeddedPostgres) -> str:
    """The name of a database that MLflow 3.16 has made, with an experiment."""
    url = create(postgres.url, "made_by_3_16")
    python = python_of(OF["3.16"])
    upgrade(python, url)
    seed(python, url)
    return "made_by_3_16"


@pytest.fixture
def old_url(postgres: EmbeddedPostgres, seeded: str) -> Iterator[str]:
    """A copy of it."""
    url = create(postgres.url, f"upgraded_{next(_numbers)}", seeded)
    yield url
    drop(url)


def drop(url: str) -> None:
    with psycopg.connect(named(url, "postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {url.partition('?')[0].rpartition('/')[2]} WITH (FORCE)".encode())


def leave_alone(url: str) -> None:
    """From now on nobody is connected with the database, as if its Postgres were stopped."""
    name = url.partition("?")[0].rpartition("/")[2]
    with psycopg.connect(named(url, "postgres"), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])


def piece(index: int) -> Span:
    """One of three spans of a trace: two calls of a model, and the root."""
    parent, attributes = b"", {}
    if index < 2:
        parent = bytes([3]) * 8
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "gpt-4o-mini",
            **{f"gen_ai.usage.{name}": number for name, number in TOKENS.items() if name != "total_tokens"},
        }
    return otlp.span("chat", b"\7" * 16, bytes([index + 1]) * 8, parent, attrs=attributes)


def is_written(url: str, span_id: str) -> Callable[[], bool]:
    return lambda: bool(rows(url, "SELECT 1 FROM spans WHERE span_id = %s", span_id))


def has_sent(load: Load, requests: int) -> bool:
    return load.ledger.requests >= requests


def arrives(running: Running, url: str, span: Span) -> None:
    """Sends it, and returns when it is written."""
    wait_until(is_written(url, send(running, span)), 120, "a span to be written")


def test_two_upgrades_under_load_lose_nothing_and_need_no_restart(headrace: Launcher, old_url: str) -> None:
    running = headrace(database_url=old_url)
    with Load(running, "upgraded", clients=3, pause=0.05) as load:
        arrives(running, old_url, piece(0))
        query = "SELECT value FROM trace_metrics WHERE key = 'total_tokens' AND request_id = %s"
        assert rows(old_url, query, TRACE) == [{"value": 15.0}]
        for number, release in enumerate((OF["3.17"], OF["3.18"]), 1):
            before = load.ledger.requests
            upgrade(python_of(release), old_url)
            arrives(running, old_url, piece(number))
            wait_until(partial(has_sent, load, before + 20), 120)
    wait_until(running.drained, 120)
    tally = verify(old_url, load.ledger)
    assert tally.acknowledged > 200
    assert (tally.lost, tally.doubled) == (0, 0)
    assert load.ledger.refusals == {}
    assert rows(old_url, "SELECT reason FROM headrace.dead_letter") == []
    schema = running.ready()["schema"]
    assert (schema["shape"], "waits_for" in schema) == ("totals in columns (MLflow 3.17, 3.18)", False)
    columns = ", ".join(TOKENS)
    (stored,) = rows(old_url, f"SELECT status, {columns} FROM trace_info WHERE request_id = %s", TRACE)
    assert stored == {"status": "OK", **{name: 2 * number for name, number in TOKENS.items()}}


def dump(postgres: EmbeddedPostgres, url: str, file: Path) -> None:
    tool(postgres, "pg_dump", "--format=custom", f"--file={file}", url)


def restore(postgres: EmbeddedPostgres, file: Path, url: str) -> None:
    """Into a new, empty database."""
    drop(url)
    create(postgres.url, url.partition("?")[0].rpartition("/")[2])
    tool(postgres, "pg_restore", "--exit-on-error", f"--dbname={url}", str(file))


def tool(postgres: EmbeddedPostgres, name: str, *arguments: str) -> None:
    done = subprocess.run([postgres.programs / name, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_going_back_to_a_backup(headrace: Launcher, old_url: str, postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """Taken under load, before an upgrade. What was written since is lost; what waits in the data directory is not."""
    data = tmp_path / "data"
    running = headrace(database_url=old_url, data_dir=data, shutdown_seconds=1)
    with Load(running, "before", clients=2) as before:
        wait_until(lambda: before.ledger.requests > 20)
        wait_until(lambda: len(rows(old_url, "SELECT 1 FROM spans")) > 50)
        dump(postgres, old_url, tmp_path / "backup")
        wait_until(lambda: before.ledger.requests > 40)
    wait_until(running.drained, 60)
    upgrade(python_of(OF["3.17"]), old_url)
    arrives(running, old_url, piece(0))
    leave_alone(old_url)
    waiting = send(running, piece(2))
    running.stop()
    shutil.copytree(data, tmp_path / "copy")  # a backup of the data directory, of a Headrace that has stopped
    restore(postgres, tmp_path / "backup", old_url)
    running = headrace(database_url=old_url, data_dir=tmp_path / "copy")
    wait_until(is_written(old_url, waiting), 60)
    wait_until(running.drained, 60)
    assert running.ready()["schema"]["shape"] == "totals in rows (MLflow 3.14 to 3.16)"
    assert not is_written(old_url, piece(0).span_id.hex())()
    kept = verify(old_url, before.ledger)
    assert kept.doubled == 0
    assert kept.stored >= 50
    arrives(running, old_url, piece(1))
    assert rows(old_url, "SELECT reason FROM headrace.dead_letter") == []
