"""Requests of metrics → rows for MLflow's tables. Pure.

The step of a value is an attribute of its data point: the first of `HEADRACE_METRIC_STEPS` (`step`, `epoch` …) that is a whole
number; else 0. These attributes are not part of the name. The time is that of the data point in milliseconds.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.mlflow.metrics.names import Attributes, Naming
from headrace.mlflow.metrics.values import has_no_value, values
from headrace.mlflow.text import Repairs, storable
from headrace.otlp.attributes import to_dict, to_text
from headrace.otlp.form import DATA_POINTS

_MAX_FLOAT = 1.7976931348623157e308
_MAX_STEP = 2**63 - 1
_NS = 1_000_000
_MAX_RUN_NAME = 250

Metrics = Delivery[ExportMetricsServiceRequest]


class Target(NamedTuple):
    """The run that a value is for: by its id, or by its name in an experiment."""

    run_id: str
    experiment_id: int
    run_name: str


class Origin(NamedTuple):
    """The data point that a value is of: the index of its delivery in the batch, and its number among the delivery's points."""

    delivery: int
    number: int


class Row(NamedTuple):
    """One value, as a row of `metrics` without its run. NaN is stored as 0 with `is_nan`, infinities as the largest floats."""

    key: str
    timestamp: int
    step: int
    value: float
    is_nan: bool


class Delta(NamedTuple):
    """A sum of one interval, which ends at `ends` (nanoseconds). `stream` tells those apart that end alike: of other senders,
    meters or attributes."""

    key: str
    ends: int
    stream: int
    step: int
    value: float


@dataclass(slots=True)
class Values:
    """What a batch holds for one run."""

    rows: list[Row] = field(default_factory=list)
    stepped: list[Row] = field(default_factory=list)
    """Those whose data point says its step."""
    deltas: list[Delta] = field(default_factory=list)
    names: dict[str, list[Origin]] = field(default_factory=dict)
    """Each name, and the data points that have it."""
    points: list[Origin] = field(default_factory=list)
    senders: set[int] = field(default_factory=set)
    """The deliveries that the values came in."""

    def __len__(self) -> int:
        return len(self.rows) + len(self.stepped) + len(self.deltas)


def translate(deliveries: Sequence[Metrics], naming: Naming, steps: Sequence[str], repaired: Repairs) -> dict[Target, Values]:
    """The values of all deliveries, by their runs. Repairs are counted by their rule. What is passed on is left out."""
    found: dict[Target, Values] = {}
    for index, delivery in enumerate(deliveries):
        reader = _Reader(naming, steps, repaired, delivery.received_unix_nano)
        number = 0
        for resource, destination in zip(delivery.request.resource_metrics, delivery.destinations, strict=True):
            if destination.forward:
                number += DATA_POINTS.count_in(resource)
                continue
            held = found.setdefault(_target(destination), Values())
            held.senders.add(index)
            shared = {key: to_text(value) for key, value in to_dict(resource.resource.attributes).items()}
            sender = resource.resource.SerializeToString(deterministic=True)
            for scope in resource.scope_metrics:
                own = shared | {"scope": scope.scope.name}
                meter = _told_apart(sender, scope.scope.SerializeToString(deterministic=True))
                for metric in scope.metrics:
                    number = reader.read(metric, own, meter, held, Origin(index, number))
    return found


def _target(destination: pb.Destination) -> Target:
    """A run by its name has it as MLflow's table can hold it."""
    if destination.run_id:
        return Target(destination.run_id, 0, "")
    return Target("", int(destination.experiment_id), destination.run_name.replace("\0", "\ufffd")[:_MAX_RUN_NAME])


def _told_apart(*parts: bytes) -> bytes:
    """A digest of these texts, in order."""
    return hashlib.sha256(b"".join(b"%d:%s" % (len(part), part) for part in parts)).digest()


class _Reader:
    """Reads the metrics of one delivery."""

    def __init__(self, naming: Naming, steps: Sequence[str], repaired: Repairs, received: int) -> None:
        self._naming = naming
        self._steps = steps
        self._repaired = repaired
        self._received = received

    def read(self, metric: Any, shared: dict[str, str], meter: bytes, held: Values, first: Origin) -> int:
        """Adds the values of one metric. Returns the number of the next data point of the delivery.

        `meter`: tells its resource and scope from others.
        """
        kind = metric.WhichOneof("data")
        points = getattr(metric, kind).data_points if kind else ()
        is_delta = kind == "sum" and metric.sum.aggregation_temporality == _DELTA
        stream = _told_apart(meter, metric.name.encode(), metric.unit.encode()) if is_delta else b""
        for number, point in enumerate(points, first.number):
            origin = Origin(first.delivery, number)
            held.points.append(origin)
            if has_no_value(point):
                self._repaired["no_recorded_value"] += 1
                continue
            step, attributes = self._step(point)
            for suffix, value in values(kind, point):
                key = self._naming.name(metric.name, suffix, attributes, shared, self._repaired)
                held.names.setdefault(key, []).append(origin)
                if is_delta:
                    self._add_delta(held, key, point, step or 0, value, stream)
                else:
                    rows = held.rows if step is None else held.stepped
                    rows.append(row(key, self._time(point) // _NS, step or 0, value))
        return first.number + len(points)

    def _add_delta(self, held: Values, key: str, point: Any, step: int, value: float, stream: bytes) -> None:
        if not math.isfinite(value):
            self._repaired["delta_not_finite"] += 1
            return
        attributes = sorted(pair.SerializeToString(deterministic=True) for pair in point.attributes)
        digest = _told_apart(stream, b"%d" % point.start_time_unix_nano, *attributes)
        held.deltas.append(Delta(key, self._time(point), int.from_bytes(digest[:8], "big", signed=True), step, value))

    def _time(self, point: Any) -> int:
        """Of the data point in nanoseconds; of its receipt where it has none."""
        if point.time_unix_nano:
            return min(int(point.time_unix_nano), _MAX_STEP)
        self._repaired["point_time_missing"] += 1
        return self._received

    def _step(self, point: Any) -> tuple[int | None, Attributes]:
        """The step of a data point, if it says one, and its other attributes as texts."""
        attributes = to_dict(point.attributes)
        step = next((found for name in self._steps if (found := _whole(attributes.get(name))) is not None), None)
        others = ((key, to_text(value)) for key, value in attributes.items() if key not in self._steps)
        return step, tuple(sorted((storable(key, self._repaired), storable(value, self._repaired)) for key, value in others))


_DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA


def row(key: str, timestamp: int, step: int, value: float) -> Row:
    """A row with the value as MLflow's `SqlAlchemyStore.sanitize_metric_value` keeps it."""
    if math.isnan(value):
        return Row(key, timestamp, step, 0.0, True)
    return Row(key, timestamp, step, min(max(value, -_MAX_FLOAT), _MAX_FLOAT), False)


def _whole(value: Any) -> int | None:
    """A whole number that fits MLflow's column, also as a text or a float. None: it is none."""
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.removeprefix("-").isdigit() and len(value) < 20 else None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        return None
    return int(value) if -_MAX_STEP <= value <= _MAX_STEP else None
