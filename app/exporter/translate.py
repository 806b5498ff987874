"""OTLP → rows: one request becomes, for each of its traces, what MLflow's `log_spans` would make of it. Pure; no I/O.

The text of `spans.content` equals MLflow's byte for byte (its span-attribute search matches that text), so it is made as
MLflow makes it: `json.dumps` of `Span.to_dict()`, with attribute values dumped once more inside. A span of which no translator
asks anything, as most, is written straight into that text; the others go through MLflow's own translation.

Source: mlflow/entities/span.py `Span.from_otel_proto`, `Span.to_dict`; mlflow/store/tracking/sqlalchemy_store.py
`_log_spans_once` (3.17).
"""

import json
from base64 import b64encode
from binascii import b2a_base64 as base64
from collections import Counter
from functools import lru_cache
from json.encoder import encode_basestring as quote
from typing import Any, NamedTuple

from mlflow.exceptions import MlflowException
from mlflow.store.tracking.utils.trace_analytics import bounded_model_dimension, finite_float_or_none
from mlflow.utils.validation import MAX_TRACE_TAG_KEY_LENGTH, MAX_TRACE_TAG_VAL_LENGTH, _validate_tag_name
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceProto
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span
from opentelemetry.sdk.resources import Resource

from app.exporter import Delivery
from app.exporter.enrich import add_attributes, request_preview, response_preview, shared_attributes
from app.exporter.genai import EVENTS, asks, translate
from app.exporter.origin import Origin, is_exact, origin_of, otlp_note
from app.exporter.rows import Node, Root, SpanRow, TracePart, column_text
from app.otlp.attributes import to_dict, to_python
from app.queue import envelope_pb2 as pb

KNOWN_SERVICE_NAMES = frozenset({"claude-code", "codex_cli_rs", "codex_vscode", "gemini-cli", "qwen-code"})
"""The services whose name MLflow's endpoint puts on their root spans (`_KNOWN_SERVICE_NAMES` there; a test compares)."""

SPANS_LOCATION = "mlflow.trace.spansLocation"
"""The tag by which MLflow finds a trace's spans."""

_REQUEST_ID = "mlflow.traceRequestId"
_SPAN_TYPE = "mlflow.spanType"
_TAG_PREFIX = "mlflow.traceTag."
_TRACE_NAME = "mlflow.traceName"
_STATUS = (("UNSET", "STATUS_CODE_UNSET"), ("OK", "STATUS_CODE_OK"), ("ERROR", "STATUS_CODE_ERROR"))
_NO_PARENT = bytes(8)
_MAX_SESSION = 250
_MAX_TRACE_NAME = 4096
_MAX_USER = 8000
_MAX_TYPE = 500
_MAYBE_JSON = ('"\\', '"{', '"[', '" ')
_JSON_STARTS = ('"', "{", "[", " ", "\t", "\n", "\r")
"""What a text begins with that is itself the JSON of a string, an object or an array (or that may, after blanks)."""

Repairs = Counter[str]


class _Context(NamedTuple):
    """What the spans of one resource share."""

    tags: dict[str, str] | None
    service: str | None
    """The name of a service that MLflow knows; it goes onto root spans."""
    added: dict[str, str] | None
    """What enrichment gives each span; None where it is off."""
    origin: Origin | None
    """What the spans came with; None where enrichment is off."""
    repaired: Repairs


def to_parts(delivery: Delivery, repaired: Repairs, enrich: bool = False) -> list[TracePart]:
    """One request → a part for each of its traces (and experiments), in the order in which MLflow would handle them.

    Of a span that comes twice in one request the last stands, in the first one's place. What MLflow would break on is
    repaired, and counted in `repaired` by the name of the rule.
    """
    parts: dict[tuple[str, str], TracePart] = {}
    for resource_spans, destination in zip(delivery.request.resource_spans, delivery.destinations, strict=True):
        tags, service = _resource_tags(resource_spans.resource, repaired), known_service(resource_spans)
        experiment_id = destination.experiment_id
        implicit = destination.routed_by in (pb.ROUTED_BY_RULE, pb.ROUTED_BY_DEFAULT)
        for scope in resource_spans.scope_spans:
            added = shared_attributes(resource_spans, scope) if enrich else None
            context = _Context(tags, service, added, origin_of(resource_spans, scope) if enrich else None, repaired)
            for span in scope.spans:
                trace_id = f"tr-{span.trace_id.hex()}"
                part = parts.get((experiment_id, trace_id))
                if part is None:
                    part = parts[experiment_id, trace_id] = TracePart(trace_id, int(experiment_id), run_id=delivery.run_id)
                    part.implicit = implicit
                _add_span(part, span, context)
    return list(parts.values())


def _add_span(part: TracePart, span: Span, context: _Context) -> None:
    row, attributes, plain = to_row(part.trace_id, span, context)
    if row.span_id in part.spans:
        context.repaired["duplicate_span"] += 1
    part.spans[row.span_id] = row
    part.nodes[row.span_id] = (
        Node(row.span_id, row.parent_span_id, None, None) if plain else to_node(row.span_id, row.parent_span_id, attributes)
    )
    if part.resource_tags is None:
        part.resource_tags = context.tags
    if context.origin is not None:
        part.origins[context.origin.digest] = context.origin.data
    if row.parent_span_id is None and not plain:
        _read_root(part, attributes, context.repaired)
    session, user = _session_and_user(attributes, context.repaired)
    part.session_id = session if part.session_id is None else part.session_id
    part.user_id = user if part.user_id is None else part.user_id
    if context.origin is not None:
        part.origins[context.origin.digest] = context.origin.data
        _gather(part, span, row, attributes, context)


def _session_and_user(attributes: dict[str, Any], repaired: Repairs) -> tuple[str | None, str | None]:
    session = attributes.get("session.id") or attributes.get("gen_ai.conversation.id")
    user = attributes.get("user.id")
    return (
        _cut(_unquoted(session), _MAX_SESSION, "session_id_cut", repaired) if session else None,
        _cut(_unquoted(user), _MAX_USER, "user_id_cut", repaired) if user else None,
    )


def _gather(part: TracePart, span: Span, row: SpanRow, attributes: dict[str, Any], context: _Context) -> None:
    """For enrichment: what the root says, and what the other spans say, apart."""
    session, user = _session_and_user(attributes, Counter())
    if row.parent_span_id is not None:
        for key, value in (context.tags or {}).items():
            part.other_tags[key] = min(value, part.other_tags.get(key, value))
        part.other_session = smaller(part.other_session, session)
        part.other_user = smaller(part.other_user, user)
    elif part.root is None or (row.start_time_unix_nano, row.span_id) <= part.root[:2]:
        tags, trace_name = root_tags(attributes, Counter())
        part.root = Root(
            row.start_time_unix_nano,
            row.span_id,
            "ERROR" if row.status == "ERROR" else "OK",
            attributes.get("mlflow.spanInputs"),
            attributes.get("mlflow.spanOutputs"),
            row.name[:_MAX_TRACE_NAME],
            storable(request_preview(row.name, attributes), Counter()),
            storable(response_preview(span, attributes), Counter()),
            trace_name,
            session or None,
            user or None,
            (context.tags or {}) | tags,
        )


def smaller(one: str | None, other: str | None) -> str | None:
    """The smaller of two values that are there: the choice that does not depend on which came first."""
    return min(filter(None, (one, other)), default=None)


def to_node(span_id: str, parent_id: str | None, attributes: dict[str, Any]) -> Node:
    """The span's own token usage and cost. Figures that are none, on which MLflow loses the request, are left out."""
    usage, cost = (
        {key: figure for key, figure in figures.items() if isinstance(figure, int | float)} if figures is not None else None
        for figures in (to_object(attributes.get("mlflow.chat.tokenUsage")), to_object(attributes.get("mlflow.llm.cost")))
    )
    return Node(span_id, parent_id, usage, cost)


def _read_root(part: TracePart, attributes: dict[str, Any], repaired: Repairs) -> None:
    part.root_inputs = attributes.get("mlflow.spanInputs")
    part.root_outputs = attributes.get("mlflow.spanOutputs")
    tags, trace_name = root_tags(attributes, repaired)
    part.trace_tags |= tags
    part.trace_name = part.trace_name if trace_name is None else trace_name


def root_tags(attributes: dict[str, Any], repaired: Repairs) -> tuple[dict[str, str], str | None]:
    """The trace's tags and name that MLflow's SDK puts on the root span, as `mlflow.traceTag.*`."""
    tags: dict[str, str] = {}
    trace_name = None
    for key, value in attributes.items():
        if not key.startswith(_TAG_PREFIX) or not _is_tag_key(name := key[len(_TAG_PREFIX) :]):
            continue
        if name == SPANS_LOCATION:  # MLflow takes it, then finds the trace's spans no more
            repaired["reserved_tag_dropped"] += 1
            continue
        text = str(_unquoted(value))[:MAX_TRACE_TAG_VAL_LENGTH]
        if name == _TRACE_NAME:
            trace_name = _cut(text, _MAX_TRACE_NAME, "trace_name_cut", repaired)
        else:
            tags[name] = storable(text, repaired)
    return tags, trace_name


def to_row(trace_id: str, span: Span, context: _Context) -> tuple[SpanRow, dict[str, Any], bool]:
    """One span → its row, its attributes as MLflow stores them (values dumped as JSON), and whether it is a plain one.

    A plain span has no attribute and no event that a translator or MLflow itself reads.
    """
    parent = span.parent_span_id
    parent_id = parent.hex() if parent and parent != _NO_PARENT else None
    sent = {pair.key: _dump(pair.value) for pair in span.attributes}
    plain = not asks(tuple(sent)) and not (span.events and any(event.name in EVENTS for event in span.events))
    attributes: dict[str, Any] = sent | {_REQUEST_ID: f'"{trace_id}"'}
    if context.service and parent_id is None:
        attributes["service.name"] = quote(context.service)
    status, status_name = _STATUS[span.status.code] if 0 <= span.status.code <= 2 else _STATUS[0]
    if plain:
        for key in [key for key, value in attributes.items() if value.startswith(_MAYBE_JSON)]:
            attributes[key] = _sanitized(attributes[key])
        columns = _NO_COLUMNS
    else:
        content = _translated(span, attributes, status_name, context.repaired)
        attributes = content["attributes"]
        columns = _columns(span, attributes, context)
    if context.added is not None:
        add_attributes(attributes, span, context.added)
    text = _content(span, attributes, status_name) if plain else _dumps(content)
    row = SpanRow(
        trace_id,
        span.span_id.hex(),
        parent_id,
        storable(span.name, context.repaired),
        columns[0],
        status,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _with_note(text, span, sent, attributes, context),
        *columns[1:],
    )
    return row, attributes, plain


def _with_note(text: str, span: Span, sent: dict[str, str], attributes: dict[str, Any], context: _Context) -> str:
    """The content, with what `origin.py` keeps beside it where enrichment is on."""
    stored = _encodable(text, context.repaired)
    if context.origin is None:
        return stored
    note: dict[str, Any] = {}
    if added := [key for key in attributes if key not in sent and key != _REQUEST_ID]:
        note["added"] = added
    if (request_id := sent.get(_REQUEST_ID)) is not None:
        note["sent"] = {_REQUEST_ID: request_id}
    for key, value in sent.items():
        if (now := attributes.get(key)) is not value and now != value:
            if value.startswith(_MAYBE_JSON) and _sanitized(value) == now:
                note.setdefault("texts", []).append(key)
            else:
                note.setdefault("sent", {})[key] = value
    exact = stored is text and len(sent) == len(span.attributes) and all(_is_exact(pair.value) for pair in span.attributes)
    return f'{stored[:-1]}, "otlp": {otlp_note(span, context.origin, note, exact)}}}'


def _is_exact(value: AnyValue) -> bool:
    return bool(value.string_value) or is_exact(value)


_Columns = tuple[str | None, float | None, float | None, float | None, str | None, str | None]
_NO_COLUMNS: _Columns = (None,) * 6


def _translated(span: Span, attributes: dict[str, Any], status_name: str, repaired: Repairs) -> dict[str, Any]:
    """The span as MLflow's translation leaves it."""
    content = _span_dict(span, attributes, status_name)
    try:
        return translate(content)
    except Exception:  # MLflow would reject the whole request: the span is stored as it came
        repaired["translation_failed"] += 1
        return content


def _columns(span: Span, attributes: dict[str, Any], context: _Context) -> _Columns:
    """type, input_cost, output_cost, total_cost, model_name, model_provider."""
    repaired = context.repaired
    span_type = _type(span)
    if context.added is not None and span_type in (None, "UNKNOWN") and (translated := attributes.get(_SPAN_TYPE)):
        span_type = _unquoted(translated)  # MLflow leaves the column empty: mlflow#24237
    cost = to_object(attributes.get("mlflow.llm.cost")) or {}
    return (
        span_type and _cut(span_type, _MAX_TYPE, "span_type_cut", repaired),
        finite_float_or_none(cost.get("input_cost")),
        finite_float_or_none(cost.get("output_cost")),
        finite_float_or_none(cost.get("total_cost")),
        _dimension(attributes.get("mlflow.llm.model"), repaired),
        _dimension(attributes.get("mlflow.llm.provider"), repaired),
    )


def _content(span: Span, attributes: dict[str, str], status_name: str) -> str:
    """`json.dumps` of `_span_dict`, for attributes that are all texts."""
    pairs = ", ".join([f"{quote(key)}: {quote(value)}" for key, value in attributes.items()])
    parent_id, status = span.parent_span_id, span.status
    parent = f'"{base64(parent_id, newline=False).decode()}"' if parent_id and parent_id != _NO_PARENT else "null"
    message = quote(status.message) if status_name == "STATUS_CODE_ERROR" else '""'
    return (
        f'{{"trace_id": "{base64(span.trace_id, newline=False).decode()}", '
        f'"span_id": "{base64(span.span_id, newline=False).decode()}", '
        f'"parent_span_id": {parent}, "name": {quote(span.name)}, "start_time_unix_nano": {span.start_time_unix_nano}, '
        f'"end_time_unix_nano": {span.end_time_unix_nano}, "events": {_dumps(_events(span)) if span.events else "[]"}, '
        f'"status": {{"code": "{status_name}", "message": {message}}}, "attributes": {{{pairs}}}, '
        f'"links": {_dumps(_links(span)) if span.links else "[]"}}}'
    )


def _span_dict(span: Span, attributes: dict[str, str], status_name: str) -> dict[str, Any]:
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
        trace_id, span_id = int.from_bytes(link.trace_id, "big"), int.from_bytes(link.span_id, "big")
        links.append({"trace_id": f"tr-{trace_id:032x}", "span_id": f"{span_id:016x}", "attributes": attributes or None})
    return links


def _dump(value: AnyValue) -> str:
    """MLflow's `dump_span_attribute_value` of an attribute's value."""
    if text := value.string_value:  # by far the most, and cheaper to ask for than which kind it is
        return quote(text)
    kind = value.WhichOneof("value")
    if kind == "int_value":
        return str(value.int_value)
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    return _dumps(to_python(value))


def _dumps(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)  # bytes as in MLflow: the text of their Python literal


def _sanitized(dumped: str) -> str:
    """MLflow's `sanitize_attributes` for one value: the JSON of a text that is itself JSON loses its outer layer."""
    text: str = json.loads(dumped)
    if text.startswith(_JSON_STARTS):
        try:
            if isinstance(json.loads(text), str | dict | list):
                return text
        except (ValueError, RecursionError):
            pass
    return dumped


def _type(span: Span) -> str | None:
    """MLflow's `Span.span_type`: the attribute as the client sent it, for the column `type`."""
    for pair in reversed(span.attributes):
        if pair.key == _SPAN_TYPE:
            value = to_python(pair.value)
            return None if value is None else column_text(value)
    return None


def _unquoted(value: Any) -> str:
    """MLflow's `_try_parse_json_string`: the text that the JSON holds, or the JSON itself where it holds no text."""
    try:
        parsed = json.loads(value)
    except (ValueError, TypeError):
        return str(value)
    return parsed if isinstance(parsed, str) else str(value)


def to_object(value: Any) -> dict[str, Any] | None:
    """A dict, or the JSON of one; None for anything else."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return value if isinstance(value, dict) else None


def _dimension(value: Any, repaired: Repairs) -> str | None:
    text = bounded_model_dimension(None if value is None else _unquoted(value))
    return text and storable(text, repaired)


def storable(text: str, repaired: Repairs) -> str:
    """Postgres' text cannot hold NUL, on which MLflow loses the whole request: it becomes U+FFFD."""
    if "\0" in text:
        repaired["nul_replaced"] += 1
        text = text.replace("\0", "\ufffd")
    return _encodable(text, repaired)


def _encodable(text: str, repaired: Repairs) -> str:
    """Half a surrogate pair (out of JSON within an attribute), on which MLflow loses the whole request, becomes U+FFFD."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            repaired["surrogate_replaced"] += 1
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _cut(text: str, limit: int, rule: str, repaired: Repairs) -> str:
    """What is longer than its column, on which MLflow rejects the whole request, is cut."""
    if len(text) > limit:
        repaired[rule] += 1
        text = text[:limit]
    return storable(text, repaired)


def known_service(resource_spans: ResourceSpans) -> str | None:
    """The name of the resource's service, if it is one of `KNOWN_SERVICE_NAMES`."""
    for pair in resource_spans.resource.attributes:
        if pair.key == "service.name":
            name = pair.value.string_value
            return name if name in KNOWN_SERVICE_NAMES else None
    return None


def _resource_tags(resource: ResourceProto, repaired: Repairs) -> dict[str, str] | None:
    """The trace tags that a resource gives, or None where it has no attributes (then another resource's may serve)."""
    if not resource.attributes:
        return None
    tags, nul = _tags_of(resource.SerializeToString(deterministic=True))
    if nul:
        repaired["nul_replaced"] += nul
    return tags


def stored_root(span_id: str, start: int, attributes: dict[str, Any], origin: bytes) -> Root:
    """A root span that is in Postgres already, as far as what it decides must not be overruled by later spans."""
    resource = ResourceSpans.FromString(origin).resource
    session, user = _session_and_user(attributes, Counter())
    tags, trace_name = root_tags(attributes, Counter())
    all_tags = (_resource_tags(resource, Counter()) or {}) | tags
    return Root(start, span_id, "", None, None, "", "", "", trace_name, session or None, user or None, all_tags)


@lru_cache(maxsize=1024)
def _tags_of(resource: bytes) -> tuple[dict[str, str] | None, int]:
    """Cached by the resource's bytes: the same few come with every request. The SDK's `Resource` cleans the values."""
    repaired: Repairs = Counter()
    attributes = Resource(to_dict(ResourceProto.FromString(resource).attributes)).attributes
    if not attributes:
        return None, 0
    tags = {}
    for key, value in attributes.items():
        if not key.startswith(("telemetry.sdk.", "mlflow.")) and _is_tag_key(key):
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            tags[key] = storable(text[:MAX_TRACE_TAG_VAL_LENGTH], repaired)
    return tags, repaired.total()


@lru_cache(maxsize=4096)
def _is_tag_key(key: str) -> bool:
    try:
        _validate_tag_name(key)  # type: ignore[no-untyped-call]
    except MlflowException:
        return False
    return len(key) <= MAX_TRACE_TAG_KEY_LENGTH and "\0" not in key
