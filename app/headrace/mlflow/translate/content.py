"""The text of `spans.content`, which equals MLflow's byte for byte. Pure; no I/O.

Source: mlflow/entities/span.py `Span.from_otel_proto`, `Span.to_dict`; mlflow/tracing/utils `dump_span_attribute_value` (3.17).
"""

import json
import math
from base64 import b64encode
from binascii import b2a_base64 as base64
from functools import lru_cache
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from headrace.mlflow.json_text import LONG, JsonText, dumps, quote, quote_short
from headrace.mlflow.keys import to_trace_id
from headrace.mlflow.translate.origin import is_exact
from headrace.otlp.attributes import to_dict, to_python

NO_PARENT = bytes(8)
"""A parent id of zeroes says the same as none."""

_JSON_CHARACTERS = frozenset('"{[ \t\n\r')
"""What a text begins with that may be JSON: see `inner`."""

_SENT_EACH_TIME = frozenset({"gen_ai.tool.definitions", "gen_ai.system_instructions"})
"""What an agent sends with each call of a model, the same again."""
_MAX_REMEMBERED = 16 * 1024
"""Characters of it that are remembered."""

Dumped = tuple[dict[str, str], dict[str, str], bool]
"""The attributes of a span, each dumped as JSON; the texts among them that may themselves be JSON (see `inner`); whether all
come back the same from the JSON. No class: it is made for each span."""


def dump_all(span: Span) -> Dumped:
    """MLflow's `dump_span_attribute_value` of all attributes."""
    dumped: dict[str, str] = {}
    maybe_json: dict[str, str] = {}
    exact = True
    for pair in span.attributes:
        value = pair.value
        if text := value.string_value:  # by far the most, and cheaper to ask for than which kind it is
            dumped[pair.key] = quote_short(text) if len(text) < LONG else _quoted(pair.key, text)
            if text[0] in _JSON_CHARACTERS:
                maybe_json[pair.key] = text
            continue
        kind = value.WhichOneof("value")
        if kind == "int_value":
            dumped[pair.key] = str(value.int_value)
        elif kind == "bool_value":
            dumped[pair.key] = "true" if value.bool_value else "false"
        elif kind == "double_value" and math.isfinite(value.double_value):
            dumped[pair.key] = repr(value.double_value)
        else:
            dumped[pair.key] = dumps(to_python(value))
            exact = exact and is_exact(value)
    if len(dumped) != len(span.attributes):  # a key came twice
        exact, maybe_json = False, {key: text for key, text in maybe_json.items() if dumped[key] == quote(text)}
    return dumped, maybe_json, exact


def _quoted(key: str, text: str) -> str:
    """The JSON of a long text."""
    if key not in _SENT_EACH_TIME or len(text) > _MAX_REMEMBERED:
        return quote(text)
    made = _remembered(text)
    return made.quoted if type(made) is JsonText else made


@lru_cache(maxsize=64)
def _remembered(text: str) -> str:
    """`inner` of a text that comes with each call of an agent. Nobody changes what it says. All take some 10 MB at most."""
    return inner(text, quote(text))


def inner(text: str, dumped: str) -> str:
    """MLflow's `sanitize_attributes` for one value: a text that is itself JSON loses its outer layer. `dumped`: its JSON."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return dumped
    return JsonText.of(text, value, dumped) if isinstance(value, str | dict | list) else dumped


def inner_texts(dumped: Dumped) -> dict[str, str]:
    """The same for all attributes of a span: those that change, or may."""
    values, maybe_json, _ = dumped
    return {
        key: _remembered(text) if key in _SENT_EACH_TIME and LONG <= len(text) <= _MAX_REMEMBERED else inner(text, values[key])
        for key, text in maybe_json.items()
    }


def open_content(span: Span, attributes: dict[str, Any], status_name: str) -> str:
    """`dumps` of MLflow's `Span.from_otel_proto(span).to_dict()`, with these attributes. The last brace is missing: the note
    comes before it, and a long text is not copied to take it away again."""
    pairs = ", ".join(
        [
            f"{quote_short(key)}: {quote_short(value) if type(value) is str and len(value) < LONG else _json(value)}"
            for key, value in attributes.items()
        ]
    )
    parent_id, status = span.parent_span_id, span.status
    parent = f'"{base64(parent_id, newline=False).decode()}"' if parent_id and parent_id != NO_PARENT else "null"
    # The SDK, through which MLflow's spans go, keeps a message only on an error.
    message = quote(status.message) if status_name == "STATUS_CODE_ERROR" else '""'
    return (
        f'{{"trace_id": "{base64(span.trace_id, newline=False).decode()}", '
        f'"span_id": "{base64(span.span_id, newline=False).decode()}", '
        f'"parent_span_id": {parent}, "name": {quote(span.name)}, "start_time_unix_nano": {span.start_time_unix_nano}, '
        f'"end_time_unix_nano": {span.end_time_unix_nano}, "events": {dumps(events_of(span)) if span.events else "[]"}, '
        f'"status": {{"code": "{status_name}", "message": {message}}}, "attributes": {{{pairs}}}, '
        f'"links": {dumps(_links(span)) if span.links else "[]"}'
    )


def _json(value: Any) -> str:
    return value.quoted if type(value) is JsonText else quote(value) if type(value) is str else dumps(value)


def events_of(span: Span) -> list[dict[str, Any]]:
    """A span's events as in MLflow's `Span.to_dict`."""
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
