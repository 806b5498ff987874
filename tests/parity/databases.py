"""The database that both roads begin with: MLflow's schema, experiments, runs, and traces that MLflow's client has begun."""

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from headrace.config import sqlalchemy_url
from parity.scenario import DELETED_EXPERIMENT, DELETED_RUN, EPOCH, MS, RUN, SECOND_EXPERIMENT

MLFLOW_SETTINGS = {
    # MLflow would ask the network for the newest prices: they change, and a test that needs them is no test.
    "MLFLOW_MODEL_CATALOG_URI": "",
    # Off by default; on, one more table has to be right: the queue of daily sums to be made anew.
    "MLFLOW_SQL_TRACE_ROLLUPS_ENABLED": "true",
}
"""The environment that both roads need to be comparable."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A trace as MLflow's client has begun it: `mlflow.entities.TraceInfo`'s arguments, and what is changed afterwards."""

    name: str
    state: str = "IN_PROGRESS"
    duration: int | None = None
    previews: tuple[str | None, str | None] = (None, None)
    metadata: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    assessed: bool = False
    finalized: bool = True
    """False: as an MLflow before 3.12 left it, without the mark that its values are final."""

    @property
    def trace_id(self) -> bytes:
        return sha256(self.name.encode()).digest()[:16]


SEEDED = {
    begun.name: begun
    for begun in (
        Begun("begun: in progress", tags={"team": "client's", "mlflow.traceName": "client's"}),
        Begun("begun: state unspecified", "STATE_UNSPECIFIED"),
        Begun("begun: finished", "OK", 150, ("client's request", "client's response")),
        Begun(
            "begun: finished with usage, cost and session",
            "ERROR",
            150,
            metadata={
                "mlflow.trace.tokenUsage": '{"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}',
                "mlflow.trace.cost": '{"input_cost": 0.5, "output_cost": 0.25, "total_cost": 0.75}',
                "mlflow.trace.session": "client's",
                "mlflow.trace.user": "client's",
                "mlflow.source.name": "app.py",
            },
        ),
        Begun("begun: assessed", "OK", 1, assessed=True),
        Begun("begun: assessed, not final", assessed=True, finalized=False),
        Begun("begun: not final", "OK", 10, metadata={"mlflow.trace.session": "client's"}, finalized=False),
    )
}
ARCHIVED = Begun("begun: archived", "OK", 10, tags={"mlflow.trace.spansLocation": "ARCHIVE_REPO"})
"""MLflow takes no more spans of it."""


def seed(url: str) -> None:
    """Fills a database that has MLflow's schema and the Default experiment, through MLflow's own store."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore(sqlalchemy_url(url), "mlflow-artifacts:/")  # type: ignore[no-untyped-call]
    try:
        assert store.create_experiment("parity") == SECOND_EXPERIMENT  # type: ignore[no-untyped-call]
        assert store.create_experiment("deleted") == DELETED_EXPERIMENT  # type: ignore[no-untyped-call]
        store.delete_experiment(DELETED_EXPERIMENT)  # type: ignore[no-untyped-call]
        _seed_runs(store)
        for begun in (*SEEDED.values(), ARCHIVED):
            _seed_trace(store, begun)
    finally:
        store._dispose_engine()  # type: ignore[no-untyped-call]


def _seed_runs(store: Any) -> None:
    from mlflow.store.tracking.dbmodels.models import SqlRun

    with store.ManagedSessionMaker(read_only=False) as session:
        for run, stage in ((RUN, "active"), (DELETED_RUN, "deleted")):
            session.add(SqlRun(run_uuid=run, name=stage, lifecycle_stage=stage, experiment_id=0, artifact_uri="nowhere"))


def _seed_trace(store: Any, begun: Begun) -> None:
    from mlflow.entities import AssessmentSource, Feedback, TraceInfo, TraceLocation, TraceState
    from mlflow.store.tracking.dbmodels.models import SqlTraceMetadata

    trace_id = f"tr-{begun.trace_id.hex()}"
    feedback = Feedback(name="good", value=True, source=AssessmentSource("HUMAN", "me"), trace_id=trace_id)
    store.start_trace(
        TraceInfo(
            trace_id=trace_id,
            trace_location=TraceLocation.from_experiment_id("0"),
            request_time=EPOCH // MS,
            state=TraceState(begun.state),
            execution_duration=begun.duration,
            request_preview=begun.previews[0],
            response_preview=begun.previews[1],
            trace_metadata=begun.metadata,
            tags=begun.tags,
            assessments=[feedback] if begun.assessed else [],
        )
    )
    if not begun.finalized:
        with store.ManagedSessionMaker(read_only=False) as session:
            mark = {"request_id": trace_id, "key": "mlflow.trace.infoFinalized"}
            session.query(SqlTraceMetadata).filter_by(**mark).delete()
