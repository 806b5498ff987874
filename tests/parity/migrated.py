"""What MLflow's own migration to 3.17 cannot know, or what the two databases do not share from the start."""

from parity.compare import Difference

_SEEDED = {"assessments", "experiments", "runs"}
_EXACT = 2**53
"""Beyond it a float, which is what older releases keep, does not hold each integer."""


def made_by_the_migration(one: Difference) -> bool:
    """Whether a difference between the installed release's own rows (`left`) and an older database, brought up to date, is none
    of Headrace's making."""
    if one.table in _SEEDED:
        return True  # each release's store has made these rows itself, at another time
    if one.table == "sql_trace_rollup_rebuild_queue":
        return True  # 3.17 has it first; the migration leaves it empty
    if one.column == "cache_creation_input_tokens_above_1hr":
        return one.right is None  # 3.17 counts it first
    if one.table == "trace_info" and one.column.endswith("_tokens"):
        return isinstance(one.left, int) and one.left > _EXACT and one.right is None
    # A span that comes again without a cost: older releases leave its rows in `span_metrics`.
    return one.table == "spans" and one.column.endswith("_cost") and one.left is None
