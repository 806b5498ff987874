"""Quantiles of histograms, by linear interpolation within the bucket that holds them. Pure.

Source: https://opentelemetry.io/docs/specs/otel/metrics/data-model/#histogram and #exponentialhistogram. Prometheus'
`histogram_quantile` interpolates alike. What is exact there is exact here: no quantile is below the smallest value or above the
largest, if they are known.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from opentelemetry.proto.metrics.v1.metrics_pb2 import ExponentialHistogramDataPoint, HistogramDataPoint

Point = HistogramDataPoint | ExponentialHistogramDataPoint


class Bucket(NamedTuple):
    """How many values, `size`, are between two bounds."""

    low: float
    high: float
    size: int


def quantiles(point: Point, wanted: Sequence[float]) -> list[float]:
    """The wanted quantiles (0 to 1) of a histogram. Empty if its buckets do not tell them."""
    filled = list(_explicit(point) if isinstance(point, HistogramDataPoint) else _exponential(point))
    total = sum(bucket.size for bucket in filled)
    least, most = _known(point, "min", -math.inf), _known(point, "max", math.inf)
    return [min(max(_at(filled, share * total), least), most) for share in wanted] if filled else []


def _at(buckets: Sequence[Bucket], rank: float) -> float:
    """The value of this rank, counted from the smallest."""
    below = 0
    for bucket in buckets:
        if below + bucket.size >= rank:
            share = (rank - below) / bucket.size
            return bucket.low * (1 - share) + bucket.high * share  # their difference may be more than a float
        below += bucket.size
    return buckets[-1].high


def _known(point: Point, field: str, unknown: float) -> float:
    """The smallest or the largest value of a histogram, if it says one."""
    value = float(getattr(point, field))
    return value if point.HasField(field) and math.isfinite(value) else unknown  # type: ignore[arg-type]


def _explicit(point: HistogramDataPoint) -> Iterator[Bucket]:
    """The buckets with values, from the smallest. Open ends are closed by the smallest and largest value if they are known,
    and by the nearest bound if not. None: there are no bounds, or they are out of order."""
    bounds, counts = list(point.explicit_bounds), list(point.bucket_counts)
    if len(counts) != len(bounds) + 1:  # a histogram without buckets has neither; anything else is no histogram
        return
    while bounds and bounds[0] == -math.inf:  # an open end, as any first bucket has
        bounds, counts = bounds[1:], [counts[0] + counts[1], *counts[2:]]
    while bounds and bounds[-1] == math.inf:
        bounds, counts = bounds[:-1], [*counts[:-2], counts[-2] + counts[-1]]
    least, most = _known(point, "min", -math.inf), _known(point, "max", math.inf)
    if not bounds and not (math.isfinite(least) and math.isfinite(most)):
        return
    if any(not low <= high for low, high in pairwise([-math.inf, *bounds, math.inf])):
        return
    low, high = bounds[:1] or [least], bounds[-1:] or [most]
    first = least if math.isfinite(least) else min(0.0, low[0])
    last = most if math.isfinite(most) else high[0]
    edges = [min(first, low[0]), *bounds, max(last, high[0])]
    yield from (Bucket(*pair, count) for pair, count in zip(pairwise(edges), counts, strict=True) if count)


def _exponential(point: ExponentialHistogramDataPoint) -> Iterator[Bucket]:
    """The buckets with values, from the smallest."""
    for number, count in reversed(list(enumerate(point.negative.bucket_counts))):
        if count:
            index = point.negative.offset + number
            yield Bucket(-_bound(index + 1, point.scale), -_bound(index, point.scale), count)
    if point.zero_count:
        threshold = abs(point.zero_threshold) if math.isfinite(point.zero_threshold) else 0.0
        yield Bucket(-threshold, threshold, point.zero_count)
    for number, count in enumerate(point.positive.bucket_counts):
        if count:
            index = point.positive.offset + number
            yield Bucket(_bound(index, point.scale), _bound(index + 1, point.scale), count)


def _bound(index: int, scale: int) -> float:
    """The lower bound of a bucket: 2 ** (index * 2 ** -scale). At most the largest float."""
    try:
        return float(2.0 ** math.ldexp(index, -scale))
    except OverflowError:
        return sys.float_info.max if index > 0 else 0.0
