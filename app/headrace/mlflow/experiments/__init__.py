"""Routes → MLflow experiment ids, looked up (and created by name) in Postgres, behind a cache.

Postgres may be away: what the cache knows stays valid then, and what it does not know is accepted as it was named, to be
looked up by the worker once Postgres is back.

Experiment 0, `Default`, belongs to MLflow: its server makes it when it first starts, and ends where another experiment has that
name already. So no `Default` is ever created here; and nothing at all before MLflow has made its own, which also says where
artifacts are to lie.
"""

import threading
import time
from collections.abc import Collection, Iterable

from sqlalchemy import Connection

from headrace.config import Config
from headrace.errors import ExperimentsNotReady, TooManyExperiments, Unroutable
from headrace.mlflow.experiments.allowance import MAX_CACHED, Allowance
from headrace.mlflow.experiments.lookup import (
    DEFAULT,
    Deleted,
    Found,
    any_experiment,
    by_name,
    create,
    key_of,
    known,
    may_create,
)
from headrace.processor.route import ID_HEADER, WAYS_TO_ROUTE, Route
from headrace.store.database import Database
from headrace.telemetry.metrics import EXPERIMENTS_LIMITED

_NOT_STARTED = (
    "MLflow's server has not started on this database yet, so experiment 0 is missing: start it once. "
    "What is sent meanwhile is kept, and written then."
)

AGING_SECONDS = 1.0
"""After so long a cached experiment that is in use is looked up again, while requests go on: see `ExperimentResolver`."""

Answer = int | Unroutable | None
"""An experiment's id; why there is none; or None: that can only be told once MLflow's server has started."""


class Experiments:
    """Resolves routes. Thread-safe; `cached` and `accept` do no I/O, the others block on Postgres."""

    def __init__(self, database: Database, create: bool, cache_seconds: float, allowance: Allowance | None = None) -> None:
        self._database = database
        self._create = create
        self._cache_seconds = cache_seconds
        self._allowance = allowance or Allowance(20, 60)
        self._lock = threading.Lock()
        self._cache: dict[int | str, tuple[int, float]] = {}
        self._started = False
        self.deleted: set[int] = set()
        """Those of the cached experiments that are deleted in MLflow. They take spans."""
        self.waits_for = ""
        """What an operator has to do before anything can be written; empty where nothing is known to be missing."""

    @classmethod
    def of(cls, config: Config, database: Database) -> "Experiments":
        """With what the settings say; of several workers each may create its share."""
        per_minute = max(1, config.max_new_experiments_per_minute // config.workers)
        allowance = Allowance(config.max_new_experiments_per_request, per_minute)
        return cls(database, config.create_experiments, config.experiment_cache_seconds, allowance)

    def cached(self, route: Route) -> int | None:
        """The id if it was looked up a short while ago, or at any time if Postgres is away now."""
        found = self._cache.get(key_of(route))
        if found is None:
            return None
        fresh = time.monotonic() - found[1] < self._cache_seconds
        return found[0] if fresh or self._database.state.away else None

    def is_aging(self, route: Route) -> bool:
        """Whether what the cache knows of a route is so old that it should be asked for again meanwhile."""
        found = self._cache.get(key_of(route))
        return found is not None and time.monotonic() - found[1] > AGING_SECONDS

    def refresh(self, routes: Collection[Route]) -> None:
        """Looks cached experiments up again: one may have been deleted, restored, or be gone for good.

        Raises:
            DatabaseUnavailable: it cannot be told now; what the cache knows stands.
        """
        with self._database.begin() as connection:
            found = known(connection, routes)
        with self._lock:
            for route in routes:
                if key_of(route) not in found:
                    self._cache.pop(key_of(route), None)
        self._remember(found)

    def accept(self, routes: Iterable[Route]) -> None:
        """Charges the names among routes that are queued without having been looked up.

        Raises:
            RateLimited: they name too many that may be new.
        """
        names = {route.name for route in routes if route.id is None and route.name != DEFAULT}
        if names and self._create:
            self._allowance.name(sorted(names))

    def find(self, names: Collection[str]) -> dict[str, int]:
        """The ids of those of these names that are experiments, deleted or not; creates nothing.

        Raises:
            DatabaseUnavailable: it cannot be told now.
        """
        with self._database.begin() as connection:
            found = by_name(connection, names)
        self._remember(found)
        if DEFAULT in names and DEFAULT not in found:
            found[DEFAULT] = 0  # MLflow will make it so
        return {str(name): id_ for name, id_ in found.items()}

    def look_up_all(self, routes: Collection[Route]) -> dict[Route, Answer]:
        """A request's routes → what each is, asked with one query for ids and one for names, whatever their number.

        Creates missing names where that is allowed, as many as one request may; the others are `TooManyExperiments`.

        Raises:
            RateLimited: more than may be created in a minute; none is. DatabaseUnavailable: it cannot be told now.
        """
        with self._database.begin() as connection:
            found, started = self._known(connection, routes)
            missing = [route for route in routes if key_of(route) not in found]
            too_many: dict[str, TooManyExperiments] = {}
            if started and self._create:
                names = {route.name: None for route in missing if may_create(route)}
                created, too_many = self._create_for_request(connection, names)
                found |= created
        answers: dict[Route, Answer] = {}
        for route in routes:
            id_ = found.get(key_of(route))
            answers[route] = (too_many.get(route.name) or self._none(route, started)) if id_ is None else id_
        self.accept(route for route, answer in answers.items() if answer is None)
        self._remember(found)
        return answers

    def look_up(self, route: Route) -> int:
        """What a queued request names; creates it where it is missing and that is allowed.

        Raises:
            Unroutable: there is no such experiment. ExperimentsNotReady: it is not there yet, and will be.
            DatabaseUnavailable: it cannot be told now.
        """
        with self._database.begin() as connection:
            found, started = self._known(connection, [route])
            if not found and not started:
                raise ExperimentsNotReady(_NOT_STARTED)
            if not found and self._create and may_create(route):
                self._allowance.take_queued()
                found, _ = create(connection, [route.name])
        if (id_ := found.get(key_of(route))) is None:
            raise self._none(route, started=True) or ExperimentsNotReady(_NOT_STARTED)
        self._remember(found)
        return id_

    def wait_for_mlflow(self) -> None:
        """Returns if MLflow's server has started on this database, ever: no span can be written before. Asks until it has.

        Raises:
            ExperimentsNotReady: it has not. DatabaseUnavailable: it cannot be told now.
        """
        if self._started:
            return
        with self._database.begin() as connection:
            if not self._sees_mlflow(connection):
                raise ExperimentsNotReady(_NOT_STARTED)

    def _known(self, connection: Connection, routes: Collection[Route]) -> tuple[Found, bool]:
        """What MLflow has of these, and whether its server has ever started; if all are there, that is not asked.

        If it starts just now, between the two questions, the first one is asked again: else its experiment 0 would be missing.
        """
        before, found = self._started, known(connection, routes)
        if all(key_of(route) in found for route in routes):
            return found, True
        started = self._sees_mlflow(connection)
        return (known(connection, routes) if started and not before else found), started

    def _sees_mlflow(self, connection: Connection) -> bool:
        """Whether MLflow's server has ever started on this database: it makes its experiment 0 before anybody makes another."""
        if not self._started:
            self._started = any_experiment(connection)
            self.waits_for = "" if self._started else _NOT_STARTED
        return self._started

    def _create_for_request(
        self, connection: Connection, names: Collection[str]
    ) -> tuple[Found, dict[str, TooManyExperiments]]:
        """Creates as many as a request may; says of the others why not."""
        allowed, excess = list(names)[: self._allowance.per_request], list(names)[self._allowance.per_request :]
        found: Found = {}
        if allowed:
            self._allowance.take(len(allowed))
            found, created = create(connection, allowed)
            self._allowance.give_back(len(allowed) - created)
        if excess:
            EXPERIMENTS_LIMITED.labels("request").inc(len(excess))
        return found, {name: TooManyExperiments(self._too_many()) for name in excess}

    def _too_many(self) -> str:
        return (
            f"One request may create {self._allowance.per_request} experiments (HEADRACE_MAX_NEW_EXPERIMENTS_PER_REQUEST and "
            "HEADRACE_MAX_NEW_EXPERIMENTS_PER_MINUTE), and this one names more: create them in MLflow first."
        )

    def _none(self, route: Route, started: bool) -> Unroutable | None:
        """Why there is no such experiment; None where MLflow's server has yet to make it, or to say where artifacts lie."""
        waits = not started and (route.id == 0 or route.name == DEFAULT or (route.id is None and self._create))
        if waits:
            return None
        if route.id is not None:
            return Unroutable(f"MLflow has no experiment with id {route.id} ({ID_HEADER}). {WAYS_TO_ROUTE}")
        if route.name == DEFAULT:
            return Unroutable(
                "MLflow's database has no experiment 0, `Default`, which MLflow's server makes when it starts: "
                "start it again, or name another experiment."
            )
        return Unroutable(
            f"MLflow has no experiment named {route.name!r}, and HEADRACE_CREATE_EXPERIMENTS is false: "
            "create it in MLflow first."
        )

    def _remember(self, found: Found) -> None:
        """Those that exist. What was looked up longest ago is forgotten first."""
        now = time.monotonic()
        with self._lock:
            for key, id_ in found.items():
                self._cache.pop(key, None)
                self._cache[key] = (int(id_), now)
                if isinstance(id_, Deleted):
                    self.deleted.add(int(id_))
                else:
                    self.deleted.discard(id_)
            while len(self._cache) > MAX_CACHED:
                id_, _ = self._cache.pop(next(iter(self._cache)))
                self.deleted.discard(id_)
