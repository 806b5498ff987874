"""Which form MLflow's tables have: what a writer needs of them, beside Postgres' catalogue. The revision's name is no matter.

needs.py        what a writer declares
known.py        the shapes that there are
catalogue.py    what Postgres has
differences.py  the one beside the other, in sentences
"""

import os
from dataclasses import dataclass

from sqlalchemy import Connection, text

from headrace.errors import TablesChanged
from headrace.mlflow.shape.catalogue import read_tables
from headrace.mlflow.shape.differences import differences, watchers
from headrace.mlflow.shape.known import SHAPES
from headrace.mlflow.shape.needs import Shape

__all__ = ["SHAPES", "Schema", "Shape", "look", "mlflow_revision", "still_at"]

_THERE = text("SELECT to_regclass('alembic_version') IS NOT NULL")
_REVISION = "SELECT version_num FROM alembic_version"


@dataclass(frozen=True, slots=True)
class Schema:
    """MLflow's tables, as they were when somebody looked."""

    revision: str
    shape: Shape | None
    """The one that they have. None: none that we know."""
    differences: tuple[str, ...] = ()
    """What is in the way, measured by the shape that is nearest."""
    watchers: tuple[str, ...] = ()
    """Checks, triggers and rules that somebody has added to them."""


_LOCK_SECONDS = 2
"""How long a look waits where somebody holds a table: Postgres locks it to say what a column's default is."""


def look(connection: Connection) -> Schema | None:
    """Reads the catalogue. None: there are no tables of MLflow.

    Raises what Postgres says, that it waited too long (55P03) if somebody holds a table for longer than two seconds.
    """
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'")
    revision = mlflow_revision(connection)
    if revision is None:
        return None
    found = read_tables(connection, {table.name for shape in SHAPES for table in shape.tables})
    connection.exec_driver_sql("SET LOCAL lock_timeout = DEFAULT")
    said = {shape: tuple(differences(shape, found, os.environ)) for shape in SHAPES}
    nearest = min(SHAPES, key=lambda shape: len(said[shape]))
    fits = not said[nearest]
    return Schema(revision, nearest if fits else None, said[nearest], tuple(watchers(nearest, found)) if fits else ())


def mlflow_revision(connection: Connection) -> str | None:
    """The Alembic revision of MLflow's tables, or None where there are none."""
    if not connection.execute(_THERE).scalar():
        return None
    revision: str | None = connection.execute(text(_REVISION)).scalar()
    return revision


def still_at(connection: Connection, revision: str) -> None:
    """The last statement of a transaction that writes MLflow's tables.

    A migration that has changed a table before we wrote to it has committed its revision with that, so that we see it here; one
    that comes later waits for our locks.

    Raises:
        TablesChanged: MLflow has upgraded them meanwhile. Nothing may be committed.
    """
    now = connection.exec_driver_sql(_REVISION).scalar()
    if now != revision:
        raise TablesChanged(f"MLflow's tables were upgraded underneath, from revision {revision} to {now}.")
