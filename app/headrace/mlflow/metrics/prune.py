"""Deletes the intervals of runs that MLflow has deleted for good."""

from headrace.mlflow.write.statements import transaction
from headrace.store.database import Database

_AT_ONCE = 10_000
"""Rows a transaction."""
_GONE = """
    DELETE FROM headrace.metric_delta WHERE ctid = ANY (ARRAY(
        SELECT d.ctid FROM headrace.metric_delta d
        WHERE d.noted_on < current_date AND NOT EXISTS (SELECT FROM runs r WHERE r.run_uuid = d.run_uuid) LIMIT %s
    ))
"""


def prune_deltas(database: Database) -> bool:
    """Deletes intervals whose run is gone. True: there may be more.

    Raises:
        DatabaseUnavailable, PermanentExportError.
    """
    with transaction(database) as (_, cursor):
        cursor.execute(_GONE, [_AT_ONCE])
        return cursor.rowcount == _AT_ONCE
