"""What a writer needs of a table: the seam `TableShape`, and the words to declare one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

TEXT, INTEGER, BIG, FLOAT, JSON = ("text", "varchar"), ("int4",), ("int8",), ("float8",), ("json",)


@dataclass(frozen=True, slots=True)
class Column:
    """A column that we write or read."""

    types: tuple[str, ...]
    """The types of Postgres, by their names in `pg_type`, that take and give our values. None: any."""
    chars: int = 0
    """The longest text that we write, in characters, as MLflow cuts it. 0: any, or it is no text."""
    writes_null: bool = False
    written: bool = True
    """False: only read."""


@dataclass(frozen=True, slots=True, eq=False)
class TableShape:
    """What a writer needs of one table. A table may have more than that: see `differences.py` for what disturbs."""

    name: str
    columns: Mapping[str, Column]
    inserts: bool = True
    """Whether we insert rows. Otherwise columns that we do not know are no matter."""
    keys: tuple[tuple[str, ...], ...] = ()
    """The columns of the unique keys that there must be: those that `ON CONFLICT` names, and that rows are told apart by."""
    references: Mapping[tuple[str, ...], str] = field(default_factory=dict)
    """Columns of the foreign keys that there must be → their tables."""
    absent: tuple[str, ...] = ()
    """Columns of another shape: where they are, MLflow reads those, and not ours."""
    only_if: str = ""
    """The setting of MLflow, a variable of the environment, without which we do not touch the table."""


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """All tables as a writer needs them: one of the forms that MLflow has given its schema."""

    name: str
    minors: str
    """The releases of MLflow that have it."""
    tables: tuple[TableShape, ...]
    absent: tuple[str, ...] = ()
    """Tables of another shape: where they are, MLflow reads that."""

    def __str__(self) -> str:
        return f"{self.name} (MLflow {self.minors})"


def text(chars: int = 0) -> Column:
    """A text of so many characters at most."""
    return Column(TEXT, chars)


def number(types: tuple[str, ...] = BIG) -> Column:
    """A number."""
    return Column(types)


def or_null(column: Column) -> Column:
    """The same, which may be NULL."""
    return replace(column, writes_null=True)


def read_only(**columns: tuple[str, ...]) -> Mapping[str, Column]:
    """Columns of these types that are only read."""
    return {name: Column(types, written=False) for name, types in columns.items()}


def all_or_null(column: Column, *names: str) -> Iterator[tuple[str, Column]]:
    """Columns of these names that are all alike, and may be NULL."""
    return ((name, or_null(column)) for name in names)
