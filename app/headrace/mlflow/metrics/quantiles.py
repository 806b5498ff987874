"""Quantiles of histograms, by linear interpolation within the bucket that holds them. Pure.

Source: https://opentelemetry.io/docs/specs/otel/metrics/data-model/#histogram and #exponentialhistogram. Prometheus'
`histogram_quantile` interpolates alike. What is exact there is exact here: no quantile is below the smallest value or above the
largest, if they are known.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from opentelemetry.proto.metrics.v1.metrics_pb2 import ExponentialHistogramDataPoint, HistogramDataPoint

Point = HistogramDataPoint | ExponentialHistogramDataPoint


class Bucket(NamedTuple):
    """How many values, `size`, are between two bounds."""

    low: float
    high: float
    size: int


def quantiles(point: Point, wanted: Sequence[float]) -> list[float]:
    """The wanted quantiles (0 to 1) of a histogram. Empty if it has no buckets with values."""
    least = point.min if point.HasField("min") else -math.inf
    most = point.max if point.HasField("max") else math.inf
    filled = [bucket for bucket in _buckets(point) if bucket.size]
    if not filled:
        return []
    total = sum(bucket.size for bucket in filled)
    return [min(max(_at(filled, share * total), least), most) for share in wanted]


def _at(buckets: Sequence[Bucket], rank: float) -> float:
    """The value of this rank, counted from the smallest."""
    below = 0
    for bucket in buckets:
        if below + bucket.size >= rank:
            share = (rank - below) / bucket.size
            return bucket.low + (bucket.high - bucket.low) * share
        below += bucket.size
    return buckets[-1].high


def _buckets(point: Point) -> Iterator[Bucket]:
    """The buckets from the smallest values to the largest. Open ends are closed by the smallest and largest value if they are
    known, and by the nearest bound if not."""
    if isinstance(point, HistogramDataPoint):
        yield from _explicit(point)
    else:
        yield from _exponential(point)


def _explicit(point: HistogramDataPoint) -> Iterator[Bucket]:
    bounds, counts = list(point.explicit_bounds), list(point.bucket_counts)
    if len(counts) != len(bounds) + 1:  # a histogram without buckets has neither; anything else is no histogram
        return
    low, high = bounds[:1] or [0.0], bounds[-1:] or [0.0]
    first = point.min if point.HasField("min") else min(0.0, low[0])
    last = point.max if point.HasField("max") else high[0]
    edges = [min(first, low[0]), *bounds, max(last, high[0])] if bounds else [first, max(first, last)]
    for number, count in enumerate(counts):
        yield Bucket(edges[number], edges[number + 1], count)


def _exponential(point: ExponentialHistogramDataPoint) -> Iterator[Bucket]:
    for number, count in reversed(list(enumerate(point.negative.bucket_counts))):
        index = point.negative.offset + number
        yield Bucket(-_bound(index + 1, point.scale), -_bound(index, point.scale), count)
    if point.zero_count:
        yield Bucket(-point.zero_threshold, point.zero_threshold, point.zero_count)
    for number, count in enumerate(point.positive.bucket_counts):
        index = point.positive.offset + number
        yield Bucket(_bound(index, point.scale), _bound(index + 1, point.scale), count)


def _bound(index: int, scale: int) -> float:
    """The lower bound of a bucket: 2 ** (index * 2 ** -scale). At most the largest float."""
    try:
        return float(2.0 ** math.ldexp(index, -scale))
    except OverflowError:
        return sys.float_info.max if index > 0 else 0.0
