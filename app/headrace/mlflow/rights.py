"""Whether the role of HEADRACE_DATABASE_URL may write what Headrace writes. A missing right holds up the queue for ever."""

from sqlalchemy import Connection, text

from headrace.errors import DatabaseRefuses
from headrace.mlflow.shape.known import TOTALS_IN_COLUMNS, TOTALS_IN_ROWS
from headrace.mlflow.shape.needs import Shape
from headrace.store.database import Database

_NEEDED = {
    "alembic_version": "SELECT",
    "experiments": "SELECT",
    "trace_info": "SELECT INSERT UPDATE",
    "spans": "SELECT INSERT UPDATE",
    "trace_tags": "SELECT INSERT UPDATE DELETE",
    "trace_request_metadata": "SELECT INSERT UPDATE",
    "entity_associations": "SELECT INSERT",
    "runs": "SELECT INSERT",
    "tags": "INSERT",
    "metrics": "SELECT INSERT DELETE",
    "latest_metrics": "SELECT INSERT UPDATE",
}
_OF_SHAPE = {
    TOTALS_IN_COLUMNS: {"assessments": "SELECT UPDATE"},
    TOTALS_IN_ROWS: {"trace_metrics": "SELECT INSERT UPDATE", "span_metrics": "SELECT INSERT UPDATE"},
}
_TO_CREATE = {"experiments": "SELECT INSERT UPDATE"}
"""Also needed if Headrace may create experiments."""
_TO_EXPIRE = {
    "trace_info": "SELECT INSERT UPDATE DELETE",
    "entity_associations": "SELECT INSERT DELETE",
    "assessments": "SELECT UPDATE",
    "review_queue_items": "SELECT DELETE",
}
"""Also needed if HEADRACE_RETENTION deletes traces. What hangs on a trace goes with it, by the rights of the tables' owner."""

_MISSING = text("""
    WITH needed AS (
        SELECT to_regclass(name) AS relation, name, unnest(string_to_array(rights, ' ')) AS right_
        FROM unnest(CAST(:names AS text[]), CAST(:rights AS text[])) AS t (name, rights)
        UNION ALL
        SELECT c.oid, 'headrace.' || c.relname, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE'])
        FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = to_regnamespace('headrace')
    )
    SELECT current_user, name, string_agg(right_, ', ') FROM needed
    WHERE relation IS NOT NULL AND NOT has_table_privilege(relation, right_)
    GROUP BY name ORDER BY name LIMIT 3
""")


def check_rights(database: Database, creates_experiments: bool, shape: Shape | None = None, expires: bool = False) -> None:
    """Checks the rights on MLflow's tables, as far as they exist, and on our own. `shape`: that of the tables, if it is known.
    `expires`: whether Headrace deletes old traces.

    Raises:
        DatabaseRefuses: a right is missing. It says which, and the command that grants it.
        DatabaseUnavailable: Postgres does not answer now.
    """
    with database.begin() as connection:
        of_shape = _OF_SHAPE[shape] if shape else {}
        asked = (_TO_CREATE if creates_experiments else {}) | (_TO_EXPIRE if expires else {})
        missing = _missing(connection, _NEEDED | of_shape | asked)
    if missing:
        role = missing[0][0]
        grants = "; ".join(f"GRANT {rights} ON {name} TO {role}" for _, name, rights in missing)
        raise DatabaseRefuses(
            f"Postgres denies the role {role!r} rights on MLflow's or Headrace's tables: as their owner run: {grants}."
        )


def _missing(connection: Connection, needed: dict[str, str]) -> list[tuple[str, str, str]]:
    """Role, table and the rights that are missing, of the first three tables that lack one."""
    found = connection.execute(_MISSING, {"names": list(needed), "rights": list(needed.values())})
    return [(role, name, rights) for role, name, rights in found]
