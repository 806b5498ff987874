"""Values of a step: each is written once, with its earliest time.

An SDK exports a gauge again and again, for each set of attributes that it ever had: with a new time, and the value of then. If
an attribute says the step, a thousand epochs would become half a million rows. Idempotent, in any order.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from headrace.mlflow.metrics.translate import Row
from headrace.mlflow.write.statements import Rows

_OF_STEPS = """
    SELECT m.run_uuid, m.key, m.timestamp, m.step, m.value, m.is_nan
    FROM (SELECT DISTINCT * FROM unnest(%s::text[], %s::text[], %s::int8[])) AS t (run_uuid, key, step)
    JOIN metrics m ON m.run_uuid = t.run_uuid AND m.key = t.key AND m.step = t.step
"""

Placed = tuple[str, Row]
"""The id of a run, and a row of it."""


def earliest(cursor: Rows, rows: Mapping[str, Sequence[Row]]) -> tuple[list[Placed], list[Placed]]:
    """The rows of runs, by their ids → those that are still to be written, and those that are there with a later time."""
    coming = _by_value((run, row) for run, found in rows.items() for row in found)
    if not coming:
        return [], []
    placed = [found[0] for found in coming.values()]
    cursor.execute(_OF_STEPS, [[run for run, _ in placed], [row.key for _, row in placed], [row.step for _, row in placed]])
    there = _by_value((values[0], Row(*values[1:])) for values in cursor.fetchall())
    new, late = [], []
    for value, found in coming.items():
        first, known = found[0], there.get(value, [])
        if not known or first[1].timestamp < known[0][1].timestamp:
            new.append(first)
            late += known
    return new, late


def _by_value(placed: Iterable[Placed]) -> dict[tuple[object, ...], list[Placed]]:
    """The rows of each value of a step, the earliest first."""
    found: defaultdict[tuple[object, ...], list[Placed]] = defaultdict(list)
    for run, row in sorted(placed):
        found[run, row.key, row.step, row.value, row.is_nan].append((run, row))
    return found
