"""Keeps a limited sender to its own experiments: what would change a trace or a run of another one is refused.

That a request may go where it wants to go was told when it came (`experiments/permit.py`). But spans join their trace wherever
it stands, and trace ids are no secret: each service that a trace passes knows its id. Only under the trace's lock it is known
where it stands. A trace that nobody has made yet is its first writer's.
"""

from collections.abc import Collection, Sequence

from sqlalchemy import text
from sqlalchemy.orm import Session

from headrace.envelope.limit import Limit
from headrace.mlflow.model import Trace, TracePart
from headrace.mlflow.write.statements import STATEMENTS, Rows


class Authority:
    """What the limited senders of one batch may change, told in the transaction that writes it."""

    def __init__(self, cursor: Rows, parts: Sequence[TracePart], traces: Collection[Trace]) -> None:
        """`traces`: those of the parts that exist, locked."""
        self._cursor = cursor
        self._experiments = {part.experiment_id for part in parts} | {trace.experiment_id for trace in traces}
        self._names: dict[int, str] | None = None
        self._runs = _experiments_of_runs(cursor, {part.run_id for part in parts if part.limit is not None})

    def refusal(self, part: TracePart, trace: Trace | None) -> str:
        """Why the part may not be written, as its trace stands now (None: it is not there yet). Empty: it may be written."""
        if part.limit is None:
            return ""
        if trace is not None and not self._covers(part.limit, part, trace.experiment_id):
            return foreign_trace(part.trace_id, trace.experiment_id, part.limit)
        run = self._runs.get(part.run_id)
        if run is not None and not self._covers(part.limit, part, run):
            return foreign_run(part.run_id, run, part.limit)
        return ""

    def _covers(self, limit: Limit, part: TracePart, experiment: int) -> bool:
        """Whether a part with this limit may change what stands in the experiment. See `Limit.covers`."""
        quick = experiment == part.experiment_id or not limit.names
        return limit.covers(part.experiment_id, experiment, None if quick else self._name(experiment))

    def _name(self, experiment: int) -> str | None:
        if self._names is None:
            self._cursor.execute(STATEMENTS["read_names"], {"ids": sorted(self._experiments | set(self._runs.values()))})
            self._names = dict(self._cursor.fetchall())
        return self._names.get(experiment)


def foreign_trace(trace_id: str, experiment: int, limit: Limit) -> str:
    """The reason of a dead letter: its span would change a trace that is not its sender's."""
    return f"Trace {trace_id} stands in experiment {experiment}. The API key may change traces of these only: {limit}."


def foreign_run(run_id: str, experiment: int, limit: Limit) -> str:
    """The reason of a dead letter: its trace would be linked to a run that is not its sender's."""
    return f"Run {run_id} stands in experiment {experiment}. The API key may change runs of these only: {limit}."


def _experiments_of_runs(cursor: Rows, run_ids: Collection[str]) -> dict[str, int]:
    """The experiments of those of these runs that there are. To one that is not there, nobody can be linked."""
    wanted = sorted(run_id for run_id in run_ids if run_id and "\0" not in run_id)
    if not wanted:
        return {}
    cursor.execute(STATEMENTS["read_runs"], {"ids": wanted})
    return dict(cursor.fetchall())


_STANDING = text(
    "SELECT t.request_id, t.experiment_id, CASE WHEN e.workspace = 'default' THEN e.name END AS name "
    "FROM trace_info t JOIN experiments e ON e.experiment_id = t.experiment_id WHERE t.request_id = ANY (:ids)"
)
_RUN = text(
    "SELECT r.experiment_id, CASE WHEN e.workspace = 'default' THEN e.name END AS name "
    "FROM runs r JOIN experiments e ON e.experiment_id = r.experiment_id WHERE r.run_uuid = :run"
)


def refusals(session: Session, trace_ids: Collection[str], run_id: str, experiment: int, limit: Limit) -> dict[str, str]:
    """For a transaction that has just written spans to `experiment`: the traces that it may not have changed, each with the
    reason. Their rows are locked, as they are written."""
    run = session.execute(_RUN, {"run": run_id}).first() if run_id and "\0" not in run_id else None
    if run is not None and not limit.covers(experiment, run.experiment_id, run.name):
        return dict.fromkeys(trace_ids, foreign_run(run_id, run.experiment_id, limit))
    return {
        row.request_id: foreign_trace(row.request_id, row.experiment_id, limit)
        for row in session.execute(_STANDING, {"ids": sorted(trace_ids)})
        if not limit.covers(experiment, row.experiment_id, row.name)
    }
