"""Splits a delivery: into halves, into its traces, into its spans, or into some spans and the rest. No I/O."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from headrace.envelope import Delivery
from headrace.errors import RejectedSpans


def halves(delivery: Delivery) -> tuple[Delivery, Delivery] | None:
    """One delivery → two. Each has half of the spans, with their resources and scopes. None if the delivery has only one
    span."""
    places = _places(delivery)
    middle = len(places) // 2
    return (_of(delivery, places[:middle]), _of(delivery, places[middle:])) if middle else None


def set_apart(
    delivery: Delivery, experiment_ids: Sequence[str], rejected: Sequence[RejectedSpans]
) -> tuple[list[tuple[Delivery, str]], Delivery]:
    """Returns one delivery for each rejected span, with the reason, and one delivery with all other spans.

    `experiment_ids[i]` is that of `request.resource_spans[i]`.
    """
    reasons = {(spans.trace_id, spans.experiment_id): spans.reason for spans in rejected}
    alone, others = [], []
    for place in _places(delivery):
        if reason := reasons.get((place.span.trace_id, experiment_ids[place.resource])):
            alone.append((_of(delivery, [place]), reason))
        else:
            others.append(place)
    return alone, _of(delivery, others)


def singles(delivery: Delivery) -> list[Delivery]:
    """One delivery → one for each span, with its resource and scope. One without spans stays as it is."""
    return [_of(delivery, [place]) for place in _places(delivery)] or [delivery]


def by_trace(delivery: Delivery) -> list[tuple[bytes, Delivery]]:
    """One delivery → one for each trace, with its id, in the order of their first spans. A delivery of a single trace stays as
    it is."""
    traces: dict[bytes, list[_Place]] = {}
    for place in _places(delivery):
        traces.setdefault(place.span.trace_id, []).append(place)
    if len(traces) == 1:
        return [(next(iter(traces)), delivery)]
    return [(trace_id, _of(delivery, places)) for trace_id, places in traces.items()]


class _Place(NamedTuple):
    """A span, and the indices of its resource and its scope."""

    resource: int
    scope: int
    span: Span


def _places(delivery: Delivery) -> list[_Place]:
    return [
        _Place(number, index, span)
        for number, resource in enumerate(delivery.request.resource_spans)
        for index, scope in enumerate(resource.scope_spans)
        for span in scope.spans
    ]


def _of(delivery: Delivery, places: Sequence[_Place]) -> Delivery:
    """A delivery that has only these spans, with their resources, scopes and destinations."""
    request = ExportTraceServiceRequest()
    destinations = []
    last: _Place | None = None
    for place in places:
        resource = delivery.request.resource_spans[place.resource]
        if last is None or place.resource != last.resource:
            known = resource.resource if resource.HasField("resource") else None
            request.resource_spans.add(resource=known, schema_url=resource.schema_url)
            destinations.append(delivery.destinations[place.resource])
        if last is None or place[:2] != last[:2]:
            scope = resource.scope_spans[place.scope]
            known_scope = scope.scope if scope.HasField("scope") else None
            request.resource_spans[-1].scope_spans.add(scope=known_scope, schema_url=scope.schema_url)
        request.resource_spans[-1].scope_spans[-1].spans.append(place.span)
        last = place
    return replace(delivery, request=request, destinations=tuple(destinations))
