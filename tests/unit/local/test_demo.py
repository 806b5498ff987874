"""The demo's traces, before they are sent."""

from random import Random

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from headrace.local.demo import SCENARIOS, Checkout, Made, Pipeline, Turn, any_of, demo_requests

NOW = 1_800_000_000 * 10**9


def spans(made: Made) -> list[Span]:
    """In the order of sending."""
    return [
        span
        for request in demo_requests(NOW, made)[1]
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


@pytest.mark.parametrize(
    "made", [Checkout(), Checkout(fails=True), Turn(), Turn(fails=False), Pipeline(), Pipeline(accuracy=0.6)]
)
def test_each_trace_is_whole_and_ends_with_its_root(made: Made) -> None:
    found = spans(made)
    ids = {span.span_id for span in found}
    assert len(ids) == len(found)
    assert [span.name for span in found if not span.parent_span_id] == [found[-1].name]
    assert all(span.parent_span_id in ids for span in found[:-1])
    root = found[-1]
    for span in found:
        assert (
            root.start_time_unix_nano <= span.start_time_unix_nano < span.end_time_unix_nano <= root.end_time_unix_nano <= NOW
        )


def test_each_service_sends_a_request_of_its_own() -> None:
    for made, services in ((Checkout(), 3), (Turn(), 2), (Pipeline(), 7)):
        assert len(demo_requests(NOW, made)[1]) == services


def test_what_fails_says_so_and_goes_up_to_the_root() -> None:
    for made, failed in ((Checkout(fails=True), 2), (Turn(), 1), (Pipeline(accuracy=0.6), 2)):
        assert sum(span.status.code == span.status.STATUS_CODE_ERROR for span in spans(made)) == failed
    assert {"registration", "deployment"} & {span.name for span in spans(Pipeline(accuracy=0.6))} == set()


def test_one_of_many_differs_from_the_next() -> None:
    chance = Random(7)
    made = [any_of(list(SCENARIOS), chance) for _ in range(60)]
    assert {type(each) for each in made} == {Checkout, Turn, Pipeline}
    assert len(set(made)) == 60
    assert {type(any_of(["agent"], chance)) for _ in range(5)} == {Turn}


def test_the_metrics_of_a_training_go_from_epoch_to_epoch() -> None:
    (resource,) = Pipeline().metrics(NOW).resource_metrics
    points = {metric.name: list(metric.gauge.data_points) for metric in resource.scope_metrics[0].metrics}
    assert {len(each) for each in points.values()} == {5}
    losses = [point.as_double for point in points["loss"]]
    assert losses == sorted(losses, reverse=True)
    assert points["loss"][-1].time_unix_nano == NOW
