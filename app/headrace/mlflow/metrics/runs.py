"""The runs that a batch of metrics is for, told in the transaction that writes it: looked up, checked, and made where they are
named by name."""

import hashlib
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence

from headrace.envelope.limit import Limit
from headrace.mlflow.metrics.translate import Metrics, Target, Values
from headrace.mlflow.runs import Run, refusal
from headrace.mlflow.write.statements import Rows
from headrace.rejected import RejectedRecord

_SLOTS = 1024
"""Advisory locks that there are for runs. Two runs may share one."""
_LOCK = "SELECT pg_advisory_xact_lock(%s, slot) FROM unnest(%s::int4[]) AS t (slot)"
_NAMES, _IDS = 1_212_369_999, 1_212_370_000
"""The classes of our advisory locks: of runs by name, and by id."""

_BY_ID = """
    SELECT r.run_uuid, r.experiment_id, e.name, r.lifecycle_stage FROM runs r
    JOIN experiments e ON e.experiment_id = r.experiment_id WHERE r.run_uuid = ANY (%s) AND e.workspace = 'default'
"""
_BY_NAME = """
    SELECT DISTINCT ON (r.experiment_id, r.name) r.experiment_id, r.name, r.run_uuid FROM runs r
    JOIN unnest(%s::int4[], %s::text[]) AS t (experiment_id, name) ON t.experiment_id = r.experiment_id AND t.name = r.name
    WHERE r.lifecycle_stage = 'active' ORDER BY r.experiment_id, r.name, r.start_time DESC, r.run_uuid
"""
_EXPERIMENT = "SELECT artifact_location, lifecycle_stage FROM experiments WHERE experiment_id = %s"
_CREATE = """
    INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time,
        deleted_time, source_version, lifecycle_stage, artifact_uri, experiment_id)
    VALUES (%s, %s, 'UNKNOWN', '', '', %s, 'RUNNING', %s, NULL, NULL, '', 'active', %s, %s)
"""
_TAG = "INSERT INTO tags (key, value, run_uuid) VALUES ('mlflow.runName', %s, %s)"


class Runs:
    """The runs of one batch. Raises nothing itself: what may not be written is in `rejected`."""

    def __init__(self, cursor: Rows, deliveries: Sequence[Metrics], found: Mapping[Target, Values]) -> None:
        self._cursor = cursor
        self._deliveries = deliveries
        self.values: dict[str, Values] = {}
        """The id of each run that may be written → what is for it."""
        self.rejected: list[RejectedRecord] = []
        ids = self._name_all(found)
        self._lock(_IDS, ids.values())
        runs = self._read(set(ids.values()))
        for target, held in found.items():
            if target in ids:
                self._take(ids[target], runs.get(ids[target]), held, by_id=bool(target.run_id))

    def _take(self, run_id: str, run: Run | None, held: Values, by_id: bool) -> None:
        """Adds what is for one run. By its name, the sender's right to the experiment was told at receipt."""
        for sender in held.senders:
            limit: Limit | None = self._deliveries[sender].limit if by_id else None
            if said := refusal(run_id, run, limit):
                numbers = {origin.number for origin in held.points if origin.delivery == sender}
                self.rejected += [RejectedRecord(number, said, sender) for number in sorted(numbers)]
        known = self.values.setdefault(run_id, Values())
        known.rows += held.rows
        known.stepped += held.stepped
        known.deltas += held.deltas
        for name, origins in held.names.items():
            known.names.setdefault(name, []).extend(origins)

    def _name_all(self, found: Mapping[Target, Values]) -> dict[Target, str]:
        """The id of each run. Makes those that are missing by name."""
        ids = {target: target.run_id for target in found if target.run_id}
        named = sorted(target for target in found if not target.run_id)
        if not named:
            return ids
        self._lock(_NAMES, (f"{target.experiment_id} {target.run_name}" for target in named))
        experiments, names = [target.experiment_id for target in named], [target.run_name for target in named]
        self._cursor.execute(_BY_NAME, [experiments, names])
        there = {(experiment, name): run_id for experiment, name, run_id in self._cursor.fetchall()}
        for target in named:
            run_id = there.get((target.experiment_id, target.run_name)) or self._create(target, found[target])
            if run_id:
                ids[target] = run_id
        return ids

    def _create(self, target: Target, held: Values) -> str:
        """Makes a run as MLflow's `SqlAlchemyStore.create_run` does. Returns its id; empty if the experiment is deleted."""
        from mlflow.utils.uri import append_to_uri_path

        self._cursor.execute(_EXPERIMENT, [target.experiment_id])
        location, stage = self._cursor.fetchone() or ("", "deleted")
        if stage != "active":
            said = f"Experiment {target.experiment_id} is deleted in MLflow: no run can be made in it."
            self.rejected += [RejectedRecord(origin.number, said, origin.delivery) for origin in held.points]
            return ""
        run_id, name = uuid.uuid4().hex, target.run_name
        times = [row.timestamp for row in (*held.rows, *held.stepped)] + [delta.ends // 1_000_000 for delta in held.deltas]
        artifacts = append_to_uri_path(location, run_id, "artifacts")  # type: ignore[no-untyped-call]
        user = self._deliveries[min(held.senders)].key_name
        self._cursor.execute(_CREATE, [run_id, name, user, min(times, default=0), artifacts, target.experiment_id])
        self._cursor.execute(_TAG, [name, run_id])
        return run_id

    def _read(self, ids: Collection[str]) -> dict[str, Run]:
        self._cursor.execute(_BY_ID, [sorted(id_ for id_ in ids if "\0" not in id_)])
        return {id_: Run(experiment, name, stage == "active") for id_, experiment, name, stage in self._cursor.fetchall()}

    def _lock(self, kind: int, names: Iterable[str]) -> None:
        """Writers of the same run wait for each other, always in the same order."""
        slots = sorted({int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % _SLOTS for name in names})
        self._cursor.execute(_LOCK, [kind, slots])
