"""Headrace's own schema, `headrace`, beside MLflow's tables: the runner of migrations/.

Its table of versions is its own, so that neither MLflow's migrations nor ours see the others.
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
"""What older versions called their table of versions, as MLflow calls its own: to a role named `headrace`, whose search_path
begins with the schema of its name, it stood before MLflow's, which may itself be in that schema, with revisions of another
form."""
_LOCK = 0x68656164  # "head": the advisory lock under which only one process migrates at a time


def migrate(connection: Connection) -> None:
    """Brings the schema `headrace` to its newest revision, in this connection's transaction."""
    from alembic import command
    from alembic.config import Config as AlembicConfig

    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    connection.execute(text("CREATE SCHEMA IF NOT EXISTS headrace"))
    connection.execute(text(_RENAME))
    config = AlembicConfig()
    config.set_main_option("script_location", str(migrations_directory()))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    log.debug("schema headrace is up to date")


def migrations_directory() -> Path:
    """Inside the package where it was installed from a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parents[1] / "migrations"
