"""What is expected of every `Resolver` that knows the experiments `shop` and `stock`, creates none, and lets a request name
two.

Held to it: the stand-in of the unit tests, and MLflow's on a real Postgres.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import otlp
from headrace.envelope import envelope_pb2 as pb
from headrace.envelope.incoming import Sender
from headrace.envelope.limit import Limit
from headrace.errors import PermissionDenied, TooManyExperiments, Unroutable
from headrace.processor.authorize import Fate, Resolver
from headrace.processor.route import ID_HEADER, NAME_HEADER


def fates(
    resolver: Resolver, *names: str | None, headers: Mapping[str, str] | None = None, limit: Limit | None = None
) -> Sequence[Fate]:
    """What becomes of resources that name these experiments, or none."""
    named = [{"mlflow.experiment.name": name} if name is not None else {} for name in names]
    resources = [otlp.resource_spans(otlp.span(), service=None, **attributes) for attributes in named]
    message = ExportTraceServiceRequest(resource_spans=resources)
    return asyncio.run(resolver.resolve(message.resource_spans, Sender(headers or {}, limit=limit)))


def _each_resource_has_its_own_fate_in_order(resolver: Resolver) -> None:
    found = fates(resolver, "stock", None, "shop", "stock")
    assert [type(fate) for fate in found] == [pb.Destination, Unroutable, pb.Destination, pb.Destination]
    assert [fate.experiment_name for fate in found if isinstance(fate, pb.Destination)] == ["stock", "shop", "stock"]
    assert found[0] == found[3] != found[2]


def _no_resource_has_no_fate(resolver: Resolver) -> None:
    assert list(fates(resolver)) == []


def _a_destination_says_who_chose_it(resolver: Resolver) -> None:
    (by_resource,) = fates(resolver, "shop")
    (by_header,) = fates(resolver, "stock", headers={NAME_HEADER: "shop"})
    assert isinstance(by_resource, pb.Destination)
    assert isinstance(by_header, pb.Destination)
    assert (by_resource.routed_by, by_header.routed_by) == (pb.ROUTED_BY_RESOURCE, pb.ROUTED_BY_HEADER)
    assert by_resource.experiment_id == by_header.experiment_id


def _a_header_that_names_nothing_possible_is_an_error(resolver: Resolver) -> None:
    with pytest.raises(Unroutable, match="no experiment id"):
        fates(resolver, "shop", headers={ID_HEADER: "shop"})


def _what_does_not_exist_costs_its_resource_alone(resolver: Resolver) -> None:
    assert [type(fate) for fate in fates(resolver, "nowhere", "shop")] == [Unroutable, pb.Destination]


def _a_key_is_for_its_own_experiments(resolver: Resolver) -> None:
    assert [type(fate) for fate in fates(resolver, "shop", "stock", limit=Limit.of(["shop"]))] == [
        pb.Destination,
        PermissionDenied,
    ]


def _what_a_key_may_not_do_is_not_told_apart_from_what_does_not_exist(resolver: Resolver) -> None:
    assert [type(fate) for fate in fates(resolver, "nowhere", limit=Limit.of(["shop"]))] == [PermissionDenied]


def _a_request_names_so_many_experiments_and_no_more(resolver: Resolver) -> None:
    found = fates(resolver, "shop", "nowhere", "stock", "shop")
    assert [type(fate) for fate in found] == [pb.Destination, Unroutable, TooManyExperiments, pb.Destination]


EXPECTATIONS: tuple[Callable[[Resolver], None], ...] = (
    _each_resource_has_its_own_fate_in_order,
    _no_resource_has_no_fate,
    _a_destination_says_who_chose_it,
    _a_header_that_names_nothing_possible_is_an_error,
    _what_does_not_exist_costs_its_resource_alone,
    _a_key_is_for_its_own_experiments,
    _what_a_key_may_not_do_is_not_told_apart_from_what_does_not_exist,
    _a_request_names_so_many_experiments_and_no_more,
)
each_expectation = pytest.mark.parametrize("keeps", EXPECTATIONS, ids=lambda expectation: expectation.__name__.strip("_"))
