"""Routes → ids, on a real Postgres."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from conftest import rows
from sqlalchemy.event import listen

from headrace.config import sqlalchemy_url
from headrace.envelope import envelope_pb2 as pb
from headrace.errors import DatabaseUnavailable, ExperimentsNotReady, RateLimited, TooManyExperiments, Unroutable
from headrace.mlflow.experiments import Experiments
from headrace.mlflow.experiments.allowance import Allowance
from headrace.processor.route import Route
from headrace.store.database import Database


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
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE experiments SET artifact_location = 's3://bucket/root/0?region=eu' WHERE experiment_id = 0")
    id_ = experiments.look_up(by_name("shop"))
    (row,) = rows(database_url, "SELECT artifact_location FROM experiments WHERE experiment_id = %s", id_)
    assert row["artifact_location"] == f"s3://bucket/root/{id_}?region=eu"


def set_stage(url: str, stage: str, id_: int) -> None:
    """What MLflow does where an experiment is deleted, or restored."""
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE experiments SET lifecycle_stage = %s WHERE experiment_id = %s", (stage, id_))


def test_a_deleted_experiment_is_the_same_by_id_and_by_name(experiments: Experiments, database_url: str) -> None:
    id_ = experiments.look_up(by_name("old"))
    assert not experiments.deleted
    set_stage(database_url, "deleted", id_)
    for route in (by_name("old"), by_id(id_)):
        experiments.deleted.clear()
        assert experiments.look_up(route) == id_
        assert experiments.deleted == {id_}
        assert experiments.look_up_all([route, by_id(0)]) == {route: id_, by_id(0): 0}
        assert experiments.cached(route) == id_
    assert experiments.find(["old"]) == {"old": id_}
    assert len(rows(database_url, "SELECT 1 FROM experiments")) == 2  # no other is created in its place


def test_a_cached_experiment_is_looked_at_again(experiments: Experiments, database_url: str) -> None:
    id_ = experiments.look_up(by_name("old"))
    experiments.look_up(by_id(id_))
    for stage, deleted in (("deleted", {id_}), ("active", set())):
        set_stage(database_url, stage, id_)
        experiments.refresh([by_name("old"), by_id(id_)])
        assert experiments.deleted == deleted
        assert experiments.cached(by_name("old")) == id_
    with psycopg.connect(database_url) as connection:
        connection.execute("DELETE FROM experiments WHERE experiment_id = %s", (id_,))
    experiments.refresh([by_name("old"), by_id(id_), by_name("never there")])
    assert experiments.cached(by_name("old")) is experiments.cached(by_id(id_)) is None


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


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def statements(database: Database) -> list[str]:
    """What is asked of Postgres from now on."""
    asked: list[str] = []
    listen(database.engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    return asked


def test_a_request_is_looked_up_with_one_query_for_ids_and_one_for_names(experiments: Experiments, database: Database) -> None:
    experiments.look_up_all([by_name("a"), by_name("b")])
    asked = statements(database)
    routes = [by_id(n) for n in range(500, 900)] + [by_name("a"), by_name("b"), by_id(0)]
    answers = experiments.look_up_all(routes)
    assert answers[by_id(0)] == 0
    assert isinstance(answers[by_name("a")], int)
    assert isinstance(answers[by_id(899)], Unroutable)
    assert len(asked) == 2


def test_a_request_creates_so_many_and_no_more(database: Database, database_url: str) -> None:
    experiments = Experiments(database, create=True, cache_seconds=60, allowance=Allowance(3, 100))
    experiments.look_up_all([by_name("there")])
    routes = [by_name(f"n{n}") for n in range(5)]
    answers = experiments.look_up_all([by_name("there"), *routes, by_id(0)])
    assert [isinstance(answers[route], int) for route in routes] == [True] * 3 + [False] * 2
    assert all(isinstance(answers[route], TooManyExperiments) for route in routes[3:])
    assert len(rows(database_url, "SELECT 1 FROM experiments")) == 5
    assert all(isinstance(answer, int) for answer in experiments.look_up_all(routes).values())  # the next one goes on


def test_over_the_limit_a_minute_nothing_of_a_request_is_created(database: Database, database_url: str) -> None:
    clock = Clock()
    experiments = Experiments(database, create=True, cache_seconds=60, allowance=Allowance(20, 6, clock))
    experiments.look_up_all([by_name(f"n{n}") for n in range(4)])
    with pytest.raises(RateLimited, match="HEADRACE_MAX_NEW_EXPERIMENTS_PER_MINUTE") as refused:
        experiments.look_up_all([by_name(f"m{n}") for n in range(3)])
    assert refused.value.retry_after == 5
    assert len(rows(database_url, "SELECT 1 FROM experiments")) == 5
    clock.now = 10.0  # one more
    experiments.look_up_all([by_name(f"m{n}") for n in range(3)])
    assert len(rows(database_url, "SELECT 1 FROM experiments")) == 8


def test_a_name_that_cannot_be_looked_up_is_charged_once(database: Database) -> None:
    clock = Clock()
    experiments = Experiments(database, create=True, cache_seconds=60, allowance=Allowance(2, 4, clock))
    five = [by_name(f"n{n}") for n in range(5)]
    for _ in range(2):
        with pytest.raises(RateLimited):
            experiments.accept(five)
    experiments.accept(five[:4])  # charged by now, two at a time
    experiments.accept([by_name("Default"), by_id(4711)])
    with pytest.raises(RateLimited):
        experiments.accept(five)
    clock.now = 15.0
    experiments.accept(five)


def test_the_worker_waits_for_the_limit_on_an_account_of_its_own(database: Database, database_url: str) -> None:
    clock = Clock()
    experiments = Experiments(database, create=True, cache_seconds=60, allowance=Allowance(2, 2, clock))
    experiments.look_up_all([by_name("x"), by_name("y")])  # the requests' is spent
    experiments.look_up(by_name("a"))
    experiments.look_up(by_name("b"))
    with pytest.raises(ExperimentsNotReady, match="30 s"):
        experiments.look_up(by_name("c"))
    assert experiments.look_up(by_name("b"))
    clock.now = 30.0
    experiments.look_up(by_name("c"))
    assert len(rows(database_url, "SELECT 1 FROM experiments")) == 6


def test_the_cache_forgets_what_was_looked_up_longest_ago(experiments: Experiments, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.mlflow.experiments.MAX_CACHED", 3)
    for name in ("a", "b", "c", "a", "d"):
        experiments.look_up(by_name(name))
    assert [experiments.cached(by_name(name)) is None for name in "abcd"] == [False, True, False, False]


@pytest.fixture
def fresh(experiments: Experiments, database_url: str) -> Experiments:
    """On a database on which MLflow's server has never started."""
    with psycopg.connect(database_url) as connection:
        connection.execute("DELETE FROM experiments")
    return experiments


def start_mlflow_s_store(url: str, root: str = "s3://bucket/root") -> None:
    """What MLflow's server does with the database at its start."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    SqlAlchemyStore(sqlalchemy_url(url), root)._dispose_engine()  # type: ignore[no-untyped-call]


def test_nothing_is_created_before_mlflow_has_started(fresh: Experiments, database_url: str) -> None:
    routes = [by_name("Default"), by_name("shop"), by_id(0), by_id(3)]
    answers = fresh.look_up_all(routes)
    assert [answers[route] for route in routes[:3]] == [None] * 3
    assert isinstance(answers[by_id(3)], Unroutable)
    assert fresh.find(["Default", "shop"]) == {"Default": 0}
    for ask in (fresh.wait_for_mlflow, lambda: fresh.look_up(by_name("Default")), lambda: fresh.look_up(by_name("shop"))):
        with pytest.raises(ExperimentsNotReady, match="start it once"):
            ask()
    assert fresh.waits_for
    assert not rows(database_url, "SELECT 1 FROM experiments")
    start_mlflow_s_store(database_url)
    fresh.wait_for_mlflow()
    assert not fresh.waits_for
    assert fresh.look_up(by_name("Default")) == 0
    id_ = fresh.look_up(by_name("shop"))
    (row,) = rows(database_url, "SELECT artifact_location FROM experiments WHERE name = 'shop'")
    assert row["artifact_location"] == f"s3://bucket/root/{id_}"


@pytest.mark.parametrize("queued", [False, True])
def test_mlflow_starts_between_the_two_questions(
    fresh: Experiments, database: Database, database_url: str, queued: bool
) -> None:
    """Whether there is `Default`, and whether MLflow has started: the first answer may be out of date when the second comes."""

    def start(*asked: Any) -> None:
        if "EXISTS" in asked[2] and not rows(database_url, "SELECT 1 FROM experiments"):
            start_mlflow_s_store(database_url)

    listen(database.engine, "before_cursor_execute", start)
    route = by_name("Default")
    assert (fresh.look_up(route) if queued else fresh.look_up_all([route])[route]) == 0


def test_default_is_never_created(experiments: Experiments, database_url: str) -> None:
    """Where experiment 0 is gone, MLflow makes it anew at its next start, and others are served meanwhile."""
    shop = experiments.look_up(by_name("shop"))
    with psycopg.connect(database_url) as connection:
        connection.execute("DELETE FROM experiments WHERE experiment_id = 0")
    assert isinstance(experiments.look_up_all([by_name("Default")])[by_name("Default")], Unroutable)
    with pytest.raises(Unroutable, match="experiment 0"):
        experiments.look_up(by_name("Default"))
    id_ = experiments.look_up(by_name("other"))
    (row,) = rows(database_url, "SELECT artifact_location FROM experiments WHERE experiment_id = %s", id_)
    assert row["artifact_location"] == f"mlflow-artifacts:/{id_}"
    start_mlflow_s_store(database_url)
    assert experiments.look_up(by_name("Default")) == 0
    assert experiments.look_up(by_name("shop")) == shop


def test_default_is_experiment_0_whatever_it_is_called(experiments: Experiments, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE experiments SET name = 'Main' WHERE experiment_id = 0")
    assert experiments.look_up(by_name("Default")) == 0
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE experiments SET lifecycle_stage = 'deleted'")
    assert experiments.look_up(by_name("Default")) == 0
    assert experiments.deleted == {0}


def test_a_name_of_another_workspace_is_another_experiment(experiments: Experiments, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO experiments (name, lifecycle_stage, workspace) VALUES ('shop', 'active', 'team')")
    (theirs,) = rows(database_url, "SELECT experiment_id FROM experiments WHERE workspace = 'team'")
    assert experiments.look_up(by_name("shop")) != theirs["experiment_id"]
