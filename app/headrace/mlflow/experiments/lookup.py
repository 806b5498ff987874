"""The statements on MLflow's table of experiments. Each is given a connection, and does no more than its transaction."""

import time
from collections.abc import Collection

from sqlalchemy import Connection, text

from headrace.processor.route import Route
from headrace.telemetry.logging import log
from headrace.telemetry.metrics import EXPERIMENTS_CREATED

DEFAULT = "Default"
"""What MLflow calls its experiment 0."""

_STARTED = text("SELECT EXISTS (SELECT FROM experiments)")
_BY_ID = text(
    "SELECT experiment_id, lifecycle_stage FROM experiments WHERE experiment_id = ANY (:ids) AND workspace = 'default'"
)
_BY_NAME = text(
    "SELECT name, experiment_id, lifecycle_stage FROM experiments WHERE name = ANY (:names) AND workspace = 'default'"
)
_ZERO = text("SELECT CAST(:name AS text) AS name, experiment_id, lifecycle_stage FROM experiments WHERE experiment_id = 0")
_CREATE = text(
    "INSERT INTO experiments (name, artifact_location, lifecycle_stage, creation_time, last_update_time, workspace) "
    "VALUES (:name, '', 'active', :now, :now, 'default') ON CONFLICT DO NOTHING RETURNING experiment_id"
)
_ROOT = text(
    r"SELECT artifact_location FROM experiments WHERE artifact_location ~ ('/' || experiment_id || '(\?.*)?$') "
    "AND workspace = 'default' ORDER BY experiment_id LIMIT 1"
)
_LOCATE = text("UPDATE experiments SET artifact_location = :location WHERE experiment_id = :id")


class Deleted(int):
    """The id of an experiment that is deleted in MLflow, and can be restored there.

    It takes spans, as through MLflow's own endpoint: what is sent is kept. Whether it is named by its id or its name makes no
    difference, nor does it whether it was deleted before the request or after.
    """


Found = dict[int | str, int]
"""By `key_of`: the ids of experiments that exist, `Deleted` ones among them."""


def any_experiment(connection: Connection) -> bool:
    """Whether there is any experiment at all."""
    return bool(connection.execute(_STARTED).scalar())


def key_of(route: Route) -> int | str:
    """By what an experiment is known: its id, or its name."""
    return route.name if route.id is None else route.id


def may_create(route: Route) -> bool:
    """Whether it names an experiment that is not MLflow's own."""
    return route.id is None and route.name != DEFAULT


def known(connection: Connection, routes: Collection[Route]) -> Found:
    """What MLflow has of these, by `key_of`."""
    found: Found = {}
    if ids := [route.id for route in routes if route.id is not None]:
        rows = connection.execute(_BY_ID, {"ids": ids})
        found |= {row.experiment_id: _id(row.experiment_id, row.lifecycle_stage) for row in rows}
    if names := [route.name for route in routes if route.id is None]:
        found |= by_name(connection, names)
    return found


def by_name(connection: Connection, names: Collection[str]) -> Found:
    """Names → what MLflow has of them in its workspace `default`.

    `Default` is experiment 0, whatever that is called now, unless another experiment has been given the name.
    """
    rows = connection.execute(_BY_NAME, {"names": list(names)}).all()
    if DEFAULT in names and all(row.name != DEFAULT for row in rows):
        rows = [*rows, *connection.execute(_ZERO, {"name": DEFAULT})]
    return {row.name: _id(row.experiment_id, row.lifecycle_stage) for row in rows}


def _id(id_: int, stage: str) -> int:
    return id_ if stage == "active" else Deleted(id_)


def create(connection: Connection, names: Collection[str]) -> tuple[Found, int]:
    """Names → experiments, and how many of them are new: another process may have been quicker.

    As MLflow's `SqlAlchemyStore.create_experiment`: the artifact location is the server's root plus the id. The root is read
    off the Default experiment, which MLflow's server made from its `--default-artifact-root`, or off the oldest that has it.
    """
    model = connection.execute(_ROOT).scalar() or "mlflow-artifacts:/0"
    root, _, query = model.partition("?")
    found: Found = {}
    for name in sorted(names):  # two requests that create the same ones wait for each other, and never in a circle
        created = connection.execute(_CREATE, {"name": name, "now": time.time_ns() // 1_000_000}).scalar()
        if created is not None:
            location = f"{root.rpartition('/')[0]}/{created}" + (f"?{query}" if query else "")
            connection.execute(_LOCATE, {"location": location, "id": created})
            EXPERIMENTS_CREATED.inc()
            log.info("experiment created", name=name, experiment_id=created)
            found[name] = int(created)
    created_now = len(found)
    if others := [name for name in names if name not in found]:
        found |= by_name(connection, others)
    return found, created_now
