"""Splits a delivery: into halves, into its traces, into its records, or into some records and the rest. No I/O."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from headrace.envelope import Delivery
from headrace.otlp.form import Place
from headrace.rejected import Rejected, RejectedSpans

AnyDelivery = Delivery[Any]
"""A delivery of any signal."""


def halves(delivery: AnyDelivery) -> tuple[AnyDelivery, AnyDelivery] | None:
    """One delivery → two. Each has half of the records, with their resources and scopes. None if the delivery has only one."""
    places = delivery.signal.form.places(delivery.request)
    middle = len(places) // 2
    return (_of(delivery, places[:middle]), _of(delivery, places[middle:])) if middle else None


def set_apart(
    delivery: AnyDelivery, experiment_ids: Sequence[str], rejected: Sequence[Rejected]
) -> tuple[list[tuple[AnyDelivery, str]], AnyDelivery]:
    """Returns the rejected records as deliveries, with the reason, and one delivery with all other records.

    Rejected spans are alone in their delivery. Records that were rejected by their number share one for each reason.
    `experiment_ids[i]` is that of the i-th resource.
    """
    of_traces = {(each.trace_id, each.experiment_id): each.reason for each in rejected if isinstance(each, RejectedSpans)}
    of_numbers = {each.number: each.reason for each in rejected if not isinstance(each, RejectedSpans)}
    alone: list[tuple[AnyDelivery, str]] = []
    together: dict[str, list[Place]] = {}
    others = []
    for number, place in enumerate(delivery.signal.form.places(delivery.request)):
        if reason := of_numbers.get(number):
            together.setdefault(reason, []).append(place)
        elif of_traces and (reason := of_traces.get((place.record.trace_id, experiment_ids[place.resource]))):
            alone.append((_of(delivery, [place]), reason))
        else:
            others.append(place)
    alone += [(_of(delivery, places), reason) for reason, places in together.items()]
    return alone, _of(delivery, others)


def singles(delivery: AnyDelivery) -> list[AnyDelivery]:
    """One delivery → one for each record, with its resource and scope. One without records stays as it is."""
    return [_of(delivery, [place]) for place in delivery.signal.form.places(delivery.request)] or [delivery]


def by_trace(delivery: AnyDelivery) -> list[tuple[bytes, AnyDelivery]]:
    """One delivery → one for each trace, with its id, in the order of their first records. Records without a trace, as data
    points are, stay together; their id is empty. A delivery of a single trace stays as it is."""
    traces: dict[bytes, list[Place]] = {}
    for place in delivery.signal.form.places(delivery.request):
        traces.setdefault(getattr(place.record, "trace_id", b""), []).append(place)
    if len(traces) == 1:
        return [(next(iter(traces)), delivery)]
    return [(trace_id, _of(delivery, places)) for trace_id, places in traces.items()]


def _of(delivery: AnyDelivery, places: Sequence[Place]) -> AnyDelivery:
    """A delivery that has only these records, with their resources, scopes and destinations."""
    request, resources = delivery.signal.form.gather(delivery.request, places)
    return replace(delivery, request=request, destinations=tuple(delivery.destinations[number] for number in resources))
