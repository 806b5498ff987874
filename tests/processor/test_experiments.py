"""Routes → ids, on a real Postgres."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import rows

from app.database import Database
from app.errors import DatabaseUnavailable, Unroutable
from app.processor.experiments import Experiments
from app.processor.route import Route
from app.queue import envelope_pb2 as pb


def by_name(name: str) -> Route:
    return Route(None, name, pb.ROUTED_BY_HEADER)


def by_id(id_: int) -> Route:
    return Route(id_, "", pb.ROUTED_BY_HEADER)


@pytest.fixture
def experiments(database: Database) -> Experiments:
    return Experiments(database, create=True, cache_seconds=60)


def test_a_known_id_is_found_and_cached(experiments: Experiments) -> None:
    assert experiments.cached(by_id(0)) is None
    assert experiments.look_up(by_id(0)) == 0
    assert experiments.cached(by_id(0)) == 0


def test_an_unknown_id_is_never_created(experiments: Experiments) -> None:
    with pytest.raises(Unroutable, match="4711"):
        experiments.look_up(by_id(4711))


def test_a_missing_name_is_created_as_mlflow_would(experiments: Experiments, database_url: str) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    from app.config import sqlalchemy_url

    ours = experiments.look_up(by_name("shop"))
    assert experiments.look_up(by_name("shop")) == ours
    store = SqlAlchemyStore(sqlalchemy_url(database_url), "mlflow-artifacts:/")  # type: ignore[no-untyped-call]
    theirs = store.create_experiment("theirs")  # type: ignore[no-untyped-call]
    store._dispose_engine()  # type: ignore[no-untyped-call]
    mine, other = rows(database_url, "SELECT * FROM experiments WHERE experiment_id IN (%s, %s) ORDER BY 1", ours, int(theirs))
    assert mine["artifact_location"] == f"mlflow-artifacts:/{ours}"
    for column in ("lifecycle_stage", "workspace"):
        assert mine[column] == other[column]
    assert abs(mine["creation_time"] - other["creation_time"]) < 60_000


def test_creation_follows_the_server_s_artifact_root(experiments: Experiments, database_url: str, database: Database) -> None:
    import psycopg

    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE experiments SET artifact_location = 's3://bucket/root/0?region=eu' WHERE experiment_id = 0")
    id_ = experiments.look_up(by_name("shop"))
    (row,) = rows(database_url, "SELECT artifact_location FROM experiments WHERE experiment_id = %s", id_)
    assert row["artifact_location"] == f"s3://bucket/root/{id_}?region=eu"


def test_a_deleted_name_is_refused(experiments: Experiments, database_url: str) -> None:
    import psycopg

    id_ = experiments.look_up(by_name("old"))
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE experiments SET lifecycle_stage = 'deleted' WHERE experiment_id = %s", (id_,))
    with pytest.raises(Unroutable, match="restore"):
        experiments.look_up(by_name("old"))


def test_creation_can_be_forbidden(database: Database) -> None:
    with pytest.raises(Unroutable, match="HEADRACE_CREATE_EXPERIMENTS"):
        Experiments(database, create=False, cache_seconds=60).look_up(by_name("shop"))


def test_many_at_once_create_one(experiments: Experiments, database_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        ids = set(pool.map(lambda _: experiments.look_up(by_name("hot")), range(16)))
    assert len(ids) == 1
    assert len(rows(database_url, "SELECT 1 FROM experiments WHERE name = 'hot'")) == 1


def test_while_postgres_is_away_the_cache_stays_valid(new_database: Callable[[], str]) -> None:
    database = Database(new_database())
    experiments = Experiments(database, create=True, cache_seconds=1e-9)
    experiments.look_up(by_id(0))
    assert experiments.cached(by_id(0)) is None  # too old, and Postgres is there to be asked
    database.note("gone")
    assert experiments.cached(by_id(0)) == 0
    database.close()


def test_a_dead_postgres_is_told_as_such() -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(DatabaseUnavailable):
        Experiments(database, create=True, cache_seconds=60).look_up(by_id(0))
    assert database.state.away
