"""The schema is verified, not assumed; our own is migrated safely."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from conftest import rows

from headrace.errors import StartError
from headrace.mlflow import prices
from headrace.mlflow.schema import open_writer
from headrace.store.database import Database
from headrace.store.migrations import migrate


def test_many_starts_at_once_migrate_once(new_database: Callable[[], str]) -> None:
    url = new_database()
    with psycopg.connect(url) as connection:
        connection.execute("DROP SCHEMA headrace CASCADE")

    def start(_: int) -> None:
        database = Database(url)
        with database.begin() as connection:
            migrate(connection)
        database.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(start, range(4)))
    assert rows(url, "SELECT version_num FROM headrace.schema_version") == [{"version_num": "0014"}]


def test_a_role_whose_search_path_begins_with_our_schema_finds_mlflow_s_revision(database_url: str) -> None:
    """As that of a role named `headrace` does by default; once with the table's former name, once with its own."""
    with psycopg.connect(database_url) as connection:
        connection.execute("ALTER TABLE headrace.schema_version RENAME TO alembic_version")
    for path in ("public", "headrace,public"):
        database = Database(f"{database_url}&options=-csearch_path%3D{path}")
        open_writer(database)
        database.close()
    assert rows(database_url, "SELECT version_num FROM headrace.schema_version") == [{"version_num": "0014"}]


def test_our_migrations_leave_mlflow_s_tables_alone(database_url: str, database: Database) -> None:
    query = (
        "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2"
    )
    before = rows(database_url, query)
    revision = rows(database_url, "SELECT version_num FROM alembic_version")
    with database.begin() as connection:
        migrate(connection)
    assert rows(database_url, query) == before
    assert rows(database_url, "SELECT version_num FROM alembic_version") == revision


def test_a_writer_knows_prices_before_its_first_span(database: Database) -> None:
    prices._lists.cache_clear()
    open_writer(database)
    assert prices._lists.cache_info().currsize == 1


def test_open_writer_refuses_what_it_cannot_write(database_url: str, database: Database) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("DROP TABLE alembic_version")
    with pytest.raises(StartError):
        open_writer(database)
