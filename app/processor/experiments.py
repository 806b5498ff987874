"""Routes → MLflow experiment ids, looked up (and created by name) in Postgres, behind a cache.

Postgres may be away: what the cache knows stays valid then, and what it does not know is accepted as it was named, to be
looked up by the worker once Postgres is back.
"""

import threading
import time

from sqlalchemy import Connection, text

from app.database import Database
from app.errors import Unroutable
from app.processor.route import ID_HEADER, WAYS_TO_ROUTE, Route
from app.telemetry import EXPERIMENTS_CREATED, log

_MAX_CACHED = 10_000

_BY_ID = text("SELECT experiment_id FROM experiments WHERE experiment_id = :id")
_BY_NAME = text(
    "SELECT experiment_id, lifecycle_stage FROM experiments WHERE name = :name ORDER BY workspace = 'default' DESC LIMIT 1"
)
_CREATE = text(
    "INSERT INTO experiments (name, artifact_location, lifecycle_stage, creation_time, last_update_time, workspace) "
    "VALUES (:name, '', 'active', :now, :now, 'default') ON CONFLICT DO NOTHING RETURNING experiment_id"
)
_ROOT = text("SELECT artifact_location FROM experiments WHERE experiment_id = 0")
_LOCATE = text("UPDATE experiments SET artifact_location = :location WHERE experiment_id = :id")


class Experiments:
    """Resolves routes. Thread-safe; `cached` does no I/O, `look_up` blocks on Postgres."""

    def __init__(self, database: Database, create: bool, cache_seconds: float) -> None:
        self._database = database
        self._create = create
        self._cache_seconds = cache_seconds
        self._lock = threading.Lock()
        self._cache: dict[int | str, tuple[int, float]] = {}

    def cached(self, route: Route) -> int | None:
        """The id if it was looked up a short while ago, or at any time if Postgres is away now."""
        found = self._cache.get(_key(route))
        if found is None:
            return None
        fresh = time.monotonic() - found[1] < self._cache_seconds
        return found[0] if fresh or self._database.state.away else None

    def find(self, route: Route) -> int | None:
        """The id of an active experiment if there is one; creates nothing.

        Raises:
            DatabaseUnavailable: it cannot be told now.
        """
        try:
            return self.look_up(route, create=False)
        except Unroutable:
            return None

    def look_up(self, route: Route, create: bool = True) -> int:
        """Asks Postgres; creates a missing name where that is allowed.

        Raises:
            Unroutable: there is no such experiment. DatabaseUnavailable: it cannot be told now.
        """
        with self._database.begin() as connection:
            if route.id is not None:
                found = self._by_id(connection, route.id)
            else:
                found = self._by_name(connection, route.name, create and self._create)
        with self._lock:
            if len(self._cache) >= _MAX_CACHED:
                self._cache.clear()
            self._cache[_key(route)] = (found, time.monotonic())
        return found

    def _by_id(self, connection: Connection, id_: int) -> int:
        if connection.execute(_BY_ID, {"id": id_}).first() is None:
            raise Unroutable(f"MLflow has no experiment with id {id_} ({ID_HEADER}). {WAYS_TO_ROUTE}")
        return id_

    def _by_name(self, connection: Connection, name: str, create: bool) -> int:
        row = connection.execute(_BY_NAME, {"name": name}).first()
        if row is None and create:
            return self._create_experiment(connection, name)
        if row is None:
            raise Unroutable(
                f"MLflow has no experiment named {name!r}, and HEADRACE_CREATE_EXPERIMENTS is false: create it in MLflow first."
            )
        if row.lifecycle_stage != "active":
            raise Unroutable(f"The experiment {name!r} is deleted in MLflow: restore it there, or name another.")
        return int(row.experiment_id)

    def _create_experiment(self, connection: Connection, name: str) -> int:
        """As MLflow's `SqlAlchemyStore.create_experiment`: the artifact location is the server's root plus the id.

        The root is read off the Default experiment, which MLflow's server made from its `--default-artifact-root`.
        """
        created = connection.execute(_CREATE, {"name": name, "now": time.time_ns() // 1_000_000}).scalar()
        if created is None:  # another process was quicker
            return self._by_name(connection, name, create=False)
        root, _, query = (connection.execute(_ROOT).scalar() or "mlflow-artifacts:/0").partition("?")
        location = f"{root.rpartition('/')[0]}/{created}" + (f"?{query}" if query else "")
        connection.execute(_LOCATE, {"location": location, "id": created})
        EXPERIMENTS_CREATED.inc()
        log.info("experiment created", name=name, experiment_id=created)
        return int(created)


def _key(route: Route) -> int | str:
    return route.name if route.id is None else route.id
