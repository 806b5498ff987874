"""Is the database one that we can write? MLflow's revision is checked, our own schema `headrace` is brought up to date.

MLflow's tables belong to `mlflow db upgrade`; ours to the Alembic migrations in migrations/. The two keep separate version
tables, so neither sees the other.
"""

from sqlalchemy import Connection, inspect, text

from headrace.errors import StartError
from headrace.mlflow.write import Writer
from headrace.store.database import Database
from headrace.store.migrations import migrate
from headrace.telemetry.logging import log

_UPGRADE = 'mlflow db upgrade "postgresql+psycopg://USER:PASSWORD@HOST:5432/DATABASE"'

REVISIONS = frozenset({"dc11669786a5"})
"""The Alembic revisions of MLflow's schema that the bulk writer knows: 3.17."""


def open_writer(database: Database, enrich: bool = True, note_unfinished: bool = False, max_tags: int = 128) -> Writer:
    """Checks the schema and returns the writer that fits it. Imports MLflow: takes about two seconds the first time.

    `enrich`: whether it adds what `enrich.py` says (MLflow's own store never does). `note_unfinished`: for `finish.py`.
    `max_tags`: the most of a trace.

    Raises:
        StartError, DatabaseUnavailable: as `check`.
    """
    revision = check(database)
    if revision in REVISIONS:
        from headrace.mlflow.write.bulk import BulkWriter

        return BulkWriter(database, enrich, note_unfinished, max_tags)
    log.warning("unknown MLflow schema revision: writing through MLflow's own store, many times slower", revision=revision)
    from headrace.mlflow.fallback import MlflowStoreWriter

    try:
        return MlflowStoreWriter(database, max_tags)
    except Exception as error:
        raise database.judge(error) from error


def knows_schema(database: Database) -> bool:
    """Whether the bulk writer writes to this database.

    Raises:
        DatabaseUnavailable: Postgres does not answer now.
    """
    with database.begin() as connection:
        found = connection.execute(text("SELECT to_regclass('headrace.unfinished_trace') IS NOT NULL")).scalar_one()
        return bool(found) and mlflow_revision(connection) in REVISIONS


def check(database: Database) -> str:
    """Checks MLflow's schema and migrates our own; returns MLflow's revision.

    Raises:
        StartError: MLflow's schema is missing, or of a revision that cannot be written; names the command to run.
        DatabaseUnavailable: Postgres does not answer now.
    """
    with database.begin() as connection:
        revision = verify_mlflow_schema(connection)
        migrate(connection)
    return revision


def verify_mlflow_schema(connection: Connection) -> str:
    """The revision of MLflow's schema, where it is one that the bulk writer or the installed MLflow can write.

    Raises:
        StartError: it is not; says which revision it is, which is needed, and the command to run.
    """
    found = mlflow_revision(connection)
    if found is None:
        raise StartError(
            f"The database has no MLflow schema. Point HEADRACE_DATABASE_URL at MLflow's database, or make one with: {_UPGRADE}"
        )
    if found in REVISIONS:
        return found
    from mlflow.store.db.utils import _get_latest_schema_revision
    from mlflow.version import VERSION

    needed: str = _get_latest_schema_revision()  # type: ignore[no-untyped-call]
    if found != needed:
        raise StartError(
            f"MLflow's schema is at revision {found}; this Headrace writes revision {needed} (MLflow {VERSION}). "
            f"If the database is the older one, take a backup and run: {_UPGRADE}. "
            "If it is the newer one, install the Headrace that was made for it."
        )
    return found


def mlflow_revision(connection: Connection) -> str | None:
    """The Alembic revision of MLflow's tables, or None where there are none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision
