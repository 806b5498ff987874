"""OTLP → rows: one request becomes, for each of its traces, what MLflow's `log_spans` would make of it. Pure; no I/O.

A span of which no translator asks anything, as most, is written straight into the text of its content; the others go through
MLflow's own translation.

Source: mlflow/store/tracking/sqlalchemy_store.py, `_log_spans_once` (3.17).
"""

from collections import Counter
from functools import lru_cache
from json.encoder import encode_basestring as quote
from typing import Any, NamedTuple

from mlflow.store.tracking.utils.trace_analytics import bounded_model_dimension, finite_float_or_none
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.mlflow.model import Node, Root, SpanRow, TracePart, column_text
from headrace.mlflow.text import Repairs, cut, encodable, smaller, storable, to_object, unquoted
from headrace.mlflow.translate.content import NO_PARENT, content_text, dump_all, dumps, sanitized, span_dict
from headrace.mlflow.translate.enrich import add_attributes, request_preview, response_preview, shared_attributes
from headrace.mlflow.translate.genai import EVENTS, asks, translate
from headrace.mlflow.translate.origin import Origin, origin_of, otlp_note
from headrace.mlflow.translate.tags import (
    MAX_TAGS,
    MAX_TRACE_NAME,
    SESSION_AND_USER_KEYS,
    known_service,
    resource_tags,
    root_tags,
    session_and_user,
)
from headrace.otlp.attributes import to_python

REQUEST_ID = "mlflow.traceRequestId"
_SPAN_TYPE = "mlflow.spanType"
_STATUS = (("UNSET", "STATUS_CODE_UNSET"), ("OK", "STATUS_CODE_OK"), ("ERROR", "STATUS_CODE_ERROR"))
MAX_TYPE = 500


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
    implicit: bool
    """Whether a rule or the default chose the experiment."""


def to_parts(delivery: Delivery, repaired: Repairs, enrich: bool = False, max_tags: int = MAX_TAGS) -> list[TracePart]:
    """One request → a part for each of its traces (and experiments), in the order in which MLflow would handle them.

    Of a span that comes twice in one request the last stands, in the first one's place. What MLflow would break on is
    repaired, and counted in `repaired` by the name of the rule.
    """
    parts: dict[tuple[str, str], TracePart] = {}
    max_tags = min(max_tags, delivery.max_tags or max_tags)
    for resource_spans, destination in zip(delivery.request.resource_spans, delivery.destinations, strict=True):
        tags, service = resource_tags(resource_spans.resource, repaired, max_tags), known_service(resource_spans)
        experiment_id = destination.experiment_id
        implicit = destination.routed_by in (pb.ROUTED_BY_RULE, pb.ROUTED_BY_DEFAULT)
        for scope in resource_spans.scope_spans:
            added = shared_attributes(resource_spans, scope) if enrich else None
            context = _Context(tags, service, added, origin_of(resource_spans, scope) if enrich else None, repaired, implicit)
            for span in scope.spans:
                trace_id = f"tr-{span.trace_id.hex()}"
                part = parts.get((experiment_id, trace_id))
                if part is None:
                    part = TracePart(trace_id, int(experiment_id), run_id=delivery.run_id, max_tags=max_tags)
                    parts[experiment_id, trace_id] = part
                part.implicit &= implicit
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
    if row.parent_span_id is None:  # as in MLflow the last root of a request, even where it has no inputs
        _read_root(part, {} if plain else attributes, context.repaired)
    session = user = None
    if not (plain and SESSION_AND_USER_KEYS.isdisjoint(attributes)):
        session, user = session_and_user(attributes, context.repaired)
        if part.session_id is None:
            part.session_id = session
        if part.user_id is None:
            part.user_id = user
    if context.origin is not None:
        part.origins[context.origin.digest] = context.origin.data
        if row.parent_span_id is None:
            part.roots[row.span_id] = to_root(span, attributes, context.tags, context.implicit)
        else:
            part.roots.pop(row.span_id, None)  # it came twice, and is none any more
            _take_other(part, session, user, context)


def _take_other(part: TracePart, session: str | None, user: str | None, context: _Context) -> None:
    """For enrichment: what a span that is no root says of its trace."""
    if part.last_tags is not context.tags:
        part.last_tags = context.tags
        for key, value in (context.tags or {}).items():
            part.other_tags[key] = min(value, part.other_tags.get(key, value))
    if session or user:
        part.other_session = smaller(part.other_session, session)
        part.other_user = smaller(part.other_user, user)


def to_root(span: Span, attributes: dict[str, Any], tags: dict[str, str] | None, implicit: bool) -> Root:
    """For enrichment: what a root says of its trace, `tags` being those of its resource."""
    session, user = session_and_user(attributes, Counter())
    own_tags, trace_name = root_tags(attributes, Counter())
    name = storable(span.name, Counter())
    return Root(
        span.start_time_unix_nano,
        span.span_id.hex(),
        "ERROR" if span.status.code == span.status.STATUS_CODE_ERROR else "OK",
        attributes.get("mlflow.spanInputs"),
        attributes.get("mlflow.spanOutputs"),
        name[:MAX_TRACE_NAME],
        storable(request_preview(name, attributes), Counter()),
        storable(response_preview(span, attributes), Counter()),
        trace_name,
        session or None,
        user or None,
        (tags or {}) | own_tags if own_tags else tags or {},
        implicit,
    )


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
    tags, trace_name = root_tags(attributes, repaired, part.max_tags)
    part.trace_tags |= tags
    part.trace_name = part.trace_name if trace_name is None else trace_name


def to_row(trace_id: str, span: Span, context: _Context) -> tuple[SpanRow, dict[str, Any], bool]:
    """One span → its row, its attributes as MLflow stores them (values dumped as JSON), and whether it is a plain one.

    A plain span has no attribute and no event that a translator or MLflow itself reads.
    """
    parent = span.parent_span_id
    parent_id = parent.hex() if parent and parent != NO_PARENT else None
    sent, maybe_json, exact = dump_all(span)
    plain = not asks(tuple(sent)) and not (span.events and any(event.name in EVENTS for event in span.events))
    attributes: dict[str, Any] = sent | {REQUEST_ID: f'"{trace_id}"'}
    if context.service and parent_id is None:
        attributes["service.name"] = quote(context.service)
    status, status_name = _STATUS[span.status.code] if 0 <= span.status.code <= 2 else _STATUS[0]
    unchanged = plain and not context.service
    if plain:
        for key in maybe_json:
            attributes[key] = sanitized(attributes[key])
            unchanged = False
        columns = _NO_COLUMNS
    else:
        content = _translated(span, attributes, status_name, context.repaired)
        attributes = content["attributes"]
        columns = _columns(span, attributes, context)
    if context.added is not None:
        add_attributes(attributes, span, context.added)
    text = content_text(span, attributes, status_name) if plain else dumps(content)
    stored = encodable(text, context.repaired)
    if context.origin is not None:
        note = _note_of_added(tuple(attributes)[len(sent) + 1 :]) if unchanged else _note(sent, attributes)
        implicit = context.implicit and parent_id is None
        stored = f'{stored[:-1]}, "otlp": {otlp_note(span, context.origin, note, exact and stored is text, implicit)}}}'
    row = SpanRow(
        trace_id,
        span.span_id.hex(),
        parent_id,
        storable(span.name, context.repaired),
        columns[0],
        status,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        stored,
        *columns[1:],
    )
    return row, attributes, plain


@lru_cache(maxsize=1024)
def _note_of_added(keys: tuple[str, ...]) -> str:
    return f', "added": {dumps(list(keys))}' if keys else ""


def _note(sent: dict[str, str], attributes: dict[str, Any]) -> str:
    """How the stored attributes differ from those that were sent: see `origin.py`."""
    note: dict[str, Any] = {}
    if added := [key for key in attributes if key not in sent and key != REQUEST_ID]:
        note["added"] = added
    if (request_id := sent.get(REQUEST_ID)) is not None:
        note["sent"] = {REQUEST_ID: request_id}
    for key, value in sent.items():
        if (now := attributes.get(key)) is not value and now != value:
            if sanitized(value) == now:
                note.setdefault("texts", []).append(key)
            else:
                note.setdefault("sent", {})[key] = value
    return f", {dumps(note)[1:-1]}" if note else ""


_Columns = tuple[str | None, float | None, float | None, float | None, str | None, str | None]


_NO_COLUMNS: _Columns = (None,) * 6


def _translated(span: Span, attributes: dict[str, Any], status_name: str, repaired: Repairs) -> dict[str, Any]:
    """The span as MLflow's translation leaves it."""
    content = span_dict(span, attributes, status_name)
    try:
        return translate(content)
    except Exception:  # MLflow would reject the whole request: the span is stored as it came
        repaired["translation_failed"] += 1
        return content


def _columns(span: Span, attributes: dict[str, Any], context: _Context) -> _Columns:
    """type, input_cost, output_cost, total_cost, model_name, model_provider."""
    repaired = context.repaired
    span_type = _type(span)
    if context.added is not None and (stored := attributes.get(_SPAN_TYPE)) is not None:
        # MLflow leaves the column empty (mlflow#24237), or writes the quotes and the `null` that its own client sends.
        text = unquoted(stored)
        span_type = None if text == "null" else text
    cost = to_object(attributes.get("mlflow.llm.cost")) or {}
    return (
        span_type and cut(span_type, MAX_TYPE, "span_type_cut", repaired),
        finite_float_or_none(cost.get("input_cost")),
        finite_float_or_none(cost.get("output_cost")),
        finite_float_or_none(cost.get("total_cost")),
        _dimension(attributes.get("mlflow.llm.model"), repaired),
        _dimension(attributes.get("mlflow.llm.provider"), repaired),
    )


def _type(span: Span) -> str | None:
    """MLflow's `Span.span_type`: the attribute as the client sent it, for the column `type`."""
    for pair in reversed(span.attributes):
        if pair.key == _SPAN_TYPE:
            value = to_python(pair.value)
            return None if value is None else column_text(value)
    return None


def _dimension(value: Any, repaired: Repairs) -> str | None:
    text = bounded_model_dimension(None if value is None else unquoted(value))
    return text and storable(text, repaired)
