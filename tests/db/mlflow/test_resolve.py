"""Resources → destinations, on a real Postgres."""

import asyncio
from collections.abc import Callable

import psycopg
import pytest
from sqlalchemy import text
from unit.processor.resolver_contract import each_expectation

import otlp
from headrace.config import load
from headrace.envelope import envelope_pb2 as pb
from headrace.envelope.incoming import Sender
from headrace.envelope.limit import Limit
from headrace.errors import PermissionDenied, TooManyExperiments, Unroutable
from headrace.mlflow.experiments import Experiments
from headrace.mlflow.experiments.resolve import ExperimentResolver
from headrace.processor.authorize import Resolver
from headrace.processor.route import Route, route_headers
from headrace.store.database import Database


def fates(database: Database, limit: Limit | None, *names: str) -> list[type]:
    """What becomes of resources that name these experiments."""
    experiments = Experiments(database, create=True, cache_seconds=60)
    resolver = ExperimentResolver(load(max_experiments_per_request=3), experiments, database)
    request = otlp.request()
    del request.resource_spans[:]
    request.resource_spans.extend(otlp.resource_spans(otlp.span(), mlflow_experiment_name=name) for name in names)
    return [type(fate) for fate in asyncio.run(resolver.resolve(request.resource_spans, Sender({}, limit=limit)))]


def test_a_key_is_for_its_own_experiments(database: Database) -> None:
    """By id or name; an experiment that does not exist is nobody's, whatever the key's is called."""
    assert fates(database, Limit.of(["None"]), "None", "other", "Default") == [pb.Destination, *[PermissionDenied] * 2]
    assert fates(database, Limit.of(["0"]), "Default", "None") == [pb.Destination, PermissionDenied]


def test_an_id_is_no_name_and_a_name_is_no_id(database: Database) -> None:
    """A key for the experiment with id 2 neither makes nor finds one that is called "2"."""
    assert fates(database, Limit.of(["2"]), "2") == [PermissionDenied]
    assert fates(database, None, "2") == [pb.Destination]
    assert fates(database, Limit.of(["2"]), "2") == [PermissionDenied]
    with database.begin() as connection:
        found = connection.execute(text("SELECT experiment_id FROM experiments WHERE name = '2'")).scalar_one()
    assert found != 2
    assert fates(database, Limit.of([str(found)]), "2") == [pb.Destination]


def test_experiments_of_other_workspaces_are_not_found(database: Database) -> None:
    with database.begin() as connection:
        created = "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage, workspace) VALUES "
        connection.execute(text(f"{created} (77, 'theirs', 'x', 'active', 'w')"))
    experiments = Experiments(database, create=False, cache_seconds=60)
    by_id, by_name = Route(77, "", pb.ROUTED_BY_HEADER), named("theirs")
    answers = experiments.look_up_all([by_id, by_name])
    assert isinstance(answers[by_id], Unroutable)
    assert isinstance(answers[by_name], Unroutable)
    assert experiments.find(["theirs"]) == {}


@pytest.mark.parametrize("workspace", ["w", "Default", "default, w", "*"])
def test_another_workspace_is_refused_in_words(workspace: str) -> None:
    headers = {"x-mlflow-experiment-id": "0", "x-mlflow-workspace": workspace}
    with pytest.raises(Unroutable, match="workspace 'default' only"):
        route_headers(headers)
    assert route_headers(headers | {"x-mlflow-workspace": " default "}) == Route(0, "", pb.ROUTED_BY_HEADER)


def test_a_request_names_so_many_experiments_and_no_more(database: Database) -> None:
    assert fates(database, None, "a", "b", "a", "c", "d", "a") == [*[pb.Destination] * 4, TooManyExperiments, pb.Destination]


@pytest.mark.parametrize("header", ["x-mlflow-experiment-id", "x-mlflow-experiment-name"])
def test_what_is_deleted_or_restored_while_the_cache_knows_it_is_noticed(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch, header: str
) -> None:
    for module in ("headrace.mlflow.experiments", "headrace.mlflow.experiments.resolve"):
        monkeypatch.setattr(f"{module}.AGING_SECONDS", 0.0)
    experiments = Experiments(database, create=True, cache_seconds=3600)
    id_ = experiments.look_up(named("shop"))
    resolver = ExperimentResolver(load(), experiments, database)
    sender = Sender({header: str(id_) if header.endswith("id") else "shop"})

    async def is_deleted() -> bool:
        """What the second of two requests is told."""
        for _ in range(2):
            (fate,) = await resolver.resolve(otlp.request(otlp.span()).resource_spans, sender)
            assert resolver._refreshing is not None or header.endswith("id")
            if resolver._refreshing is not None:
                await resolver._refreshing
        assert isinstance(fate, pb.Destination)
        assert fate.experiment_id == str(id_)
        return resolver.is_deleted(fate)

    async def all_stages() -> list[bool]:
        found = []
        for stage in ("active", "deleted", "active"):
            with psycopg.connect(database_url) as connection:
                connection.execute("UPDATE experiments SET lifecycle_stage = %s WHERE experiment_id = %s", (stage, id_))
            found.append(await is_deleted())
        return found

    assert asyncio.run(all_stages()) == [False, True, False]


@each_expectation
def test_it_is_what_is_expected_of_a_resolver(database: Database, keeps: Callable[[Resolver], None]) -> None:
    assert len(Experiments(database, create=True, cache_seconds=0).look_up_all([named("shop"), named("stock")])) == 2
    experiments = Experiments(database, create=False, cache_seconds=60)
    keeps(ExperimentResolver(load(max_experiments_per_request=2), experiments, database))


def named(experiment: str) -> Route:
    return Route(None, experiment, pb.ROUTED_BY_HEADER)
