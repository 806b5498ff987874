"""What Headrace adds to MLflow's rows unless HEADRACE_ENRICH=false. No I/O.

A plain OpenTelemetry trace can be read at a glance, and what OTLP says beside a span's attributes is kept.

Nothing here overwrites what the client sent. Attribute names are OpenTelemetry's own
(https://opentelemetry.io/docs/specs/otel/common/mapping-to-non-otlp/).
"""

from collections.abc import Mapping
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from headrace.mlflow.json_text import loads, quote

_KINDS = ("", '"internal"', '"server"', '"client"', '"producer"', '"consumer"')
_METHOD = ("http.request.method", "http.method")
_PATH = ("url.path", "http.target")
_URL = ("url.full", "http.url")
_HTTP_STATUS = ("http.response.status_code", "http.status_code")
_GENAI_TARGET = (
    "gen_ai.agent.name",
    "gen_ai.tool.name",
    "gen_ai.workflow.name",
    "gen_ai.request.model",
    "gen_ai.response.model",
)
_DB_OPERATION = ("db.operation.name", "db.operation")
_DB_TARGET = ("db.collection.name", "db.sql.table")
_DROPPED = tuple((name, f"otel.{name}") for name in ("dropped_attributes_count", "dropped_events_count", "dropped_links_count"))
_GENAI = ("gen_ai.operation.name",)
FAILED = "ERROR"
"""What the preview of a root says that failed."""
_MAX_PREVIEW = 1000
_MAX_SHARED = 1024
"""Characters of a value that each span of a scope is given: what is sent once is stored as often as there are spans. The whole
value stays in `headrace.origin`."""


SCOPE = "otel.scope.name"
"""The attribute that says which instrumentation made a span."""
_OF_A_RESOURCE = {
    "service.name": "service.name",
    "session.id": "session.id",
    "user.id": "user.id",
    "enduser.id": "user.id",
}
"""Attributes of a resource → those that its spans get."""


def shared_attributes(resource_spans: ResourceSpans, scope_spans: ScopeSpans) -> dict[str, str]:
    """What each span of a scope is given (values dumped as JSON): its own service, the session and the user of a process that
    has but one, the scope's name and version.

    A value of more than `_MAX_SHARED` characters is cut.
    """
    added = {}
    for pair in resource_spans.resource.attributes:
        if (
            (key := _OF_A_RESOURCE.get(pair.key))
            and (text := pair.value.string_value)
            and (key == pair.key or key not in added)
        ):
            added[key] = quote(_cut(text, _MAX_SHARED))
    if scope_spans.scope.name:
        added[SCOPE] = quote(_cut(scope_spans.scope.name, _MAX_SHARED))
    if scope_spans.scope.version:
        added["otel.scope.version"] = quote(_cut(scope_spans.scope.version, _MAX_SHARED))
    return added


def add_attributes(attributes: dict[str, Any], span: Span, shared: Mapping[str, str]) -> tuple[str, ...]:
    """Adds what `shared_attributes` says, and the span's kind, trace state and dropped counts; returns the new keys."""
    added = []
    for key, value in shared.items():
        if key not in attributes and not (key == "session.id" and "gen_ai.conversation.id" in attributes):
            attributes[key] = value
            added.append(key)
    if 0 < span.kind < len(_KINDS) and "span.kind" not in attributes:
        attributes["span.kind"] = _KINDS[span.kind]
        added.append("span.kind")
    if span.trace_state and "otel.trace_state" not in attributes:
        attributes["otel.trace_state"] = quote(span.trace_state)
        added.append("otel.trace_state")
    for field, key in _DROPPED:
        if (count := getattr(span, field)) and key not in attributes:
            attributes[key] = str(count)
            added.append(key)
    return tuple(added)


def request_preview(name: str, attributes: Mapping[str, Any]) -> str:
    """A root span in a few words: `chat gpt-4o`, `POST /orders/5`, `SELECT orders`, or its name."""
    if operation := _first(attributes, _GENAI):
        target = _first(attributes, _GENAI_TARGET)
        return _cut(f"{operation} {target}" if target else name)
    if method := _first(attributes, _METHOD):
        target = _called(attributes)
        return _cut(f"{method} {target}" if target else name if method in name else f"{method} {name}")
    if summary := _first(attributes, ("db.query.summary",)):
        return _cut(summary)
    if operation := _first(attributes, _DB_OPERATION):
        target = _first(attributes, _DB_TARGET)
        return _cut(f"{operation} {target}" if target else name)
    return _cut(name)


def _called(attributes: Mapping[str, Any]) -> str:
    """The path that was called, `/orders/5`; else its route, `/orders/{id}`; of a client that tells neither, the address."""
    if path := _first(attributes, _PATH):
        return path.partition("?")[0]
    url, route = _first(attributes, _URL), _first(attributes, ("http.route",))
    if not route:
        return url
    _, _, rest = url.partition("://")
    _, slash, path = rest.partition("/")
    return f"/{path.partition('?')[0].partition('#')[0]}" if slash else route


def response_preview(span: Span, attributes: Mapping[str, Any]) -> str:
    """How a root span ended: `ERROR: <message>`, the HTTP status, or `OK`."""
    if span.status.code == span.status.STATUS_CODE_ERROR:
        message = failure(span) or _first(attributes, ("error.type", *_HTTP_STATUS))
        return _cut(f"{FAILED}: {message}" if message else FAILED)
    return "OK" if _first(attributes, _GENAI) else _cut(_first(attributes, _HTTP_STATUS)) or "OK"


def failure_preview(span: Span) -> str:
    """The preview of a root that only says that it failed, as a span below it says why."""
    return _cut(f"{FAILED}: {failure(span)}")


def is_transport(span: Span, attributes: Mapping[str, Any]) -> bool:
    """Whether a root only carries what an agent below it does: a request over HTTP or RPC, which has no words of its own."""
    if _first(attributes, _GENAI):
        return False
    return span.kind in (span.SPAN_KIND_SERVER, span.SPAN_KIND_CONSUMER) or bool(_first(attributes, (*_METHOD, "rpc.system")))


def failure(span: Span) -> str:
    """Why a span failed, in words: the message of its status, or its last exception. Empty: it does not say."""
    return span.status.message or _exception(span)


def _exception(span: Span) -> str:
    """The last exception that the span recorded."""
    for event in reversed(span.events):
        if event.name == "exception":
            found = {pair.key: pair.value.string_value for pair in event.attributes}
            parts = (found.get("exception.type", ""), found.get("exception.message", ""))
            return ": ".join(part for part in parts if part)
    return ""


def _first(attributes: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    """The first of these attributes that is there, as text."""
    for key in keys:
        if dumped := attributes.get(key):
            try:
                value = loads(dumped)
            except (ValueError, TypeError):
                value = dumped
            if text := str(value):
                return text
    return ""


def _cut(text: str, limit: int = _MAX_PREVIEW) -> str:
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
