"""Whether a span has what a `Query` asks for. Pure; no I/O."""

from collections.abc import Mapping

from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

from headrace.otlp.attributes import to_dict, to_text
from headrace.reader import Query

_TRUE, _FALSE = "true", "false"


def wanted_error(query: Query) -> bool | None:
    """Whether the span must have failed. None: either."""
    said = query.attributes.get("error", "").lower()
    return {_TRUE: True, _FALSE: False}.get(said, query.error)


def wanted_attributes(query: Query) -> dict[str, str]:
    """The attributes that must be there, without `error`, which is a status."""
    return {key: value for key, value in query.attributes.items() if key != "error" or value.lower() not in (_TRUE, _FALSE)}


def has_attributes(wanted: Mapping[str, str], span: Span, resource_spans: ResourceSpans) -> bool:
    """Whether all of these are attributes of the span, or of its resource, compared as texts."""
    if not wanted:
        return True
    own, shared = to_dict(span.attributes), to_dict(resource_spans.resource.attributes)
    return all(
        any(key in values and to_text(values[key]) == value for values in (own, shared)) for key, value in wanted.items()
    )


def service_of(resource_spans: ResourceSpans) -> str:
    """The resource's `service.name`. Empty: it has none."""
    return to_text(to_dict(resource_spans.resource.attributes).get("service.name"))
