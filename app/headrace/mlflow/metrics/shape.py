"""Whether MLflow's tables for the metrics of runs are as the writer needs them."""

import os

from headrace.mlflow.shape.catalogue import read_tables
from headrace.mlflow.shape.differences import differences
from headrace.mlflow.shape.needs import BIG, FLOAT, INTEGER, TEXT, Shape, TableShape, number, or_null, read_only, text
from headrace.store.database import Database

_BOOLEAN = ("bool",)
_VALUE = {
    "key": text(250),
    "value": number(FLOAT),
    "timestamp": number(BIG),
    "step": number(BIG),
    "is_nan": number(_BOOLEAN),
    "run_uuid": text(32),
}
_TO_RUNS: dict[tuple[str, ...], str] = {("run_uuid",): "runs"}
_RUNS = {
    **{name: text(len("RUNNING")) for name in ("source_type", "status", "lifecycle_stage")},
    **{name: text() for name in ("source_name", "entry_point_name", "source_version")},
    **{name: text(size) for name, size in (("run_uuid", 32), ("name", 250), ("user_id", 256), ("artifact_uri", 200))},
    "start_time": number(BIG),
    "end_time": or_null(number(BIG)),
    "deleted_time": or_null(number(BIG)),
    "experiment_id": number(INTEGER),
}
_METRICS = Shape(
    "metrics of runs",
    "3.14 to 3.18",
    (
        TableShape("metrics", _VALUE, keys=(("key", "timestamp", "step", "run_uuid", "value", "is_nan"),), references=_TO_RUNS),
        TableShape("latest_metrics", _VALUE, keys=(("key", "run_uuid"),), references=_TO_RUNS),
        TableShape("runs", _RUNS, keys=(("run_uuid",),), references={("experiment_id",): "experiments"}),
        TableShape(
            "tags",
            {"key": text(250), "value": text(250), "run_uuid": text(32)},
            keys=(("key", "run_uuid"),),
            references=_TO_RUNS,
        ),
        TableShape("experiments", read_only(experiment_id=INTEGER, workspace=TEXT, artifact_location=TEXT), inserts=False),
    ),
)


def misfit(database: Database) -> str:
    """What is in the way of writing metrics, in a sentence. Empty: nothing.

    Raises:
        DatabaseUnavailable: Postgres does not answer now.
    """
    with database.begin() as connection:
        found = read_tables(connection, {table.name for table in _METRICS.tables})
    return next(iter(differences(_METRICS, found, os.environ)), "")
