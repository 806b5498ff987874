"""Splits a delivery: into halves, into its traces, into its records, or into some records and the rest. No I/O."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from headrace.envelope import Delivery
from headrace.otlp.form import Place
from headrace.otlp.order import positions_of
from headrace.otlp.signals import LOGS
from headrace.rejected import Rejected, RejectedSpans

AnyDelivery = Delivery[Any]
"""A delivery of any signal."""


def halves(delivery: AnyDelivery) -> tuple[AnyDelivery, AnyDelivery] | None:
    """One delivery → two. Each has half of the records, with their resources and scopes. None if the delivery has only one."""
    whole = _Whole(delivery)
    middle = len(whole.places) // 2
    return (whole.part(whole.places[:middle]), whole.part(whole.places[middle:])) if middle else None


def set_apart(
    delivery: AnyDelivery, experiment_ids: Sequence[str], rejected: Sequence[Rejected]
) -> tuple[list[tuple[AnyDelivery, str]], AnyDelivery]:
    """Returns the rejected records as deliveries, with the reason, and one delivery with all other records.

    Rejected spans are alone in their delivery. Records that were rejected by their number share one for each reason.
    `experiment_ids[i]` is that of the i-th resource.
    """
    of_traces = {(each.trace_id, each.experiment_id): each.reason for each in rejected if isinstance(each, RejectedSpans)}
    whole = _Whole(delivery)
    of_numbers = {each.number: each.reason for each in rejected if not isinstance(each, RejectedSpans)}
    alone: list[tuple[AnyDelivery, str]] = []
    together: dict[str, list[Place]] = {}
    others = []
    for number, place in enumerate(whole.places):
        if reason := of_numbers.get(number):
            together.setdefault(reason, []).append(place)
        elif of_traces and (reason := of_traces.get((place.record.trace_id, experiment_ids[place.resource]))):
            alone.append((whole.part([place]), reason))
        else:
            others.append(place)
    alone += [(whole.part(places), reason) for reason, places in together.items()]
    return alone, whole.part(others)


def singles(delivery: AnyDelivery) -> list[AnyDelivery]:
    """One delivery → one for each record, with its resource and scope. One without records stays as it is."""
    whole = _Whole(delivery)
    return [whole.part([place]) for place in whole.places] or [delivery]


def by_trace(delivery: AnyDelivery) -> list[tuple[bytes, AnyDelivery]]:
    """One delivery → one for each trace, with its id, in the order of their first records. Records without a trace, as data
    points are, stay together; their id is empty. A delivery of a single trace stays as it is."""
    whole = _Whole(delivery)
    traces: dict[bytes, list[Place]] = {}
    for place in whole.places:
        traces.setdefault(getattr(place.record, "trace_id", b""), []).append(place)
    if len(traces) == 1:
        return [(next(iter(traces)), delivery)]
    return [(trace_id, whole.part(places)) for trace_id, places in traces.items()]


class _Whole:
    """A delivery that is split. Log records keep their positions in it, so the end is the same as if it had not been split."""

    def __init__(self, delivery: AnyDelivery) -> None:
        self._delivery = delivery
        self.places = delivery.signal.form.places(delivery.request)
        """All its records."""
        positions: Sequence[int] = ()
        if delivery.signal is LOGS:
            positions = delivery.positions or positions_of(place.record for place in self.places)
        self._positions = dict(zip((place[:3] for place in self.places), positions, strict=True)) if positions else {}

    def part(self, places: Sequence[Place]) -> AnyDelivery:
        """A delivery that has only these records, with their resources, scopes and destinations."""
        request, resources = self._delivery.signal.form.gather(self._delivery.request, places)
        positions = tuple(self._positions.get(place[:3], 0) for place in places)
        return replace(
            self._delivery,
            request=request,
            destinations=tuple(self._delivery.destinations[number] for number in resources),
            positions=positions if any(positions) else (),
        )
