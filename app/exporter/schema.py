"""Is the database one that we can write? MLflow's revision is checked, our own schema `headrace` is brought up to date.

MLflow's tables belong to `mlflow db upgrade`; ours to the Alembic migrations in migrations/. The two keep separate version
tables, so neither sees the other.
"""

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from app.database import Database
from app.errors import StartError
from app.exporter import Writer
from app.telemetry import log

_UPGRADE = 'mlflow db upgrade "postgresql+psycopg://USER:PASSWORD@HOST:5432/DATABASE"'
_LOCK = 0x68656164  # "head": the advisory lock under which only one process migrates at a time


def open_writer(database: Database) -> Writer:
    """Checks MLflow's schema, migrates our own, and returns the writer that fits.

    Raises:
        StartError: MLflow's schema is missing, or of a revision that cannot be written; names the command to run.
        DatabaseUnavailable: Postgres does not answer now.
    """
    with database.begin() as connection:
        verify_mlflow_schema(connection)
        migrate(connection)
    from app.exporter.mlflow_store import MlflowStoreWriter  # imports mlflow: about two seconds

    try:
        return MlflowStoreWriter(database)
    except Exception as error:
        raise database.judge(error) from error


def verify_mlflow_schema(connection: Connection) -> None:
    """Passes where the database is exactly at the revision of the installed MLflow.

    Raises:
        StartError: it is not; says which revision it is, which is needed, and the command to run.
    """
    from mlflow.store.db.utils import _get_latest_schema_revision
    from mlflow.version import VERSION

    found = mlflow_revision(connection)
    if found is None:
        raise StartError(
            "The database has no MLflow schema. Point HEADRACE_DATABASE_URL at MLflow's database, "
            f"or make one with:\n  {_UPGRADE}"
        )
    needed = _get_latest_schema_revision()  # type: ignore[no-untyped-call]
    if found != needed:
        raise StartError(
            f"MLflow's schema is at revision {found}; this Headrace writes revision {needed} (MLflow {VERSION}).\n"
            f"If the database is the older one, take a backup and run:\n  {_UPGRADE}\n"
            "If it is the newer one, install the Headrace that was made for it."
        )


def mlflow_revision(connection: Connection) -> str | None:
    """The Alembic revision of MLflow's tables, or None where there are none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision


def migrate(connection: Connection) -> None:
    """Brings the schema `headrace` to its newest revision, in this connection's transaction."""
    from alembic import command
    from alembic.config import Config as AlembicConfig

    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    connection.execute(text("CREATE SCHEMA IF NOT EXISTS headrace"))
    config = AlembicConfig()
    config.set_main_option("script_location", str(migrations_directory()))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    log.debug("schema headrace is up to date")


def migrations_directory() -> Path:
    """Inside the package where it was installed from a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"
