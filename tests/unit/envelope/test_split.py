"""A request in two halves."""

import otlp
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.envelope.split import halves
from headrace.otlp.spans import spans_of


def test_halves_keep_resources_scopes_and_destinations() -> None:
    request = otlp.request(otlp.span("a"), otlp.span("b"), service="one")
    request.resource_spans.append(otlp.resource_spans(service="empty"))
    request.resource_spans.append(otlp.resource_spans(otlp.span("c"), service="three"))
    destinations = tuple(pb.Destination(experiment_id=str(n)) for n in range(3))
    split = halves(Delivery(request, destinations, "run", 1, "agent"))
    assert split is not None
    first, second = split
    assert [span.name for span in spans_of(first.request)] == ["a"]
    assert [span.name for span in spans_of(second.request)] == ["b", "c"]
    assert [d.experiment_id for d in second.destinations] == ["0", "2"]
    assert second.request.resource_spans[1].resource == request.resource_spans[2].resource
    assert halves(first) is None
    assert Delivery.from_envelope(second.to_envelope()) == second
