"""Resources → destinations, on a real Postgres."""

import asyncio

import otlp
from headrace.config import load
from headrace.envelope import envelope_pb2 as pb
from headrace.errors import PermissionDenied, TooManyExperiments
from headrace.mlflow.experiments import Experiments
from headrace.mlflow.experiments.resolve import Resolver
from headrace.store.database import Database


def fates(database: Database, allowed: frozenset[str] | None, *names: str) -> list[type]:
    """What becomes of resources that name these experiments."""
    resolver = Resolver(load(max_experiments_per_request=3), Experiments(database, create=True, cache_seconds=60), database)
    request = otlp.request()
    del request.resource_spans[:]
    request.resource_spans.extend(otlp.resource_spans(otlp.span(), mlflow_experiment_name=name) for name in names)
    return [type(fate) for fate in asyncio.run(resolver.destinations(request, {}, allowed))]


def test_a_key_is_for_its_own_experiments(database: Database) -> None:
    """By id or name; an experiment that does not exist is nobody's, whatever the key's is called."""
    assert fates(database, frozenset({"None"}), "None", "other", "Default") == [pb.Destination, *[PermissionDenied] * 2]
    assert fates(database, frozenset({"0"}), "Default", "None") == [pb.Destination, PermissionDenied]


def test_a_request_names_so_many_experiments_and_no_more(database: Database) -> None:
    assert fates(database, None, "a", "b", "a", "c", "d", "a") == [*[pb.Destination] * 4, TooManyExperiments, pb.Destination]
