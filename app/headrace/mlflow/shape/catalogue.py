"""What Postgres says of its tables: columns, keys, foreign keys, checks and triggers. One query on its catalogue.

Source: https://www.postgresql.org/docs/current/catalogs.html
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class FoundColumn:
    """One column as it is."""

    type: str
    """The name of its type in `pg_type`; of a domain, that of the type below it."""
    chars: int | None
    """The longest text that it takes, in characters. None: any, or it is no text."""
    not_null: bool
    filled: str
    """How it gets a value where an insert names none: `""`, `default`, `identity`, `always identity`, `generated`."""
    fills_itself_anew: bool
    """Whether that value is another one each time: a sequence's next number, a new UUID."""


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A unique index, or a constraint that excludes rows."""

    name: str
    columns: tuple[str, ...]
    """Those that it compares; empty for expressions."""
    infers: bool
    """Whether `ON CONFLICT (columns)` finds it: valid, checked at once, for all rows, of plain columns."""
    nulls_differ: bool


@dataclass(frozen=True, slots=True)
class FoundReference:
    """A foreign key."""

    name: str
    columns: tuple[str, ...]
    table: str


@dataclass(frozen=True, slots=True)
class FoundTable:
    """One table as it is."""

    kind: str
    """`r`: a table, `p`: a partitioned one; all others are none. See `pg_class.relkind`."""
    rows_hidden: bool
    """Whether row-level security hides rows from this role."""
    columns: dict[str, FoundColumn]
    keys: tuple[FoundKey, ...]
    references: tuple[FoundReference, ...]
    watchers: tuple[str, ...]
    """Its checks and its enabled triggers, each as `trigger audit`."""


_QUERY = text("""
    SELECT w.name, c.relkind::text AS kind, row_security_active(c.oid) AS rows_hidden, (
        SELECT json_object_agg(a.attname, json_build_array(
            b.typname,
            CASE WHEN b.typname IN ('varchar', 'bpchar')
                 THEN nullif(CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END, -1) - 4 END,
            a.attnotnull OR (t.typtype = 'd' AND t.typnotnull),
            CASE WHEN a.attgenerated <> '' THEN 'generated' WHEN a.attidentity = 'a' THEN 'always identity'
                 WHEN a.attidentity = 'd' THEN 'identity' WHEN d.adbin IS NOT NULL OR t.typdefault IS NOT NULL THEN 'default'
                 ELSE '' END,
            a.attidentity <> '' OR coalesce(pg_get_expr(d.adbin, d.adrelid) ~ '(nextval|uuid)', false)))
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    ) AS columns, (
        SELECT json_agg(json_build_array(
            i.relname,
            (SELECT coalesce(json_agg(a.attname ORDER BY k.n), '[]') FROM unnest(x.indkey) WITH ORDINALITY AS k (attnum, n)
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum WHERE k.n <= x.indnkeyatts),
            x.indisunique AND x.indisvalid AND x.indimmediate AND x.indpred IS NULL AND x.indexprs IS NULL,
            coalesce(to_jsonb(x) ->> 'indnullsnotdistinct', 'false') = 'false'))
        FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
        WHERE x.indrelid = c.oid AND (x.indisunique OR x.indisexclusion)
    ) AS keys, (
        SELECT json_agg(json_build_array(
            f.conname,
            (SELECT json_agg(a.attname ORDER BY k.n) FROM unnest(f.conkey) WITH ORDINALITY AS k (attnum, n)
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum),
            r.relname))
        FROM pg_constraint f JOIN pg_class r ON r.oid = f.confrelid
        WHERE f.conrelid = c.oid AND f.contype = 'f'
    ) AS refs, (
        SELECT json_agg(v.said ORDER BY v.said) FROM (
            SELECT 'check ' || k.conname AS said FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'c'
            UNION ALL
            SELECT 'trigger ' || g.tgname FROM pg_trigger g
            WHERE g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgenabled <> 'D'
            UNION ALL
            SELECT 'rule ' || l.rulename FROM pg_rewrite l
            WHERE l.ev_class = c.oid AND l.rulename <> '_RETURN' AND l.ev_enabled <> 'D'
        ) v
    ) AS watchers
    FROM unnest(CAST(:names AS text[])) AS w (name) JOIN pg_class c ON c.oid = to_regclass(w.name)
""")


def read_tables(connection: Connection, names: Collection[str]) -> dict[str, FoundTable]:
    """Those of these tables that there are, as this role's statements find them."""
    return {row.name: _table(row) for row in connection.execute(_QUERY, {"names": sorted(names)})}


def _table(row: Any) -> FoundTable:
    return FoundTable(
        kind=row.kind,
        rows_hidden=row.rows_hidden,
        columns={name: FoundColumn(*facts) for name, facts in (row.columns or {}).items()},
        keys=tuple(FoundKey(name, tuple(columns), *facts) for name, columns, *facts in row.keys or ()),
        references=tuple(FoundReference(name, tuple(columns), table) for name, columns, table in row.refs or ()),
        watchers=tuple(row.watchers or ()),
    )
