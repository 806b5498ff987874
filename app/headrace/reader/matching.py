"""Whether a span has what a `Query` asks for. Pure; no I/O."""

import re
from collections.abc import Mapping
from json.encoder import encode_basestring as quote

from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

from headrace.otlp.attributes import to_dict, to_text
from headrace.reader import Query

_TRUE, _FALSE = "true", "false"
_MOST_TEXTS = 8
_PLAIN = re.compile(r"[ -~]*")
_NOT_PLAIN = frozenset("\"'\\[]{}")
"""JSON writes them otherwise, or a value that has them may be no text: a list, a map, bytes."""


def wanted_error(query: Query) -> bool | None:
    """Whether the span must have failed. None: either."""
    said = query.attributes.get("error", "").lower()
    return {_TRUE: True, _FALSE: False}.get(said, query.error)


def wanted_attributes(query: Query) -> dict[str, str]:
    """The attributes that must be there, without `error`, which is a status."""
    return {key: value for key, value in query.attributes.items() if key != "error" or value.lower() not in (_TRUE, _FALSE)}


def texts_of(wanted: Mapping[str, str]) -> list[dict[str, str | bytes]]:
    """How attributes stand in the rows of a span that has them, for the first few: `matching` looks for it.

    `key`, and `shared_key` in the origin, which is protobuf. `value`: in the content, which is JSON of JSON; with its key as
    `text`, or as `bare`, a number or a truth. Empty: it may be spelled in several ways, as 1e3. `shared`: the value in the
    origin; empty where it is no text there.
    """
    found: list[dict[str, str | bytes]] = []
    for key, value in wanted.items():
        if not key or quote(key) != f'"{key}"' or "\0" in key or len(found) == _MOST_TEXTS:
            continue
        number = _is_number(value)
        plain = _PLAIN.fullmatch(value) is not None and not _NOT_PLAIN & set(value) and value != ""
        own = plain and (value.isdigit() or not number)
        found.append(
            {
                "key": f'"{key}"',
                "value": value if own else "",
                "text": f'"{key}": "\\"{value}\\""' if own else "",
                "bare": f'"{key}": "{value}"' if own else "",
                "shared_key": KeyValue(key=key).SerializeToString(),
                "shared": value.encode() if plain and not number and value not in (_TRUE, _FALSE) else b"",
            }
        )
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


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
