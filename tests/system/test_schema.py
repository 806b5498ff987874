"""A start on tables that are not MLflow's is refused with the command to run."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable

import httpx
import psycopg
import pytest
from conftest import Launcher, rows, wait_until

import otlp
from headrace.mlflow.installed import newest_revision


@pytest.fixture
def empty_url(new_database: Callable[..., str]) -> str:
    return new_database("template0")


def test_a_database_without_mlflow_is_refused_with_the_command_to_run(headrace: Launcher, empty_url: str) -> None:
    running = headrace(database_url=empty_url, wait=False)
    assert running.process.wait(60) == 1
    said = running.log.read_text()
    assert "no MLflow schema" in said
    assert "mlflow db upgrade" in said
    assert "Traceback" not in said
    assert rows(empty_url, "SELECT 1 FROM information_schema.tables WHERE table_schema IN ('public', 'headrace')") == []


def test_a_column_that_nobody_knows_is_refused_by_its_name(headrace: Launcher, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("ALTER TABLE spans ADD tenant text NOT NULL")
        connection.execute("UPDATE alembic_version SET version_num = 'older'")
    running = headrace(database_url=database_url, wait=False)
    assert running.process.wait(60) == 1
    said = running.log.read_text()
    assert "revision older" in said
    assert "spans.tenant is NOT NULL" in said
    assert "mlflow db upgrade" in said


def test_a_change_underneath_is_said_and_waited_for(headrace: Launcher, database_url: str) -> None:
    running = headrace(database_url=database_url)
    assert wait_until(lambda: running.ready()["schema"].get("shape"), 60) == "totals in columns (MLflow 3.17, 3.18)"
    with psycopg.connect(database_url) as connection:
        connection.execute("ALTER TABLE spans ADD tenant text NOT NULL")
        connection.execute("UPDATE alembic_version SET version_num = 'newer'")
    assert running.post(otlp.request(otlp.span()).SerializeToString(), x_mlflow_experiment_id="0").status_code == 200
    wait_until(lambda: "spans.tenant is NOT NULL" in running.ready()["schema"].get("waits_for", ""), 60)
    assert "headrace_tables_fit 0" in httpx.get(f"{running.url}/metrics").text
    assert "spans.tenant is NOT NULL" in running.log.read_text()
    with psycopg.connect(database_url) as connection:
        connection.execute("ALTER TABLE spans ALTER tenant SET DEFAULT 'me'")
    wait_until(running.drained)
    assert len(rows(database_url, "SELECT 1 FROM spans")) == 1
    assert rows(database_url, "SELECT 1 FROM headrace.dead_letter") == []
    schema = running.ready()["schema"]
    assert (schema["revision"], "waits_for" in schema) == ("newer", False)


def said_by_version(url: str) -> str:
    environment = os.environ | {"HEADRACE_DATABASE_URL": url}
    command = [sys.executable, "-m", "headrace", "--version"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    return done.stdout


def test_the_version_tells_what_is_written_and_what_the_database_has(database_url: str, empty_url: str) -> None:
    said = said_by_version(database_url)
    assert "MLflow 3." in said
    assert "totals in columns (MLflow 3.17, 3.18), or with totals in rows (MLflow 3.14 to 3.16)" in said
    assert f"database: revision {newest_revision()}, totals in columns" in said
    assert "database: has no tables of MLflow" in said_by_version(empty_url)


@pytest.mark.parametrize("url", ["postgresql://me:secret@127.0.0.1:1/db", "postgresql://me:secret@[", "nothing"])
def test_the_version_ends_well_whatever_the_database(url: str) -> None:
    assert "secret" not in (said := said_by_version(url))
    assert "database: cannot be asked" in said


def test_the_version_waits_a_few_seconds_for_a_database_that_hangs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "database: " in said_by_version(f"postgresql://me@127.0.0.1:{silent.getsockname()[1]}/db")
