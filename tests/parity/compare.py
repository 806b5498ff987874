"""Two databases → what differs between them: every table of MLflow's schema, every row, every column."""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

Row = dict[str, Any]
Snapshot = dict[str, list[Row]]

VOLATILE: dict[str, dict[str, str]] = {
    "entity_associations": {
        "association_id": "a random UUID",
        "created_time": "the clock",
    },
}
"""table → column → why it is different in every run. All that is not compared stands here."""

ROUNDED: dict[str, dict[str, str]] = {
    "trace_info": dict.fromkeys(
        ("input_cost", "output_cost", "total_cost"),
        "a sum of floats in the order in which Postgres happens to return the stored spans (MLflow asks for no order)",
    ),
}
"""table → column → why its last binary digit may differ."""


def _known(scenario: str, reason: str, **columns: tuple[str, ...]) -> dict[tuple[str, str, str], str]:
    return {(scenario, table, column): reason for table, names in columns.items() for column in names}


_TOKENS = ("input_tokens", "output_tokens", "total_tokens")

KNOWN_DIFFERENCES: dict[tuple[str, str, str], str] = {
    **_known(
        "101 traces of a run in one request",
        "MLflow links none where there are over a hundred",
        entity_associations=("*",),
    ),
    **_known(
        "spans that are their own parents",
        "Headrace makes them roots; MLflow leaves a trace that is never finished",
        spans=("parent_span_id", "content"),
        trace_info=("status", "request_preview", *_TOKENS),
    ),
    **_known(
        "reserved tags",
        "Headrace drops them; MLflow keeps them, and then reads files where they say, and takes no more spans",
        trace_tags=("value", "*"),
    ),
    **_known(
        "the same span twice in a request, both counted",
        "Headrace writes the last of them only; MLflow writes both, but counts the tokens of both",
        trace_info=("timestamp_ms", "execution_time_ms", *_TOKENS),
    ),
}
"""(scenario, table, column) → why it cannot be avoided, or is better so. The test fails for each that is no difference."""

SKIPPED = {"alembic_version"}

_KEYS = {
    "entity_associations": ("source_type", "source_id", "destination_type", "destination_id"),
    "experiments": ("experiment_id",),
    "runs": ("run_uuid",),
    "spans": ("trace_id", "span_id"),
    "span_metrics": ("trace_id", "span_id", "key"),
    "trace_info": ("request_id",),
    "trace_metrics": ("request_id", "key"),
    "trace_request_metadata": ("request_id", "key"),
    "trace_tags": ("request_id", "key"),
}
"""How the rows of two databases are matched; in other tables a row with another value is another row."""

_TRACE_COLUMNS = ("trace_id", "request_id", "source_id")
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"


@dataclass(frozen=True, slots=True)
class Difference:
    """One value, or (`column` is `*`) one whole row, that only one side has. `left` is MLflow's, `right` ours."""

    table: str
    key: tuple[Any, ...]
    column: str
    left: Any
    right: Any
    trace_id: str | None

    def __hash__(self) -> int:
        return hash((self.table, self.key, self.column))

    def in_columns(self) -> "Difference":
        """A total of a trace that stands in a row of its own, as before MLflow 3.17, as the column of `trace_info` that it is
        now."""
        name = self.key[-1]
        if self.table == "trace_metrics":
            return replace(self, table="trace_info", column=str(name))
        if self.table == "trace_request_metadata" and name == "mlflow.trace.tokenUsage":
            return replace(self, table="trace_info", column="total_tokens")
        return self

    def __str__(self) -> str:
        left, right = _cut(self.left, self.right)
        return f"  {' '.join(str(part) for part in self.key)}\n        MLflow   {left}\n        Headrace {right}"


def snapshot(url: str) -> Snapshot:
    """All rows of all of MLflow's tables."""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        tables = [str(row["tablename"]) for row in connection.execute(_TABLES)]
        return {
            table: connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier("public", table))).fetchall()
            for table in tables
            if table not in SKIPPED
        }


def diff(left: Snapshot, right: Snapshot) -> list[Difference]:
    """What differs, in the order of tables and keys. `left` is MLflow's, `right` ours."""
    differences = []
    for table in sorted(left.keys() | right.keys()):
        differences += _diff_table(table, left.get(table, []), right.get(table, []))
    return differences


def explain(differences: Iterable[Difference], names: Mapping[str, str], limit: int = 12) -> str:
    """Differences grouped by scenario (`names`: trace id → scenario), the first few of each."""
    grouped: defaultdict[str, list[Difference]] = defaultdict(list)
    for difference in differences:
        grouped[_scenario_of(difference, names)].append(difference)
    lines = []
    for name, group in list(grouped.items())[:limit]:
        lines.append(f"{name}: {len(group)} differences")
        for (table, column), same in _by_column(group).items():
            lines.append(f"    {table}.{column}, {len(same)} times:" if len(same) > 1 else f"    {table}.{column}:")
            lines += [f"    {difference}" for difference in same[:2]]
    if len(grouped) > limit:
        lines.append(f"… and {len(grouped) - limit} more scenarios: {', '.join(list(grouped)[limit:][:40])}")
    return "\n".join(lines)


def unknown(differences: Iterable[Difference], names: Mapping[str, str]) -> list[Difference]:
    """Those that are not in `KNOWN_DIFFERENCES`."""
    return [difference for difference in differences if _place(difference, names) not in KNOWN_DIFFERENCES]


def not_found(differences: Iterable[Difference], names: Mapping[str, str]) -> set[tuple[str, str, str]]:
    """Those of `KNOWN_DIFFERENCES` that are none any more."""
    return KNOWN_DIFFERENCES.keys() - {_place(difference, names) for difference in differences}


def _place(difference: Difference, names: Mapping[str, str]) -> tuple[str, str, str]:
    return _scenario_of(difference, names), difference.table, difference.column


def _scenario_of(difference: Difference, names: Mapping[str, str]) -> str:
    return names.get(difference.trace_id or "", "(no scenario)")


def _by_column(differences: Iterable[Difference]) -> dict[tuple[str, str], list[Difference]]:
    found: defaultdict[tuple[str, str], list[Difference]] = defaultdict(list)
    for difference in differences:
        found[difference.table, difference.column].append(difference)
    return found


def _diff_table(table: str, left: list[Row], right: list[Row]) -> list[Difference]:
    lefts, rights = _by_key(table, left), _by_key(table, right)
    differences = []
    for key in sorted(lefts.keys() | rights.keys(), key=repr):
        ours, theirs = rights.get(key, []), lefts.get(key, [])
        for one, other in itertools.zip_longest(theirs, ours):
            differences += _diff_row(table, key, one, other)
    return differences


def _diff_row(table: str, key: tuple[Any, ...], left: Row | None, right: Row | None) -> list[Difference]:
    if left is None or right is None:
        hidden = {"content", *VOLATILE.get(table, {})}
        shown = [row and {column: value for column, value in row.items() if column not in hidden} for row in (left, right)]
        return [Difference(table, key, "*", shown[0] or "(no row)", shown[1] or "(no row)", _trace_of(left or right or {}))]
    return [
        Difference(table, key, column, left.get(column), right.get(column), _trace_of(left))
        for column in left
        if column not in VOLATILE.get(table, {}) and not _equal(table, column, left[column], right.get(column))
    ]


def _by_key(table: str, rows: list[Row]) -> dict[tuple[Any, ...], list[Row]]:
    """Rows under their keys; more than one where the table has no key that is the same in every run."""
    volatile = VOLATILE.get(table, {})
    found: defaultdict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        columns = _KEYS.get(table) or [column for column in row if column not in volatile]
        found[tuple(row[column] for column in columns)].append(row)
    return found


def _equal(table: str, column: str, left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        if math.isnan(left) or math.isnan(right):
            return math.isnan(left) and math.isnan(right)
        if column in ROUNDED.get(table, {}):
            return math.isclose(left, right, rel_tol=1e-12)
    return type(left) is type(right) and bool(left == right)


def _trace_of(row: Row) -> str | None:
    for column in _TRACE_COLUMNS:
        if str(row.get(column, "")).startswith("tr-"):
            return str(row[column])
    return None


def _cut(left: Any, right: Any, width: int = 240) -> tuple[str, str]:
    """Both values, from shortly before the place where they begin to differ."""
    if not (isinstance(left, str) and isinstance(right, str)) or max(len(left), len(right)) <= width:
        return repr(left)[:1000], repr(right)[:1000]
    length = min(len(left), len(right))
    first = next((i for i in range(length) if left[i] != right[i]), length)
    begin = max(0, first - width // 3)
    return f"…[{begin}] {left[begin : begin + width]!r}", f"…[{begin}] {right[begin : begin + width]!r}"
