"""Metrics from the resolver to MLflow's tables and to dead letters, on a real Postgres."""

import asyncio
from collections.abc import Iterator, Sequence

import metrics as build
import psycopg
import pytest
from conftest import rows
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from opentelemetry.proto.metrics.v1.metrics_pb2 import ResourceMetrics

import otlp
from headrace.config import load, sqlalchemy_url
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.envelope.incoming import Sender
from headrace.envelope.limit import Limit
from headrace.errors import DatabaseUnavailable, PermissionDenied, TooManyExperiments, UnknownRun, Unroutable
from headrace.export.bisect import Export
from headrace.export.exporter import Exporter
from headrace.export.replay import redirect, replay
from headrace.mlflow.experiments import Experiments
from headrace.mlflow.experiments.resolve import ExperimentResolver
from headrace.mlflow.metrics.shape import misfit
from headrace.mlflow.metrics.writer import open_metrics_writer
from headrace.mlflow.runs import RunResolver
from headrace.mlflow.schema import check
from headrace.otlp.signals import METRICS
from headrace.processor.authorize import Fate
from headrace.store.database import Database
from headrace.store.dead_letters import newest
from headrace.store.dead_letters import store as bury
from headrace.store.letter_selection import Selection


@pytest.fixture(scope="module")
def mlflow(shared_url: str) -> Iterator[SqlAlchemyStore]:
    made = SqlAlchemyStore(sqlalchemy_url(shared_url), "mlflow-artifacts:/")  # type: ignore[no-untyped-call]
    yield made
    made._dispose_engine()  # type: ignore[no-untyped-call]


@pytest.fixture
def opened(shared_url: str) -> Iterator[Database]:
    database = Database(shared_url)
    check(database)
    yield database
    database.close()


def run_in(mlflow: SqlAlchemyStore, experiment: str = "0") -> str:
    run = mlflow.create_run(experiment, "somebody", 1, [], "run")  # type: ignore[no-untyped-call]
    return str(run.info.run_id)


def resolver(database: Database) -> RunResolver:
    config = load(max_experiments_per_request=3)
    experiments = ExperimentResolver(config, Experiments.of(config, database), database)
    return RunResolver(config, experiments, database)


def fates(
    database: Database, *resources: ResourceMetrics, headers: dict[str, str] | None = None, limit: Limit | None = None
) -> Sequence[Fate]:
    return asyncio.run(resolver(database).resolve(resources, Sender(headers or {}, limit=limit)))


def of(**attributes: str) -> ResourceMetrics:
    return build.resource(build.gauge("a", 1.0), **attributes)


def test_each_resource_goes_to_its_run(opened: Database, mlflow: SqlAlchemyStore) -> None:
    experiment = mlflow.create_experiment("resolved")  # type: ignore[no-untyped-call]
    mine, gone = run_in(mlflow, experiment), run_in(mlflow)
    mlflow.delete_run(gone)  # type: ignore[no-untyped-call]
    named = of(mlflow_run_name="nightly", **{"mlflow.experiment.name": "resolved"})
    found = fates(opened, of(mlflow_run_id=mine), named, of(mlflow_run_id=gone))
    place = pb.Destination(run_id=mine, experiment_id=experiment, experiment_name="resolved")
    assert found[0] == place
    assert isinstance(found[1], pb.Destination)
    assert (found[1].run_name, found[1].experiment_id, found[1].run_id) == ("nightly", experiment, "")
    assert isinstance(found[2], UnknownRun)
    assert fates(opened, of(mlflow_run_id=gone), of(), headers={"x-mlflow-run-id": mine}) == [place, place]


@pytest.mark.parametrize("run", ["f" * 32, "x" * 300, "nul\0", "é"])
def test_an_unknown_run_is_told(opened: Database, run: str) -> None:
    (found,) = fates(opened, of(mlflow_run_id=run))
    assert isinstance(found, UnknownRun)
    assert "x-mlflow-run-id" in str(found)


def test_a_name_without_an_experiment_leads_nowhere(opened: Database) -> None:
    (found,) = fates(opened, of(mlflow_run_name="nightly"))
    assert type(found) is Unroutable


def test_a_limited_key_names_its_own_runs_only(opened: Database, mlflow: SqlAlchemyStore) -> None:
    experiment = mlflow.create_experiment("of a key")  # type: ignore[no-untyped-call]
    mine, foreign = run_in(mlflow, experiment), run_in(mlflow)
    for limit in (Limit.of([experiment]), Limit.of(["of a key"])):
        found = fates(opened, of(mlflow_run_id=mine), of(mlflow_run_id=foreign), limit=limit)
        assert [type(fate) for fate in found] == [pb.Destination, PermissionDenied]
        (by_name,) = fates(opened, of(mlflow_run_name="x"), headers={"x-mlflow-experiment-id": "0"}, limit=limit)
        assert isinstance(by_name, PermissionDenied)


def test_one_request_names_only_so_many_runs(opened: Database, mlflow: SqlAlchemyStore) -> None:
    found = fates(opened, *(of(mlflow_run_id=run_in(mlflow)) for _ in range(4)))
    assert [type(fate) for fate in found] == [pb.Destination] * 3 + [TooManyExperiments]


def test_while_postgres_is_away_a_run_is_taken_as_it_is_named() -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/none")
    assert fates(database, of(mlflow_run_id="r" * 32)) == [pb.Destination(run_id="r" * 32)]
    with pytest.raises(DatabaseUnavailable):
        fates(database, of(mlflow_run_id="r" * 32), limit=Limit.of(["1"]))


def test_another_workspace_is_refused(opened: Database) -> None:
    with pytest.raises(Unroutable):
        fates(opened, of(mlflow_run_id="r" * 32), headers={"x-mlflow-workspace": "other"})


def test_what_names_no_run_is_passed_on_whoever_sends_it(opened: Database) -> None:
    """Without HEADRACE_METRICS_FORWARD it does not come so far."""
    place = pb.Destination(forward=True)
    assert fates(opened, of(), of(mlflow_run_id="")) == [place, place]
    assert fates(opened, of(), limit=Limit.of(["9999"])) == [place]
    assert fates(Database("postgresql://nobody@127.0.0.1:1/none"), of(), limit=Limit.of(["9999"])) == [place]


def exporter(database: Database, **settings: str) -> Exporter:
    config = load(**settings)
    made = Exporter.of(config, database, Experiments.of(config, database))
    made.open()
    return made


def test_a_batch_of_spans_and_metrics_is_written_and_what_cannot_be_is_buried(
    opened: Database, shared_url: str, mlflow: SqlAlchemyStore
) -> None:
    """And replayed, once the run is back."""
    good, gone = run_in(mlflow), run_in(mlflow)
    mlflow.delete_run(gone)  # type: ignore[no-untyped-call]
    mixed = build.request(build.gauge("kept", 1.0, 2.0), mlflow_run_id=good)
    mixed.resource_metrics.append(build.resource(build.gauge("lost", 1.0, 2.0, 3.0)))
    delivery = build.delivery(mixed, good)
    places = (pb.Destination(run_id=good), pb.Destination(run_id=gone))
    spans = Delivery(otlp.request(otlp.span("beside metrics")), (pb.Destination(experiment_id="0"),), "", otlp.START, "")
    envelopes = [_with(delivery, places).to_envelope(), spans.to_envelope(), b"\xff"]
    for ahead in (True, False):
        export = Export(exporter(opened), envelopes)
        if ahead:
            export.translate()
        letters = export.run()
        assert [(letter.index, letter.records) for letter in letters] == [(0, 3), (2, 1)]
        assert "is deleted in MLflow" in letters[0].reason
    bury(opened, letters[:1])
    (letter,) = newest(opened, Selection(reason=gone), 5)
    assert (letter.trace_id, letter.span_id) == (None, None)
    count = "SELECT count(*) FROM metrics WHERE run_uuid = %s"
    assert rows(shared_url, count, good) == [{"count": 2}]
    assert rows(shared_url, "SELECT count(*) FROM spans WHERE name = 'beside metrics'") == [{"count": 1}]
    mlflow.restore_run(gone)  # type: ignore[no-untyped-call]
    (progress,) = replay(opened, exporter(opened), Selection(reason=gone), None, 1 << 20)
    assert (progress.written, progress.failed) == (1, [])
    assert rows(shared_url, count, gone) == [{"count": 3}]


def test_what_is_passed_on_is_not_lost_by_what_stands_beside_it(
    opened: Database, shared_url: str, mlflow: SqlAlchemyStore
) -> None:
    """A run that is gone becomes a dead letter; the rest of its request waits to be sent. Replayed without the setting, it
    stays a dead letter, which says why."""
    gone = run_in(mlflow)
    mlflow.delete_run(gone)  # type: ignore[no-untyped-call]
    mixed = build.request(build.gauge("lost", 1.0), mlflow_run_id=gone)
    mixed.resource_metrics.append(build.resource(build.gauge("alone", 1.0, 2.0)))
    delivery = _with(build.delivery(mixed, gone), (pb.Destination(run_id=gone), pb.Destination(forward=True)))
    (letter,) = Export(exporter(opened, metrics_forward="http://somewhere"), [delivery.to_envelope()]).run()
    assert (letter.records, "is deleted in MLflow" in letter.reason) == (1, True)
    assert rows(shared_url, "SELECT points FROM headrace.waiting_metrics") == [{"points": 2}]
    letters = Export(exporter(opened), [delivery.to_envelope()]).run()
    assert sorted(letter.records for letter in letters) == [1, 2]
    (unset,) = [letter for letter in letters if letter.records == 2]
    assert "HEADRACE_METRICS_FORWARD" in unset.reason


def _with(delivery: Delivery, places: tuple[pb.Destination, ...]) -> Delivery:
    return Delivery(delivery.request, places, "", otlp.START, "", signal=delivery.signal)


def test_a_replay_into_another_experiment_leaves_metrics_to_their_run() -> None:
    envelope = build.delivery(build.request(build.gauge("a", 1.0)), "r" * 32).to_envelope()
    assert redirect(envelope, pb.Destination(experiment_id="7")) == envelope


def test_mlflow_s_tables_fit(opened: Database) -> None:
    assert misfit(opened) == ""


def test_tables_that_do_not_fit_cost_no_span(new_database: object, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("ALTER TABLE latest_metrics ADD must integer NOT NULL")
    database = Database(database_url)
    check(database)
    writer = open_metrics_writer(database, load())
    export = Export(exporter(database), [build.delivery(build.request(build.gauge("a", 1.0)), "r" * 32).to_envelope()])
    (letter,) = export.run()
    assert "latest_metrics" in letter.reason
    assert writer is not None
    alone = Delivery(build.request(build.gauge("a", 1.0)), (pb.Destination(forward=True),), "", 0, "", signal=METRICS)
    assert Export(exporter(database, metrics_forward="http://somewhere"), [alone.to_envelope()]).run() == []
    assert rows(database_url, "SELECT points FROM headrace.waiting_metrics") == [{"points": 1}]
    database.close()
