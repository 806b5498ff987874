"""Is the database one that we can write? MLflow's tables are looked at, our own schema is brought up to date.

MLflow's tables belong to `mlflow db upgrade`; ours to the Alembic migrations in migrations/. The two keep separate version
tables, so neither sees the other.
"""

from sqlalchemy import Connection, text

from headrace.errors import StartError
from headrace.mlflow.installed import newest_revision, revisions, version
from headrace.mlflow.loading import load_mlflow
from headrace.mlflow.logs.record import Bound
from headrace.mlflow.shape import Schema, look
from headrace.mlflow.shape.needs import Shape
from headrace.mlflow.tables import Tables
from headrace.mlflow.translate.dialects.engine import Dialects
from headrace.mlflow.write import Writer
from headrace.store.database import Database
from headrace.store.migrations import migrate
from headrace.telemetry.logging import log

_UPGRADE = 'mlflow db upgrade "postgresql+psycopg://USER:PASSWORD@HOST:5432/DATABASE"'


def open_writer(  # noqa: PLR0913, PLR0917 - one for each setting
    database: Database,
    enrich: bool = True,
    note_unfinished: bool = False,
    max_tags: int = 128,
    tables: Tables | None = None,
    index: bool = True,
    dialects: Dialects | None = None,
    bound: Bound | None = None,
) -> Writer:
    """Looks at MLflow's tables and returns the writer that fits them. Imports MLflow: takes about two seconds the first time.

    `enrich`: whether it adds what `enrich.py` says (MLflow's own store never does). `note_unfinished`: for `finish.py`.
    `max_tags`: the most of a trace. `tables`: where to note what was found. `index`: whether it keeps the index (MLflow's own
    store never does). `dialects`: by whose rules it reads spans if it enriches; None: those that come with Headrace. `bound`:
    how many log records a span keeps.

    Raises:
        StartError, DatabaseUnavailable: as `check`.
    """
    schema = _noted(database, tables or Tables())
    load_mlflow()
    _read_prices()
    if schema.shape is not None:
        from headrace.mlflow.write.bulk import BulkWriter

        return BulkWriter(database, enrich, note_unfinished, max_tags, schema, index, dialects, bound)
    return _fallback(database, max_tags, schema)


def _fallback(database: Database, max_tags: int, schema: Schema) -> Writer:
    """MLflow's own store as the writer; says why."""
    log.warning(
        "MLflow's tables do not fit the bulk writer: writing through MLflow's own store, many times slower",
        revision=schema.revision,
        reason=schema.differences[0],
    )
    from headrace.mlflow.fallback import MlflowStoreWriter

    try:
        return MlflowStoreWriter(database, max_tags, schema)
    except Exception as error:
        raise database.judge(error) from error


def _noted(database: Database, tables: Tables) -> Schema:
    """`check`, and a note of what it found."""
    try:
        schema = check(database)
    except StartError as error:
        tables.note_misfit(str(error))
        raise
    tables.note(schema)
    if schema.watchers:
        log.warning("MLflow's tables have checks or triggers of somebody else", found=", ".join(schema.watchers))
    return schema


def _read_prices() -> None:
    """Now, and not when the first span of a model waits to be written."""
    from headrace.mlflow.prices import prepare  # imports MLflow

    prepare()


def known_shape(database: Database) -> Shape | None:
    """The shape in which the bulk writer writes to this database. None: it does not, or has not begun to.

    Raises:
        DatabaseUnavailable: Postgres does not answer now.
    """
    with database.begin() as connection:
        found = connection.execute(text("SELECT to_regclass('headrace.unfinished_trace') IS NOT NULL")).scalar_one()
        schema = look(connection) if found else None
        return schema.shape if schema else None


def check(database: Database) -> Schema:
    """Checks MLflow's tables and migrates our own schema; returns what MLflow's tables are like.

    Raises:
        StartError: MLflow's tables are missing, or cannot be written; names what is in the way, and what helps.
        DatabaseUnavailable: Postgres does not answer now.
    """
    with database.begin() as connection:
        schema = verify_mlflow_schema(connection)
        migrate(connection)
    return schema


def verify_mlflow_schema(connection: Connection) -> Schema:
    """MLflow's tables, where they are such as the bulk writer or the installed MLflow can write.

    Raises:
        StartError: they are not; says what is in the way, and what helps.
    """
    schema = look(connection)
    if schema is None:
        raise StartError(
            f"The database has no MLflow schema. Point HEADRACE_DATABASE_URL at MLflow's database, or make one with: {_UPGRADE}"
        )
    if schema.shape is None and (reason := _why_store_cannot(connection, schema)):
        raise StartError(
            f"Headrace cannot write MLflow's tables as they are at revision {schema.revision}: {reason} "
            f"{_what_helps(schema.revision)}"
        )
    return schema


def _why_store_cannot(connection: Connection, schema: Schema) -> str:
    """What is in the way of MLflow's own store as well. Empty: it can write them."""
    if schema.revision != newest_revision():
        return schema.differences[0]
    from headrace.mlflow.fallback import differences_for_store

    said = differences_for_store(connection)
    return next((why for why in schema.differences if why in said), said[0]) if said else ""


def _what_helps(revision: str) -> str:
    if revision == newest_revision():
        return f"The revision is that of MLflow {version()}, which is installed here: somebody has changed the table by hand."
    if revision in revisions():
        return f"They are older than MLflow {version()}, which is installed here: take a backup and run: {_UPGRADE}."
    return (
        f"MLflow {version()}, which is installed here, does not know that revision: if the tables are newer, install the "
        f"Headrace that was made for them; if they are older, take a backup and run: {_UPGRADE}."
    )
