"""A request's metrics → the run of each resource: what its sender names, whether there is such a run, and whether he may.

First that applies: header `x-mlflow-run-id` → resource attribute `mlflow.run_id` → `mlflow.run_name` within the experiment that
the request is routed to. A run that is named by id is looked up here. One that is named by its name is looked up, or made, by
the writer (`metrics/runs.py`): only under its lock it is known whether there is one. What names none is passed on to another
endpoint: without HEADRACE_METRICS_FORWARD it does not come here.
"""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from cachetools import LRUCache
from sqlalchemy import text

from headrace.config import Config
from headrace.envelope import envelope_pb2 as pb
from headrace.envelope.incoming import RUN_HEADER, Sender, said_once
from headrace.envelope.limit import Limit
from headrace.errors import DatabaseUnavailable, PermissionDenied, TooManyExperiments, UnknownRun
from headrace.mlflow.experiments.ask import Questions
from headrace.otlp.readable import ReadableHolder
from headrace.processor.authorize import Fate, Resolver
from headrace.processor.points import RUN_ID, RUN_NAME, run_of
from headrace.processor.route import route_headers
from headrace.store.database import Database
from headrace.telemetry.metrics import EXPERIMENTS_LIMITED

_TRUSTED_SECONDS = 10.0
_MAX_CACHED = 10_000
_MAX_ID = 32
"""Characters of a run's id in MLflow's tables."""
_RUNS = text(
    "SELECT r.run_uuid, r.experiment_id, e.name, r.lifecycle_stage FROM runs r "
    "JOIN experiments e ON e.experiment_id = r.experiment_id WHERE r.run_uuid = ANY (:ids) AND e.workspace = 'default'"
)


class Run(NamedTuple):
    """A run of MLflow."""

    experiment_id: int
    experiment_name: str
    active: bool
    """Whether it is not deleted."""


class RunResolver:
    """The `Resolver` of metrics."""

    def __init__(self, config: Config, experiments: Resolver, database: Database) -> None:
        """`experiments`: knows where resources go that name an experiment."""
        self._most = config.max_experiments_per_request
        self._experiments = experiments
        self._database = database
        self._questions = Questions(database)
        self._known: LRUCache[str, tuple[Run, float]] = LRUCache(_MAX_CACHED)

    def is_deleted(self, destination: pb.Destination) -> bool:
        """See `Resolver`."""
        return self._experiments.is_deleted(destination)

    async def resolve(self, resources: Sequence[ReadableHolder], sender: Sender) -> Sequence[Fate]:
        """See `Resolver`. The destination of a resource names its run."""
        route_headers(sender.headers)  # raises for a workspace that is not ours
        header = said_once(sender.headers.get(RUN_HEADER, ""))
        runs = [run_of(resource) for resource in resources]
        ids = [header or run.get(RUN_ID, "") for run in runs]
        names = ["" if id_ else run.get(RUN_NAME, "") for id_, run in zip(ids, runs, strict=True)]
        by_name = [resource for resource, name in zip(resources, names, strict=True) if name]
        named = iter(await self._by_name(by_name, sender))
        known = await self._by_id(dict.fromkeys(filter(None, ids)), sender.limit)
        return [
            known[id_] if id_ else next(named) if name else pb.Destination(forward=True)
            for id_, name in zip(ids, names, strict=True)
        ]

    async def _by_name(self, resources: Sequence[ReadableHolder], sender: Sender) -> list[Fate]:
        fates = await self._experiments.resolve(resources, sender) if resources else ()
        return [_with_name(fate, run_of(resource)[RUN_NAME]) for fate, resource in zip(fates, resources, strict=True)]

    async def _by_id(self, ids: Collection[str], limit: Limit | None) -> Mapping[str, Fate]:
        wanted, excess = list(ids)[: self._most], list(ids)[self._most :]
        if excess:
            EXPERIMENTS_LIMITED.labels("named").inc(len(excess))
        said = f"One request may name {self._most} runs (HEADRACE_MAX_EXPERIMENTS_PER_REQUEST), and this one names more."
        fates: dict[str, Fate] = dict.fromkeys(excess, TooManyExperiments(said))
        runs = await self._look_up(wanted, limit)
        for id_ in wanted:
            fates[id_] = pb.Destination(run_id=id_) if runs is None else _fate(id_, runs.get(id_), limit)
        return fates

    async def _look_up(self, ids: Iterable[str], limit: Limit | None) -> Mapping[str, Run] | None:
        """Those of these runs that there are. None: that cannot be told now, and the writer will.

        Raises:
            DatabaseUnavailable: it cannot be told, and the sender is limited.
        """
        now = time.monotonic()
        found = {id_: run for id_ in ids if (run := self._cached(id_, now))}
        possible = [id_ for id_ in ids if id_ not in found and len(id_) <= _MAX_ID and "\0" not in id_]
        if not possible:
            return found
        try:
            if self._questions.hopeless:
                raise DatabaseUnavailable("Postgres is away: whether the API key may write to the run cannot be told now.")
            return found | await self._questions.ask(partial(self._read, possible))
        except DatabaseUnavailable:
            if limit is not None:
                raise
            return None

    def _cached(self, id_: str, now: float) -> Run | None:
        found = self._known.get(id_)
        return found[0] if found and now - found[1] < _TRUSTED_SECONDS else None

    def _read(self, ids: Sequence[str]) -> dict[str, Run]:
        with self._database.begin() as connection:
            rows = connection.execute(_RUNS, {"ids": ids}).all()
        found = {row.run_uuid: Run(row.experiment_id, row.name, row.lifecycle_stage == "active") for row in rows}
        now = time.monotonic()
        for id_, run in found.items():
            self._known[id_] = run, now
        return found


def refusal(run_id: str, run: Run | None, limit: Limit | None) -> str:
    """Why metrics of this run may not be written. Empty: they may."""
    if run is None:
        return f"MLflow has no run {run_id[:80]!r}."
    if limit is not None and not limit.covers(-1, run.experiment_id, run.experiment_name):
        return f"Run {run_id} stands in experiment {run.experiment_id}. The API key may change runs of these only: {limit}."
    return "" if run.active else f"Run {run_id} is deleted in MLflow: restore it, or name another."


def _fate(run_id: str, run: Run | None, limit: Limit | None) -> Fate:
    said = refusal(run_id, run, limit)
    if run is None:
        return UnknownRun(f"{said} Set {RUN_HEADER}, or the resource attribute {RUN_ID}, to the id of a run that there is.")
    if said and run.active:
        return PermissionDenied(said)
    if said:
        return UnknownRun(said)
    return pb.Destination(run_id=run_id, experiment_id=str(run.experiment_id), experiment_name=run.experiment_name)


def _with_name(fate: Fate, name: str) -> Fate:
    if not isinstance(fate, pb.Destination):
        return fate
    named = pb.Destination(run_name=name)
    named.MergeFrom(fate)
    return named
