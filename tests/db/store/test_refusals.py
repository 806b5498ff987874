"""What Postgres refuses: told at the start, with what to do; and named for what it is while Headrace runs."""

from collections.abc import Callable

import psycopg
import pytest
from conftest import free_port, name_of
from sqlalchemy import text

from headrace.errors import DatabaseRefuses, DatabaseUnavailable, StartError
from headrace.host.build import open_database
from headrace.store.database import Database
from headrace.store.sqlstate import of_refused_connection


def as_role(url: str, role: str, options: str = "", rights: str = "") -> str:
    """The URL of this role, which has these options and these rights in this database, and no others."""
    with psycopg.connect(url, autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone():
            connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())  # of an earlier test, whose database is gone
        connection.execute(f"CREATE ROLE {role} {options}".encode())
        if rights:
            connection.execute(rights.format(role=role, database=name_of(url)).encode())
    return url.replace("postgres@", f"{role}@")


ALL = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public, headrace TO {role};"
USE = "GRANT USAGE ON SCHEMA headrace TO {role};"


def start(url: str, creates_experiments: bool = True) -> None:
    database = Database(url)
    try:
        open_database(database, creates_experiments)
    finally:
        database.close()


def refused(url: str) -> str:
    """What a start says."""
    with pytest.raises(StartError) as error:
        start(url)
    said = str(error.value)
    assert "\n" not in said
    return said


def test_a_database_that_is_not_there(database_url: str) -> None:
    said = refused(database_url.replace(f"/{name_of(database_url)}?", "/nosuch?"))
    assert "3D000" in said
    assert "name MLflow's database in HEADRACE_DATABASE_URL" in said


@pytest.mark.parametrize("options", [None, "NOLOGIN"], ids=["no such role", "no login"])
def test_a_role_that_may_not_log_in(database_url: str, options: str | None) -> None:
    url = database_url.replace("postgres@", "nobody_here@") if options is None else as_role(database_url, "locked_out", options)
    assert "28000" in (said := refused(url))
    assert "check the user and the password" in said


@pytest.mark.parametrize(
    ("rights", "named"),
    [
        ("", "alembic_version"),
        ("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}", "schema headrace"),
        (ALL, "schema headrace"),
        (ALL + USE + "REVOKE INSERT ON spans FROM {role}", "GRANT INSERT ON spans TO short_of"),
        (ALL + USE + "REVOKE INSERT, UPDATE ON experiments FROM {role}", "GRANT INSERT, UPDATE ON experiments TO short_of"),
        (ALL + USE + "REVOKE ALL ON headrace.dead_letter FROM {role}", "ON headrace.dead_letter TO short_of"),
        ("REVOKE CONNECT ON DATABASE {database} FROM PUBLIC", "42501"),
    ],
)
def test_rights_that_are_missing(database_url: str, rights: str, named: str) -> None:
    said = refused(as_role(database_url, "short_of", "LOGIN", rights))
    assert named in said
    assert "GRANT" in said


def test_a_role_with_all_rights_starts_without_the_right_to_create_schemas(database_url: str) -> None:
    start(as_role(database_url, "enough", "LOGIN", ALL + USE))


def test_who_creates_no_experiments_needs_no_right_to(database_url: str) -> None:
    rights = ALL + USE + "REVOKE INSERT, UPDATE ON experiments FROM {role}"
    start(as_role(database_url, "only_spans", "LOGIN", rights), creates_experiments=False)


def test_an_outage_refuses_nothing() -> None:
    start(f"postgresql://me@127.0.0.1:{free_port()}/db")


def test_a_wrong_option_in_the_url(database_url: str) -> None:
    assert "HEADRACE_DATABASE_URL" in refused(f"{database_url}&nosuch=1")


def test_while_it_runs_it_is_named(database_url: str, new_database: Callable[[], str]) -> None:
    """A database that is renamed, a password that is changed: what Postgres says, not "away"."""
    database = Database(database_url.replace(f"/{name_of(database_url)}?", "/nosuch?"))
    with pytest.raises(DatabaseRefuses, match=r"Postgres has no such database \(3D000: "), database.begin():
        pass
    assert "no such database" in database.probe().error
    database.close()
    other = Database(new_database())
    run(other, "CREATE ROLE poor LOGIN")
    with pytest.raises(DatabaseRefuses, match=r"denies Headrace a right that it needs \(42501: "):
        run(other, "SET LOCAL ROLE poor", "DELETE FROM spans")
    with pytest.raises(DatabaseUnavailable, match=r"read-only, as a standby is \(25006: "):
        run(other, "SET TRANSACTION READ ONLY", "DELETE FROM spans")
    with pytest.raises(DatabaseUnavailable, match=r"took too long \(57014: "):
        run(other, "SET LOCAL statement_timeout = 1", "SELECT pg_sleep(1)")
    with pytest.raises(DatabaseUnavailable, match="tables in Postgres are not"):
        run(other, "SELECT 1 FROM nosuch")
    run(other, "DROP ROLE poor")
    other.close()


def run(database: Database, *statements: str) -> None:
    """Runs them in one transaction."""
    with database.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_a_good_connection_has_no_sqlstate(database_url: str) -> None:
    assert of_refused_connection(database_url) is None


def test_a_postgres_that_waits_for_another_transaction_is_not_away(database_url: str) -> None:
    """It answers. Only those who ask for the locked table wait."""
    database = Database(database_url)
    with psycopg.connect(database_url) as blocker:
        blocker.execute("LOCK TABLE trace_info IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DatabaseUnavailable, match="55P03"), database.begin() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '1ms'; SELECT 1 FROM trace_info"))
    for state in ("40001", "40P01"):
        with pytest.raises(DatabaseUnavailable, match=state), database.begin() as connection:
            connection.execute(text(f"DO $$ BEGIN RAISE EXCEPTION 'so be it' USING ERRCODE = '{state}'; END $$"))
    assert database.state.up
    assert not database.state.away
    database.close()
