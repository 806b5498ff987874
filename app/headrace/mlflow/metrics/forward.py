"""The data points of a batch that are passed on to another endpoint, because they name no run. Pure."""

from collections.abc import Iterator, Sequence
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from headrace.mlflow.metrics.translate import Metrics
from headrace.otlp.form import DATA_POINTS
from headrace.rejected import RejectedRecord

NOT_SET = "These metrics name no run, and HEADRACE_METRICS_FORWARD, to which they would be passed on, is not set any more."


def forwarded_of(deliveries: Sequence[Metrics]) -> list[tuple[bytes, int]]:
    """For each delivery with such data points: an OTLP request of them alone, and how many they are."""
    found = []
    for delivery in deliveries:
        resources = [resource for resource, _ in _resources(delivery)]
        if points := sum(map(DATA_POINTS.count_in, resources)):
            found.append((ExportMetricsServiceRequest(resource_metrics=resources).SerializeToString(), points))
    return found


def unforwarded_of(deliveries: Sequence[Metrics]) -> list[RejectedRecord]:
    """All such data points, rejected."""
    return [
        RejectedRecord(first + offset, NOT_SET, index)
        for index, delivery in enumerate(deliveries)
        for resource, first in _resources(delivery)
        for offset in range(DATA_POINTS.count_in(resource))
    ]


def _resources(delivery: Metrics) -> Iterator[tuple[Any, int]]:
    """The resources that are passed on, each with the number of its first data point in the delivery."""
    number = 0
    for resource, destination in zip(delivery.request.resource_metrics, delivery.destinations, strict=True):
        if destination.forward:
            yield resource, number
        number += DATA_POINTS.count_in(resource)
