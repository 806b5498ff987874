"""How the request of a signal is built: resources, in them scopes, in them records. The three signals differ in names alone;
a metric holds several data points. No I/O.

Source: the .proto files of OTLP 1.x.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

POINT_KINDS = {"gauge": 5, "sum": 7, "histogram": 9, "exponential_histogram": 10, "summary": 11}
"""The kinds of metrics: the name of a field of `Metric` → its number."""


class Place(NamedTuple):
    """A record, and the indices of its resource, its scope and its item: itself or, for a data point, its metric."""

    resource: int
    scope: int
    item: int
    record: Any


@dataclass(frozen=True, eq=False)
class Form:
    """The names of one signal's levels. `items` stand in a scope; for traces and logs they are the records."""

    request: type[Message]
    resources: str
    scopes: str
    items: str
    item: type[Message]
    files: tuple[Any, ...]
    """The modules that declare its messages. What a module imports stands before it."""
    below: tuple[Mapping[str, int], ...]
    """The repeated fields below an item, level by level, with their numbers: what is counted before a body is parsed."""
    ids: tuple[int, int] | None
    """The numbers of an item's fields with the ids of its trace and its span."""
    noun: str
    """What its records are called, one of them."""

    def resources_of(self, message: Any) -> Sequence[Any]:
        """The resources of a request."""
        found: Sequence[Any] = getattr(message, self.resources)
        return found

    def items_of(self, resource: Any) -> Iterator[Any]:
        """The items of all scopes of one resource."""
        for scope in getattr(resource, self.scopes):
            yield from getattr(scope, self.items)

    def count(self, message: Any) -> int:
        """How many records a request holds."""
        return sum(map(self.count_in, getattr(message, self.resources)))

    def count_in(self, resource: Any) -> int:
        """How many records one resource has."""
        return sum(len(getattr(scope, self.items)) for scope in getattr(resource, self.scopes))

    def records_of(self, item: Any) -> Sequence[Any]:
        """The records of one item."""
        return (item,)

    def places(self, message: Any) -> list[Place]:
        """All records of a request, in order, with their places."""
        return [
            Place(number, index, place, record)
            for number, resource in enumerate(self.resources_of(message))
            for index, scope in enumerate(getattr(resource, self.scopes))
            for place, item in enumerate(getattr(scope, self.items))
            for record in self.records_of(item)
        ]

    def gather(self, message: Any, places: Sequence[Place]) -> tuple[Any, list[int]]:
        """A request that has only these records of `message`, with their resources and scopes; and the indices of these
        resources in `message`."""
        request, kept = self.request(), []
        last: Place | None = None
        for place in places:
            if last is None or place.resource != last.resource:
                resource = self.resources_of(message)[place.resource]
                known = resource.resource if resource.HasField("resource") else None
                new = getattr(request, self.resources).add(resource=known, schema_url=resource.schema_url)
                kept.append(place.resource)
            if last is None or place[:2] != last[:2]:
                scope = getattr(resource, self.scopes)[place.scope]
                known_scope = scope.scope if scope.HasField("scope") else None
                new_scope = getattr(new, self.scopes).add(scope=known_scope, schema_url=scope.schema_url)
            items = getattr(new_scope, self.items)
            self._add(items, getattr(scope, self.items)[place.item], place, last is not None and place[:3] == last[:3])
            last = place
        return request, kept

    def _add(self, items: Any, item: Any, place: Place, goes_on: bool) -> None:  # noqa: ARG002 - see `_MetricForm`
        """Adds a record to a scope's items. `goes_on`: the one before it is of the same item."""
        items.append(place.record)


class _MetricForm(Form):
    """Metrics: an item has several records."""

    def count_in(self, resource: Any) -> int:
        """See `Form`."""
        return sum(len(self.records_of(metric)) for metric in self.items_of(resource))

    def records_of(self, item: Any) -> Sequence[Any]:
        """See `Form`. A metric without data has none."""
        kind = item.WhichOneof("data")
        return getattr(item, kind).data_points if kind else ()

    def _add(self, items: Any, item: Any, place: Place, goes_on: bool) -> None:
        kind = item.WhichOneof("data")
        if not goes_on:
            self._add_empty(items, item, kind)
        getattr(items[-1], kind).data_points.append(place.record)

    def _add_empty(self, items: Any, item: Any, kind: str) -> None:
        """Adds the metric without its points."""
        new = items.add(name=item.name, description=item.description, unit=item.unit, metadata=item.metadata)
        data = getattr(new, kind)
        data.SetInParent()
        for field, value in getattr(item, kind).ListFields():
            if field.name != "data_points":
                setattr(data, field.name, value)


SPANS = Form(
    trace_service_pb2.ExportTraceServiceRequest,
    *("resource_spans", "scope_spans", "spans"),
    trace_pb2.Span,
    files=(trace_pb2, trace_service_pb2),
    below=({"attributes": 9, "events": 11, "links": 13},),
    ids=(1, 2),
    noun="span",
)
LOG_RECORDS = Form(
    logs_service_pb2.ExportLogsServiceRequest,
    *("resource_logs", "scope_logs", "log_records"),
    logs_pb2.LogRecord,
    files=(logs_pb2, logs_service_pb2),
    below=({"attributes": 6},),
    ids=(9, 10),
    noun="log record",
)
_OF_POINTS = {"attributes_1": 1, "attributes": 7, "attributes_9": 9, "exemplars": 5, "exemplars_8": 8, "exemplars_11": 11}
"""The repeated fields of the messages for data points. They have them under different numbers."""
DATA_POINTS = _MetricForm(
    metrics_service_pb2.ExportMetricsServiceRequest,
    *("resource_metrics", "scope_metrics", "metrics"),
    metrics_pb2.Metric,
    files=(metrics_pb2, metrics_service_pb2),
    below=(POINT_KINDS, {"data_points": 1}, _OF_POINTS),
    ids=None,
    noun="data point",
)
