"""Postgres, asked as `headrace serve` asks it at its start, and what could not be written."""

import time
from collections.abc import Iterator

from sqlalchemy import Connection, text

from headrace.config import Config
from headrace.doctor import Finding, ok, wrong
from headrace.errors import DatabaseRefuses, DatabaseUnavailable, HeadraceError
from headrace.local.postgres import running_postgres
from headrace.mlflow.rights import check_rights
from headrace.mlflow.shape import look
from headrace.store.database import Database

_MOST_SECONDS_APART = 5.0
_LETTERS = text("SELECT count(*) FROM headrace.dead_letter")
_HAS_LETTERS = text("SELECT to_regclass('headrace.dead_letter') IS NOT NULL")


def database(config: Config) -> Iterator[Finding]:
    """The database of HEADRACE_DATABASE_URL; without it, that of the `headrace up` which runs on the data directory."""
    url = config.database_url.get_secret_value() if config.database_url else running_postgres(config.data_dir)
    if url is None:
        yield wrong(
            "Postgres", "no-database", f"HEADRACE_DATABASE_URL is unset, and no `headrace up` runs on {config.data_dir}."
        )
        return
    handle = Database(url, "headrace doctor", connections=1, tells=False)
    try:
        yield from _checks(handle, config.create_experiments)
    except DatabaseRefuses as error:
        yield wrong("Postgres", "database-refuses", str(error))
    except DatabaseUnavailable as error:
        yield wrong("Postgres", "database-away", str(error))
    except HeadraceError as error:
        yield wrong("Postgres", "database-refuses", str(error))
    finally:
        handle.close()


def _checks(handle: Database, creates_experiments: bool) -> Iterator[Finding]:
    with handle.begin() as connection:
        version = str(connection.execute(text("SHOW server_version")).scalar_one())
        apart = _seconds_apart(connection)
        schema = look(connection)
    yield ok("Postgres", f"It answers, version {version}.")
    if apart > _MOST_SECONDS_APART:
        yield wrong("clock", "clock", f"This machine's clock and that of Postgres are {apart:.0f} s apart.")
    else:
        yield ok("clock", f"This machine's clock and that of Postgres are {apart:.1f} s apart.")
    if schema is None:
        yield wrong("MLflow's tables", "no-tables", "The database has none.")
        return
    if schema.shape is None:
        yield wrong("MLflow's tables", "other-tables", f"Revision {schema.revision}: {schema.differences[0]}")
    else:
        yield ok("MLflow's tables", f"Revision {schema.revision}, {schema.shape}.")
    check_rights(handle, creates_experiments, schema.shape)
    yield ok("rights", "The role may write what Headrace writes.")
    yield from _dead_letters(handle)


def _seconds_apart(connection: Connection) -> float:
    before = time.time()
    theirs = float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
    return max(before - theirs, theirs - time.time(), 0.0)


def _dead_letters(handle: Database) -> Iterator[Finding]:
    with handle.begin() as connection:
        count = connection.execute(_LETTERS).scalar_one() if connection.execute(_HAS_LETTERS).scalar_one() else 0
    yield wrong("dead letters", "dead-letters", f"{count:,} are kept.") if count else ok("dead letters", "None.")
