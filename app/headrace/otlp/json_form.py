"""Where the records stand in the OTLP/JSON of a signal: the names of its levels, and the parts of a record. No I/O."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from headrace.otlp.form import DATA_POINTS, POINT_KINDS, SPANS, Form

_KINDS = (*POINT_KINDS, "exponentialHistogram")
_POINTS = ("dataPoints", "data_points")

Names = tuple[str, ...]
"""The names of one field: as the specification writes it, and as the .proto file does. Protobuf reads both."""


@dataclass(frozen=True)
class JsonForm:
    """The names of one signal's levels in JSON."""

    form: Form
    resources: Names
    scopes: Names
    items: Names
    old_scopes: Names
    """What the scopes were called in OTLP 0.9 to 0.19."""

    @property
    def known(self) -> tuple[frozenset[str], ...]:
        """The keys of a request, of its resources and of its scopes."""
        schema = ("schemaUrl", "schema_url")
        return (
            frozenset(self.resources),
            frozenset({"resource", *self.scopes, *schema}),
            frozenset({"scope", *self.items, *schema}),
        )

    def each_resource(self, data: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Each resource of a request."""
        yield from _holders(_get(data, self.resources))

    def each_scope(self, data: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Each scope of a request."""
        for resource in self.each_resource(data):
            yield from _holders(_get(resource, self.scopes))

    def items_of(self, scope: dict[str, Any]) -> list[Any]:
        """The items of a scope. Raises TypeError if they are no list."""
        items = _get(scope, self.items) or []
        if not isinstance(items, list):
            raise TypeError(f"{self.items[0]} is not a list")
        return items

    def replace_items(self, scope: dict[str, Any], items: list[Any]) -> None:
        """Gives a scope other items."""
        for name in self.items:
            scope.pop(name, None)
        scope[self.items[0]] = items

    def each_item(self, data: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Each item of a request that is an object."""
        for scope in self.each_scope(data):
            yield from (item for item in self.items_of(scope) if isinstance(item, dict))

    def count_records(self, data: dict[str, Any]) -> int:
        """How many records a request holds."""
        points = self.form is DATA_POINTS
        return sum(sum(1 for _ in points_of(item)) if points else 1 for item in self.each_item(data))

    def with_ids(self, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The objects in an item that have ids: a span and its links, a log record, the exemplars of data points."""
        if self.form is DATA_POINTS:
            for point in points_of(item):
                yield from _objects(point.get("exemplars"))
            return
        yield item
        if self.form is SPANS:
            yield from _objects(item.get("links"))


@cache
def json_form(form: Form) -> JsonForm:
    """The names of a form in JSON."""
    request: Any = form.request.DESCRIPTOR
    resource = request.fields_by_name[form.resources]
    scope = resource.message_type.fields_by_name[form.scopes]
    item = scope.message_type.fields_by_name[form.items]
    resources, scopes, items = (tuple(dict.fromkeys((field.json_name, field.name))) for field in (resource, scope, item))
    kind = form.scopes.removeprefix("scope_")
    return JsonForm(
        form, resources, scopes, items, (f"instrumentationLibrary{kind.title()}", f"instrumentation_library_{kind}")
    )


def points_of(metric: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The data points of a metric that are objects."""
    for data in _data_of(metric):
        for name in _POINTS:
            yield from _objects(data.get(name))


def split_points(metric: dict[str, Any]) -> Iterator[tuple[list[Any], dict[str, Any], dict[str, Any]]]:
    """For each list of data points in a metric: the list itself, and the metric and its data as copies, the data without
    points."""
    for kind in _KINDS:
        data: Any = metric.get(kind)
        for name in _POINTS if isinstance(data, dict) else ():
            if isinstance(points := data.get(name), list):
                bare = {key: value for key, value in data.items() if key not in _POINTS}
                yield points, metric | {kind: bare}, bare


def _data_of(metric: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from (data for kind in _KINDS if isinstance(data := metric.get(kind), dict))


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """The objects in a list. None if it is no list: then its item is left out later."""
    yield from (item for item in value if isinstance(item, dict)) if isinstance(value, list) else ()


def _holders(values: Any) -> Iterator[dict[str, Any]]:
    """The objects in a list of resources or scopes. Raises TypeError if something else than null is between them."""
    for value in values or ():
        if isinstance(value, dict):
            yield value
        elif value is not None:
            raise TypeError(f"{str(value)[:50]!r} is not an object")


def _get(holder: dict[str, Any], names: Sequence[str]) -> Any:
    return next((value for name in names if (value := holder.get(name))), None)
