"""Resources without a destination are taken out, counted by reason; a request without any is refused as a whole."""

import asyncio
from collections.abc import Callable

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import otlp
from headrace.envelope.incoming import Request
from headrace.errors import HeadraceError, PermissionDenied, Unroutable
from headrace.otlp.spans import count_spans
from headrace.processor.authorize import Authorizer, Resolver
from headrace.processor.verdict import Verdict
from unit.processor.resolver_contract import each_expectation
from unit.processor.stand_in import KnownExperiments


@each_expectation
def test_the_stand_in_is_what_is_expected_of_a_resolver(keeps: Callable[[Resolver], None]) -> None:
    keeps(KnownExperiments(forbidden=frozenset()))


def request_to(*names: str) -> Request:
    """A request with a resource of two spans for each of these experiments."""
    resources = [otlp.resource_spans(otlp.span(), otlp.span(), **{"mlflow.experiment.name": name}) for name in names]
    return otlp.sent(ExportTraceServiceRequest(resource_spans=resources))


def authorized(request: Request) -> tuple[Request, Verdict]:
    verdict = Verdict.of(request)
    return asyncio.run(Authorizer(KnownExperiments(most=4)).authorize(request, verdict)), verdict


def test_what_may_be_stored_keeps_its_bytes() -> None:
    request, verdict = authorized(request_to("shop", "stock"))
    assert [destination.experiment_id for destination in request.destinations] == ["7", "8"]
    assert request.original is not None
    assert verdict.accepted == 4


def test_spans_of_a_deleted_experiment_are_stored_and_told_of() -> None:
    request = request_to("shop", "forbidden", "stock", "shop")
    verdict = Verdict.of(request)
    authorizer = Authorizer(KnownExperiments(most=4, deleted=frozenset({"shop"})))
    request = asyncio.run(authorizer.authorize(request, verdict))
    assert [destination.experiment_name for destination in request.destinations] == ["shop", "stock", "shop"]
    assert (verdict.accepted, verdict.warned) == (6, {"deleted_experiment": 4})
    assert "4 spans accepted, but their experiment is deleted in MLflow" in verdict.explain()


def test_resources_without_a_destination_are_taken_out() -> None:
    request, verdict = authorized(request_to("forbidden", "shop", "unknown", "stock", "too many"))
    assert [destination.experiment_name for destination in request.destinations] == ["shop", "stock"]
    assert len(request.message.resource_spans) == 2
    assert count_spans(request.message) == verdict.accepted == 4
    assert verdict.rejected == {"forbidden_experiment": 2, "no_experiment": 2, "too_many_experiments": 2}
    assert request.original is None


@pytest.mark.parametrize(
    ("names", "error", "reason"),
    [
        (("unknown", "forbidden"), Unroutable, "no_experiment"),
        (("forbidden", "unknown"), PermissionDenied, "forbidden_experiment"),
    ],
)
def test_the_first_reason_is_told_where_nothing_is_left(names: list[str], error: type[HeadraceError], reason: str) -> None:
    request = request_to(*names)
    verdict = Verdict.of(request)
    with pytest.raises(error):
        asyncio.run(Authorizer(KnownExperiments()).authorize(request, verdict))
    assert verdict.rejected == {reason: 4}
    assert verdict.accepted == 0
