"""A data point → what becomes a metric of MLflow: pairs of a suffix and a value. Pure.

gauge, sum                            the value itself, without a suffix
histogram, exponential histogram      count, sum, min, max, p50, p90, p99, as far as they are known
summary                               count, sum, and its quantiles: p50, p99.9; min and max for 0 and 1
"""

from collections.abc import Iterator
from typing import Any

from opentelemetry.proto.metrics.v1.metrics_pb2 import DataPointFlags, SummaryDataPoint

from headrace.mlflow.metrics.quantiles import Point, quantiles

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
_NO_VALUE = DataPointFlags.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK

Value = tuple[str, float]
"""A suffix, `p99`, and a value. The suffix is empty for a plain number."""


def has_no_value(point: Any) -> bool:
    """Whether a data point says that there is no value (any more). Nothing is stored of it."""
    return bool(point.flags & _NO_VALUE)


def values(kind: str, point: Any) -> list[Value]:
    """The values of a data point of a metric of this kind, `exponential_histogram`."""
    if kind in ("gauge", "sum"):
        return [("", float(getattr(point, point.WhichOneof("value"))))]
    if kind == "summary":
        return list(_of_summary(point))
    return list(_of_histogram(point))


def _of_histogram(point: Point) -> Iterator[Value]:
    yield "count", float(point.count)
    for name in ("sum", "min", "max"):
        if point.HasField(name):
            yield name, getattr(point, name)
    yield from zip(QUANTILES, quantiles(point, list(QUANTILES.values())), strict=False)


def _of_summary(point: SummaryDataPoint) -> Iterator[Value]:
    yield "count", float(point.count)
    yield "sum", point.sum
    for each in point.quantile_values:
        yield {0.0: "min", 1.0: "max"}.get(each.quantile, f"p{each.quantile * 100:.6g}"), each.value
