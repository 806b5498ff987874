"""The statements of sql/, and transactions to run them in."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

from psycopg import Cursor
from psycopg.sql import SQL
from sqlalchemy import Connection

from headrace.store.database import Database

Rows = Cursor[tuple[Any, ...]]


def load_statements(file: str) -> dict[str, SQL]:
    """`-- name: x` and what follows it, from a file in sql/."""
    statements = {}
    for block in files("headrace.mlflow.write").joinpath(f"sql/{file}").read_text().split("-- name: ")[1:]:
        name, _, text = block.partition("\n")
        lines = [line for line in text.splitlines() if not line.startswith("--")]
        statements[name.strip()] = SQL("\n".join(lines).strip())
    return statements


STATEMENTS = load_statements("writer.sql")


def run_for(cursor: Rows, statement: SQL, names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Runs a statement once for all rows. Each name is the parameter that takes one column of them. No rows: runs nothing."""
    if rows:
        columns = zip(*rows, strict=True)
        cursor.execute(statement, {name: array(values) for name, values in zip(names, columns, strict=True)})


def array(values: Sequence[object]) -> str:
    """Numbers, or texts, as the text of Postgres' array: some five times as quick as psycopg's lists, where they are many and
    short. None is NULL."""
    if None in values:
        return "{" + ",".join(["NULL" if value is None else f'"{_escaped(str(value))}"' for value in values]) + "}"
    elements = list(map(str, values))
    text = '","'.join(elements)
    if "\\" in text or text.count('"') != 2 * (len(elements) - 1):
        text = '","'.join(map(_escaped, elements))
    return f'{{"{text}"}}' if elements else "{}"


def _escaped(element: str) -> str:
    return element.replace("\\", "\\\\").replace('"', '\\"')


@contextmanager
def transaction(database: Database) -> Iterator[tuple[Connection, Rows]]:
    """One transaction: SQLAlchemy's connection, and a cursor of psycopg on it. Raises as `Database.begin`."""
    with database.begin() as connection:
        driver = connection.connection.driver_connection
        with driver.cursor() as cursor:  # type: ignore[union-attr]
            yield connection, cursor
