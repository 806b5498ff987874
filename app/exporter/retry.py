"""When to try again, and how to find the span that spoils a batch. Pure but for the waiting."""

import random
import threading
from collections.abc import Iterator
from dataclasses import replace

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from app.exporter import Delivery

_FIRST_SECONDS = 0.1
_MAX_SECONDS = 5.0


def attempts(stop: threading.Event) -> Iterator[int]:
    """Yields 0 at once, then 1, 2, … after growing pauses with full jitter, until `stop` is set.

    Jitter keeps many workers from knocking on a recovering Postgres at the same moment
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    """
    attempt = 0
    while not stop.is_set():
        yield attempt
        longest = min(_MAX_SECONDS, _FIRST_SECONDS * 2 ** min(attempt, 16))
        stop.wait(random.uniform(longest / 2, longest))  # noqa: S311 - not for secrets
        attempt += 1


def spans_of(request: ExportTraceServiceRequest) -> list[Span]:
    """All spans of a request, in order."""
    return [span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]


def count_spans(request: ExportTraceServiceRequest) -> int:
    """How many spans a request holds."""
    return sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)


def halves(delivery: Delivery) -> tuple[Delivery, Delivery] | None:
    """One delivery → two, each with half of its spans and what they stand in; None where it has but one span."""
    middle = count_spans(delivery.request) // 2
    if middle == 0:
        return None
    return _part(delivery, 0, middle), _part(delivery, middle, None)


def _part(delivery: Delivery, first: int, last: int | None) -> Delivery:
    """The spans first ≤ index < last of a delivery, with their resources, scopes and destinations."""
    part = ExportTraceServiceRequest()
    destinations = []
    index = 0
    for resource, destination in zip(delivery.request.resource_spans, delivery.destinations, strict=True):
        kept_resource = None
        for scope in resource.scope_spans:
            kept = scope.spans[max(0, first - index) : None if last is None else max(0, last - index)]
            index += len(scope.spans)
            if not kept:
                continue
            if kept_resource is None:
                kept_resource = part.resource_spans.add(resource=resource.resource, schema_url=resource.schema_url)
                destinations.append(destination)
            kept_resource.scope_spans.add(scope=scope.scope, schema_url=scope.schema_url, spans=kept)
    return replace(delivery, request=part, destinations=tuple(destinations))
