"""A start on tables that are not MLflow's is refused with the command to run."""

from collections.abc import Callable

import psycopg
import pytest
from conftest import Launcher, rows


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


def test_another_revision_is_refused_with_the_command_to_run(headrace: Launcher, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'older'")
    running = headrace(database_url=database_url, wait=False)
    assert running.process.wait(60) == 1
    said = running.log.read_text()
    assert "revision older" in said
    assert "mlflow db upgrade" in said
