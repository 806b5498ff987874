"""The text of `spans.content`, which equals MLflow's byte for byte. Pure; no I/O.

Source: mlflow/entities/span.py `Span.from_otel_proto`, `Span.to_dict`; mlflow/tracing/utils `dump_span_attribute_value` (3.17).
"""

import json
from base64 import b64encode
from binascii import b2a_base64 as base64
from functools import lru_cache
from json.encoder import encode_basestring as quote
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from headrace.mlflow.keys import to_trace_id
from headrace.mlflow.translate.origin import is_exact
from headrace.otlp.attributes import to_dict, to_python

NO_PARENT = bytes(8)
"""A parent id of zeroes says the same as none."""

_MAYBE_JSON = ('"\\', '"{', '"[', '" ')
"""What the JSON of a text begins with that may itself be JSON: see `sanitized`."""

_JSON_STARTS = ('"', "{", "[", " ", "\t", "\n", "\r")
_JSON_CHARACTERS = frozenset(_JSON_STARTS)


Dumped = tuple[dict[str, str], list[str], bool]
"""The attributes of a span, each dumped as JSON; the keys of texts that may themselves be JSON (see `sanitized`); whether all
come back the same from the JSON. No class: it is made for each span."""


def dump_all(span: Span) -> Dumped:
    """MLflow's `dump_span_attribute_value` of all attributes."""
    dumped: dict[str, str] = {}
    maybe_json: list[str] = []
    exact = True
    for pair in span.attributes:
        value = pair.value
        if text := value.string_value:  # by far the most, and cheaper to ask for than which kind it is
            dumped[pair.key] = quote(text)
            if text[0] in _JSON_CHARACTERS:
                maybe_json.append(pair.key)
            continue
        kind = value.WhichOneof("value")
        if kind == "int_value":
            dumped[pair.key] = str(value.int_value)
        elif kind == "bool_value":
            dumped[pair.key] = "true" if value.bool_value else "false"
        else:
            dumped[pair.key] = dumps(to_python(value))
            exact = exact and is_exact(value)
    return dumped, maybe_json, exact and len(dumped) == len(span.attributes)


def sanitized(dumped: str) -> str:
    """MLflow's `sanitize_attributes` for one value: the JSON of a text that is itself JSON loses its outer layer."""
    return _without_outer_layer(dumped) if dumped.startswith(_MAYBE_JSON) else dumped


@lru_cache(maxsize=256)  # asked for once by MLflow's translation, and again for the note of what it changed
def _without_outer_layer(dumped: str) -> str:
    text: str = json.loads(dumped)
    if text.startswith(_JSON_STARTS):
        try:
            if isinstance(json.loads(text), str | dict | list):
                return text
        except (ValueError, RecursionError):
            pass
    return dumped


def sanitized_attributes(attributes: dict[str, str]) -> dict[str, str]:
    """MLflow's `sanitize_attributes`."""
    return {key: sanitized(value) for key, value in attributes.items()}


def content_text(span: Span, attributes: dict[str, str], status_name: str) -> str:
    """`json.dumps` of `span_dict`, for attributes that are all texts."""
    pairs = ", ".join([f"{quote(key)}: {quote(value)}" for key, value in attributes.items()])
    parent_id, status = span.parent_span_id, span.status
    parent = f'"{base64(parent_id, newline=False).decode()}"' if parent_id and parent_id != NO_PARENT else "null"
    message = quote(status.message) if status_name == "STATUS_CODE_ERROR" else '""'
    return (
        f'{{"trace_id": "{base64(span.trace_id, newline=False).decode()}", '
        f'"span_id": "{base64(span.span_id, newline=False).decode()}", '
        f'"parent_span_id": {parent}, "name": {quote(span.name)}, "start_time_unix_nano": {span.start_time_unix_nano}, '
        f'"end_time_unix_nano": {span.end_time_unix_nano}, "events": {dumps(_events(span)) if span.events else "[]"}, '
        f'"status": {{"code": "{status_name}", "message": {message}}}, "attributes": {{{pairs}}}, '
        f'"links": {dumps(_links(span)) if span.links else "[]"}}}'
    )


def span_dict(span: Span, attributes: dict[str, str], status_name: str) -> dict[str, Any]:
    """As MLflow's `Span.from_otel_proto(span).to_dict()`."""
    return {
        "trace_id": b64encode(span.trace_id).decode(),
        "span_id": b64encode(span.span_id).decode(),
        "parent_span_id": b64encode(span.parent_span_id).decode() if span.parent_span_id.strip(b"\0") else None,
        "name": span.name,
        "start_time_unix_nano": span.start_time_unix_nano,
        "end_time_unix_nano": span.end_time_unix_nano,
        "events": _events(span),
        # The SDK, through which MLflow's spans go, keeps a message only on an error.
        "status": {"code": status_name, "message": span.status.message if status_name == "STATUS_CODE_ERROR" else ""},
        "attributes": attributes,
        "links": _links(span),
    }


def _events(span: Span) -> list[dict[str, Any]]:
    return [
        {"name": event.name, "time_unix_nano": event.time_unix_nano, "attributes": to_dict(event.attributes)}
        for event in span.events
    ]


def _links(span: Span) -> list[dict[str, Any]]:
    """As MLflow's `Link.from_otel_proto`: bytes as base64, but only those that are values themselves."""
    links = []
    for link in span.links:
        attributes = {
            key: b64encode(value).decode() if isinstance(value, bytes) else value
            for key, value in to_dict(link.attributes).items()
        }
        trace_id, span_id = link.trace_id.lstrip(b"\0").rjust(16, b"\0"), link.span_id.lstrip(b"\0").rjust(8, b"\0")
        links.append({"trace_id": to_trace_id(trace_id), "span_id": span_id.hex(), "attributes": attributes or None})
    return links


dumps = json.JSONEncoder(default=str, ensure_ascii=False).encode
"""As MLflow's `json.dumps`; bytes become the text of their Python literal. Made once: half of a short value's time else."""
