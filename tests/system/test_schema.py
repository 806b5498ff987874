"""A start on tables that are not MLflow's is refused with the command to run."""

from collections.abc import Callable

import httpx
import psycopg
import pytest
from conftest import Launcher, rows, wait_until

import otlp


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
    assert wait_until(lambda: running.ready()["schema"].get("shape")) == "totals in columns (MLflow 3.17, 3.18)"
    with psycopg.connect(database_url) as connection:
        connection.execute("ALTER TABLE spans ADD tenant text NOT NULL")
        connection.execute("UPDATE alembic_version SET version_num = 'newer'")
    assert running.post(otlp.request(otlp.span()).SerializeToString(), x_mlflow_experiment_id="0").status_code == 200
    wait_until(lambda: "spans.tenant is NOT NULL" in running.ready()["schema"].get("waits_for", ""))
    assert "headrace_tables_fit 0" in httpx.get(f"{running.url}/metrics").text
    assert "spans.tenant is NOT NULL" in running.log.read_text()
    with psycopg.connect(database_url) as connection:
        connection.execute("ALTER TABLE spans ALTER tenant SET DEFAULT 'me'")
    wait_until(running.drained)
    assert len(rows(database_url, "SELECT 1 FROM spans")) == 1
    assert rows(database_url, "SELECT 1 FROM headrace.dead_letter") == []
    schema = running.ready()["schema"]
    assert (schema["revision"], "waits_for" in schema) == ("newer", False)
