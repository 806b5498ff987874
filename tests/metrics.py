"""Builds OTLP metrics for tests: `metrics(gauge("loss", 0.5, step=3), run="…")`."""

from collections.abc import Sequence
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1 import metrics_pb2 as m
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

import otlp
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.envelope.incoming import Request, Sender
from headrace.envelope.limit import Limit
from headrace.otlp.signals import METRICS

MS = 1_000_000
CUMULATIVE = m.AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
DELTA = m.AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA


def number(value: float, at: int = otlp.START, start: int = 0, **attributes: Any) -> m.NumberDataPoint:
    """A data point of a gauge or a sum."""
    kind = {"as_int": value} if isinstance(value, int) else {"as_double": value}
    attrs = otlp.attributes({key.replace("__", "."): python for key, python in attributes.items()})
    return m.NumberDataPoint(time_unix_nano=at, start_time_unix_nano=start, attributes=attrs, **kind)


def gauge(name: str, *values: float, at: int = otlp.START, **attributes: Any) -> m.Metric:
    """A gauge whose values are a millisecond apart."""
    points = [number(value, at + index * MS, **attributes) for index, value in enumerate(values)]
    return m.Metric(name=name, gauge=m.Gauge(data_points=points))


def total(name: str, *points: m.NumberDataPoint, temporality: Any = CUMULATIVE) -> m.Metric:
    """A sum."""
    return m.Metric(name=name, sum=m.Sum(data_points=points, aggregation_temporality=temporality, is_monotonic=True))


def histogram(name: str, counts: Sequence[int], bounds: Sequence[float], **fields: Any) -> m.Metric:
    """A histogram of one data point."""
    fields = {"time_unix_nano": otlp.START} | fields
    point = m.HistogramDataPoint(bucket_counts=counts, explicit_bounds=bounds, count=sum(counts), **fields)
    return m.Metric(name=name, histogram=m.Histogram(data_points=[point], aggregation_temporality=CUMULATIVE))


def resource(*metrics: m.Metric, **attributes: Any) -> m.ResourceMetrics:
    """One resource with one scope; underscores after `mlflow` in the names of its attributes become dots."""
    named = {key.replace("mlflow_", "mlflow.", 1): python for key, python in attributes.items()}
    return m.ResourceMetrics(
        resource=Resource(attributes=otlp.attributes({"service.name": "training"} | named)),
        scope_metrics=[m.ScopeMetrics(metrics=metrics)],
    )


def request(*metrics: m.Metric, **attributes: Any) -> ExportMetricsServiceRequest:
    """A request of one resource."""
    return ExportMetricsServiceRequest(resource_metrics=[resource(*metrics, **attributes)])


def sent(message: ExportMetricsServiceRequest, headers: dict[str, str] | None = None, **sender: Any) -> Request[Any, Any]:
    """A message as it comes in over protobuf."""
    original = message.SerializeToString()
    return Request(METRICS.request.FromString(original), Sender(headers or {}, **sender), original, signal=METRICS)


def delivery(
    message: ExportMetricsServiceRequest, run: str = "", limit: Limit | None = None, name: str = "", experiment: int = 0
) -> Delivery[Any]:
    """A request on its way, for a run by its id, or by its name in an experiment."""
    place = pb.Destination(run_id=run) if run else pb.Destination(experiment_id=str(experiment), run_name=name)
    return Delivery(message, (place,) * len(message.resource_metrics), "", otlp.START, "", limit=limit, signal=METRICS)
