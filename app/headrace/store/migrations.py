"""Runs migrations/, which make Headrace's own schema, `headrace`, beside MLflow's tables.

It has a table of versions of its own, so that MLflow's migrations and ours do not see each other.
"""

from pathlib import Path

from sqlalchemy import Connection, text

from headrace.telemetry.logging import log

_RENAME = """
DO $$ BEGIN
    IF to_regclass('headrace.alembic_version') IS NOT NULL THEN
        IF EXISTS (SELECT FROM headrace.alembic_version WHERE version_num ~ '^[0-9]{4}$') THEN
            ALTER TABLE headrace.alembic_version RENAME TO schema_version;
        END IF;
    END IF;
END $$"""
"""Renames the table of versions that older versions of Headrace made. It had the same name as MLflow's. A role named `headrace`
finds the schema of its own name first in its search_path, and so took our table for MLflow's. MLflow's own table may be in that
schema, too; its revisions do not have four digits."""
_LOCK = 0x68656164  # "head" in ASCII: the key of the advisory lock that lets only one process migrate at a time


def migrate(connection: Connection) -> None:
    """Brings the schema `headrace` to its newest revision, in this connection's transaction."""
    from alembic import command
    from alembic.config import Config as AlembicConfig

    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    if connection.execute(text("SELECT to_regnamespace('headrace') IS NULL")).scalar_one():
        # IF NOT EXISTS asks for the right to create even where there is nothing to do.
        connection.execute(text("CREATE SCHEMA headrace"))
    connection.execute(text(_RENAME))
    config = AlembicConfig()
    config.set_main_option("script_location", str(migrations_directory()))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    log.debug("schema headrace is up to date")


def migrations_directory() -> Path:
    """Its place: inside the package if that was installed from a wheel, else in the checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parents[1] / "migrations"
