"""What a data point becomes in MLflow: values, names and steps."""

import math
from collections import Counter
from typing import Any

import metrics as build
import pytest
from mlflow.utils.validation import _validate_metric_name
from opentelemetry.proto.metrics.v1 import metrics_pb2 as m

import otlp
from headrace.mlflow.metrics.names import MAX_NAME, Naming, allowed
from headrace.mlflow.metrics.translate import Row, translate
from headrace.mlflow.metrics.values import values
from headrace.mlflow.metrics.weight import weigh

STEPS = ("step", "epoch")
Buckets = m.ExponentialHistogramDataPoint.Buckets
PLAIN = Naming("{name}{attributes}")


def rows(*metrics: m.Metric, naming: Naming = PLAIN, repaired: Counter[str] | None = None, **attributes: Any) -> list[Row]:
    repairs: Counter[str] = Counter() if repaired is None else repaired
    found = translate([build.delivery(build.request(*metrics, **attributes), "r" * 32)], naming, STEPS, repairs)
    (held,) = found.values()
    return held.rows + held.stepped


def named(*metrics: m.Metric) -> dict[str, float]:
    return {row.key: row.value for row in rows(*metrics)}


def test_a_gauge_and_a_running_sum_are_their_values() -> None:
    assert rows(build.gauge("loss", 0.5), build.total("batches", build.number(7))) == [
        Row("loss", otlp.START // build.MS, 0, 0.5, False),
        Row("batches", otlp.START // build.MS, 0, 7.0, False),
    ]


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (math.nan, (0.0, True)),
        (math.inf, (1.7976931348623157e308, False)),
        (-math.inf, (-1.7976931348623157e308, False)),
        (-0.0, (0.0, False)),
    ],
)
def test_what_is_no_number_is_kept_as_mlflow_keeps_it(value: float, stored: tuple[float, bool]) -> None:
    (row,) = rows(build.gauge("loss", value))
    assert (row.value, row.is_nan) == stored


def test_a_histogram_is_its_parts() -> None:
    found = named(build.histogram("latency", [0, 10, 10, 0], [1, 2, 3], sum=40, min=1.5, max=2.5))
    assert found.keys() == {f"latency.{part}" for part in ("count", "sum", "min", "max", "p50", "p90", "p99")}
    assert (found["latency.count"], found["latency.sum"], found["latency.p50"]) == (20, 40, 2)
    assert found["latency.p90"] == found["latency.p99"] == 2.5  # never above the largest value
    assert named(build.histogram("h", [], [])) == {"h.count": 0}
    assert named(build.histogram("h", [4], [], min=1, max=3, sum=8))["h.p50"] == 2


@pytest.mark.parametrize(
    ("counts", "bounds", "known", "expected"),
    [
        ([0, 4, 4], [1, math.inf], {}, {"p50": 1, "p99": 1}),  # Prometheus' last bound: no value is told by it
        ([0, 4, 4], [1, math.inf], {"max": 9}, {"p50": 5, "p99": 8.92}),
        ([4, 4], [-math.inf], {}, {}),
        ([4, 4], [-math.inf], {"min": 1, "max": 3}, {"p50": 2, "p99": 2.98}),
        ([4], [], {}, {}),  # one bucket without bounds says nothing of its values
        ([4], [], {"max": 3}, {}),
        ([4, 4], [math.nan], {}, {}),
        ([1, 1, 1], [2, 1], {}, {}),
        ([0, 4, 0], [1, 2], {"min": math.nan, "max": math.inf}, {"p50": 1.5, "p99": 1.99}),
        ([0, 4, 0], [-1.7e308, 1.7e308], {}, {"p50": 0}),
    ],
)
def test_quantiles_are_told_as_far_as_the_bounds_tell_them(
    counts: list[int], bounds: list[float], known: dict[str, float], expected: dict[str, float]
) -> None:
    found = named(build.histogram("h", counts, bounds, **known))
    told = {part: found[f"h.{part}"] for part in ("p50", "p90", "p99") if f"h.{part}" in found}
    assert {part: told.get(part) for part in expected} == pytest.approx(expected)
    assert bool(told) == bool(expected)


@pytest.mark.parametrize("threshold", [math.nan, math.inf, -1.0, 0.0, 1e-9])
def test_a_zero_bucket_is_about_zero_whatever_its_threshold(threshold: float) -> None:
    point = m.ExponentialHistogramDataPoint(count=9, zero_count=9, zero_threshold=threshold)
    assert dict(values("exponential_histogram", point))["p50"] == pytest.approx(0, abs=1)


@pytest.mark.parametrize("scale", [-2, 0, 3, 20])
def test_quantiles_of_an_exponential_histogram_are_within_its_buckets(scale: int) -> None:
    base = 2.0 ** (2.0**-scale)
    point = m.ExponentialHistogramDataPoint(
        count=100, scale=scale, zero_count=10, positive=Buckets(offset=0, bucket_counts=[60, 30]), sum=5
    )
    found = dict(values("exponential_histogram", point))
    assert 1 <= found["p50"] <= base <= found["p90"] <= found["p99"] <= base**2
    negative = m.ExponentialHistogramDataPoint(count=3, scale=0, negative=Buckets(offset=1, bucket_counts=[1, 1, 1]))
    assert -8 <= dict(values("exponential_histogram", negative))["p50"] <= -4
    huge = m.ExponentialHistogramDataPoint(count=1, scale=-10, positive=Buckets(offset=2**30, bucket_counts=[1]))
    assert math.isfinite(dict(values("exponential_histogram", huge))["p99"])


def test_a_summary_is_its_quantiles() -> None:
    quantiles = [m.SummaryDataPoint.ValueAtQuantile(quantile=q, value=q * 10) for q in (0, 0.5, 0.999, 1)]
    point = m.SummaryDataPoint(count=2, sum=3, quantile_values=quantiles)
    assert dict(values("summary", point)) == {"count": 2, "sum": 3, "min": 0, "p50": 5, "p99.9": 9.99, "max": 10}


def test_a_point_without_a_value_is_passed_over() -> None:
    repaired: Counter[str] = Counter()
    gone = m.Metric(name="gone", gauge=m.Gauge(data_points=[m.NumberDataPoint(flags=1)]))
    assert rows(gone, repaired=repaired) == []
    assert repaired == {"no_recorded_value": 1}


@pytest.mark.parametrize(
    ("attributes", "step", "key"),
    [
        ({}, 0, "loss"),
        ({"step": 7}, 7, "loss"),
        ({"epoch": 2}, 2, "loss"),
        ({"epoch": 2, "step": 7}, 7, "loss"),
        ({"step": "12"}, 12, "loss"),
        ({"step": 3.0}, 3, "loss"),
        ({"step": -1}, -1, "loss"),
        ({"step": "last", "epoch": 4}, 4, "loss"),
        ({"step": True}, 0, "loss"),
        ({"step": 2.5}, 0, "loss"),
        ({"step": math.nan}, 0, "loss"),
        ({"step": "--5"}, 0, "loss"),
        ({"step": "-5"}, -5, "loss"),
        ({"step": "-"}, 0, "loss"),
        ({"step": "٣"}, 0, "loss"),
        ({"step": 2**63 - 1}, 2**63 - 1, "loss"),
        ({"split": "train", "step": 1}, 1, "loss.split:train"),
    ],
)
def test_the_step_is_an_attribute(attributes: dict[str, Any], step: int, key: str) -> None:
    (row,) = rows(build.gauge("loss", 0.5, **attributes))
    assert (row.step, row.key) == (step, key)


def test_a_point_without_a_time_has_that_of_its_receipt() -> None:
    repaired: Counter[str] = Counter()
    (row,) = rows(build.gauge("loss", 0.5, at=0), repaired=repaired)
    assert row.timestamp == otlp.START // build.MS
    assert repaired == {"point_time_missing": 1}


def streams(*points: m.NumberDataPoint, names: tuple[str, ...] = (), unit: str = "", scope: str = "") -> set[int]:
    """What tells the senders of these intervals apart, each point in a metric of its own."""
    found = set()
    for number, point in enumerate(points):
        metric = build.total(names[number] if names else "n", point, temporality=build.DELTA)
        metric.unit = unit
        message = build.request(metric)
        message.resource_metrics[0].scope_metrics[0].scope.name = scope
        (held,) = translate([build.delivery(message, "r" * 32)], PLAIN, STEPS, Counter()).values()
        found |= {delta.stream for delta in held.deltas}
    return found


def test_intervals_of_different_streams_are_told_apart_though_their_name_and_time_are_the_same() -> None:
    plain = build.number(1)
    assert len(streams(plain, build.number(2))) == 1  # the same stream
    assert len(streams(build.number(1, epoch=1), build.number(1, epoch=2), plain)) == 3
    assert len(streams(build.number(1, a=1), build.number(1, a="1"))) == 2
    assert len(streams(plain, plain, names=("a=b", "a_b"))) == 2
    assert len(streams(plain) | streams(plain, unit="By") | streams(plain, scope="meter")) == 3


def test_attributes_stand_in_the_name_sorted() -> None:
    assert named(build.gauge("gpu", 1, z="b", a=3)).keys() == {"gpu.a:3.z:b"}
    assert "h.p50.k:v" in named(build.histogram("h", [1, 0], [1], attributes=otlp.attributes({"k": "v"})))


def test_a_template_names_what_it_wants() -> None:
    naming = Naming("{service.name}/{split}/{name}{attributes}")
    assert rows(build.gauge("loss", 1, split="test", rank=0), naming=naming)[0].key == "training/test/loss.rank:0"
    assert rows(build.gauge("loss", 1), naming=naming)[0].key == "training/loss"


@pytest.mark.parametrize(
    "text",
    [
        *("loss", "a=b", "a/b", "/abs", "a//b", "../up", "..", ".", "", "/", "a/./b", "é{}", "nul\0", "a\nb", "\ud800"),
        *("..a", "...", "..a/b", "./..a", "." * 300),
        *("a/" * 400, "x" * 251, "💡" * 300),
    ],
)
def test_every_name_is_one_that_mlflow_accepts(text: str) -> None:
    name, was_cut = allowed(text)
    _validate_metric_name(name)  # type: ignore[no-untyped-call]
    assert len(name) <= MAX_NAME
    assert was_cut == (len(text) > MAX_NAME)
    assert allowed(name) == (name, False)


def test_long_names_that_differ_stay_different() -> None:
    assert allowed("x" * 300 + "a") != allowed("x" * 300 + "b")


def test_what_a_request_becomes_is_estimated_rather_high() -> None:
    message = build.request(build.gauge("loss", *map(float, range(50))), build.histogram("h", [1, 2], [1], sum=1, min=0, max=2))
    assert weigh(build.delivery(message), 0) > 57 * 100
