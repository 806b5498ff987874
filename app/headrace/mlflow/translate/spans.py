"""One span of OTLP → its row of `spans`. No I/O.

A span of which no translator asks anything, as most, is written straight into the text of its content; the others go through
MLflow's own translation.

Source: mlflow/store/tracking/sqlalchemy_store.py, `_log_spans_once` (3.17).
"""

from typing import Any, NamedTuple

from mlflow.store.tracking.utils.trace_analytics import finite_float_or_none
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from headrace.mlflow.json_text import quote
from headrace.mlflow.keys import COST, MODEL, PROVIDER, REQUEST_ID, SPAN_TYPE
from headrace.mlflow.logs.record import NOTHING_KEPT, Kept
from headrace.mlflow.model import SpanRow, column_text
from headrace.mlflow.text import Repairs, cut, encodable, storable, to_object, unquoted
from headrace.mlflow.translate.borrowed import borrows_model, dimension
from headrace.mlflow.translate.chat.drawn import draw
from headrace.mlflow.translate.completed import NOTHING, Completion, completion, completion_of_events, reads, with_events
from headrace.mlflow.translate.content import NO_PARENT, Dumped, dump_all, events_of, inner_texts, open_content
from headrace.mlflow.translate.dialects.engine import Dialects, Entry
from headrace.mlflow.translate.dialects.settle import read_by
from headrace.mlflow.translate.enrich import add_attributes
from headrace.mlflow.translate.genai import asks, reads_events, translate
from headrace.mlflow.translate.note import note_of, note_of_keys
from headrace.mlflow.translate.origin import NO_MARKS, Marks, Origin, otlp_note
from headrace.mlflow.translate.speaks import span_speaks
from headrace.mlflow.translate.times import mended, possible, storable_end
from headrace.otlp.attributes import to_python

_STATUS = (("UNSET", "STATUS_CODE_UNSET"), ("OK", "STATUS_CODE_OK"), ("ERROR", "STATUS_CODE_ERROR"))
MAX_TYPE = 500


class Enrichment(NamedTuple):
    """What enrichment gives each span of a scope."""

    added: dict[str, str]
    """Attributes, dumped as JSON."""
    origin: Origin
    scope: str = ""
    """The scope's name."""


class Context(NamedTuple):
    """What the spans of one scope share."""

    tags: dict[str, str] | None
    """Trace tags that their resource gives."""
    service: str | None
    """The name of a service that MLflow knows; it goes onto root spans."""
    chosen_by_rule: bool
    """Whether a rule or the default chose their experiment."""
    enrichment: Enrichment | None
    repaired: Repairs
    """Where repairs are counted."""
    received: int = 0
    """When their request came, in nanoseconds."""
    indexed_service: str = ""
    """The name of their service, as the index has it."""
    dialects: Dialects | None = None
    """The rules by which they are read beyond what MLflow reads. None: without enrichment."""


class TranslatedSpan(NamedTuple):
    """A span, its row, and its attributes as MLflow stores them (values dumped as JSON)."""

    span: Span
    row: SpanRow
    attributes: dict[str, Any]
    plain: bool
    """It has no attribute and no event that a translator, a dialect's rule or MLflow itself reads."""
    unfinished: bool = False
    """It came without a possible end: where it comes again with one, that stands."""
    speaks: str = ""
    """What it may say for its root: see `speaks.py`."""
    borrows: bool = False
    """It has tokens and states no model: see `borrowed.py`."""


class _Columns(NamedTuple):
    """The columns that MLflow's translation fills."""

    type: str | None = None
    input_cost: float | None = None
    output_cost: float | None = None
    total_cost: float | None = None
    model_name: str | None = None
    model_provider: str | None = None


_NO_COLUMNS = _Columns()
_NO_TIMES: dict[str, Any] = {}
_Stored = tuple[dict[str, Any], _Columns, str]
"""Of the attributes that were sent: as MLflow stores them, the columns, further keys of the note. No class: made often."""


class _Came(NamedTuple):
    """A span, as it is stored, with times that are possible; as it was sent; and how the times of the two differ."""

    span: Span
    sent: Span
    times: dict[str, Any] = _NO_TIMES


def to_row(trace_id: str, span: Span, context: Context, kept: Kept = NOTHING_KEPT) -> TranslatedSpan:
    """Translates one span. `trace_id` is MLflow's; `kept`: its log records."""
    if possible(span):
        return _to_row(trace_id, _Came(span, span), context, kept)
    if context.enrichment is None:
        return _to_row(trace_id, _Came(storable_end(span, context.repaired), span), context, kept)
    possible_span, times = mended(span, context.received, context.repaired)
    return _to_row(trace_id, _Came(possible_span, span, times), context, kept)


def _to_row(trace_id: str, came: _Came, context: Context, kept: Kept) -> TranslatedSpan:
    span, repaired = came.span, context.repaired
    parent = span.parent_span_id
    parent_id = parent.hex() if parent and parent != NO_PARENT else None
    dumped = sent, _, exact = dump_all(span)
    more = _more(span, kept, sent) if context.enrichment is not None and (kept.records or span.events) else NOTHING
    rules = _rules((*sent, *more.attributes) if more.attributes else tuple(sent), context)
    plain = not (rules or asks(tuple(sent)) or (span.events and reads_events(event.name for event in span.events)))
    status, status_name = _STATUS[span.status.code] if 0 <= span.status.code <= 2 else _STATUS[0]
    attributes: dict[str, Any] = sent | {REQUEST_ID: f'"{trace_id}"'}
    if context.service and parent_id is None:
        attributes["service.name"] = quote(context.service)
    if more.attributes:
        plain, attributes = False, attributes | {key: value for key, value in more.attributes.items() if key not in sent}
    if plain:
        attributes, columns, note = _store_plain(span, dumped, attributes, context)
    else:
        attributes, columns, note = _store_translated(span, dumped, attributes, rules, context)
    span = with_events(span, more.events) if more.events else span
    content = open_content(span, attributes, status_name)
    text, marks, end = encodable(content, repaired), NO_MARKS, "}"
    if context.enrichment is not None:
        speaks = span_speaks(span, columns.type, attributes) if status == "ERROR" or columns.type else ""
        borrows = not plain and borrows_model(columns.type, attributes)
        marks = Marks(context.chosen_by_rule and parent_id is None, came.times, speaks, more.note, borrows)
        end = f', "otlp": {otlp_note(came.sent, context.enrichment.origin, note, exact and text == content, marks)}}}'
    start, stop, name = span.start_time_unix_nano, span.end_time_unix_nano, storable(span.name, repaired)
    row = SpanRow(trace_id, span.span_id.hex(), parent_id, name, columns.type, status, start, stop, text + end, *columns[1:])
    return TranslatedSpan(span, row, attributes, plain, "end" in came.times, marks.speaks, marks.borrows)


def _more(span: Span, kept: Kept, sent: dict[str, str]) -> Completion:
    """What a span has beside its attributes. Most have nothing."""
    if kept.records:
        return completion(span, kept)
    return completion_of_events(span, sent) if any(reads(event.name) for event in span.events) else NOTHING


def _store_plain(span: Span, dumped: Dumped, attributes: dict[str, Any], context: Context) -> _Stored:
    sent, maybe_json, _ = dumped
    texts = inner_texts(dumped) if maybe_json else {}
    attributes |= _kept(texts, sent, attributes)
    note = ""
    if context.enrichment is not None:
        as_sent = not (maybe_json or context.service or REQUEST_ID in sent)
        added = add_attributes(attributes, span, context.enrichment.added)
        note = note_of_keys(added) if as_sent else note_of(sent, texts, attributes)
    return attributes, _NO_COLUMNS, note


def _store_translated(
    span: Span, dumped: Dumped, attributes: dict[str, Any], rules: tuple[Entry, ...], context: Context
) -> _Stored:
    sent = dumped[0]
    texts = inner_texts(dumped)
    attributes = _translated(span, attributes, _kept(texts, sent, attributes), context)
    if rules:
        attributes = read_by(rules, span, sent, attributes, context.repaired)
    if context.enrichment is not None:
        _draw(attributes, sent, context.repaired)
    columns = _columns(_type(span, attributes, context.enrichment), attributes, context.repaired)
    note = ""
    if context.enrichment is not None:
        add_attributes(attributes, span, context.enrichment.added)
        note = note_of(sent, texts, attributes)
    return attributes, columns, note


def _kept(texts: dict[str, str], sent: dict[str, str], attributes: dict[str, Any]) -> dict[str, str]:
    """Those texts in whose place nothing of ours has been put."""
    return {key: text for key, text in texts.items() if attributes[key] is sent[key]}


def _translated(span: Span, attributes: dict[str, Any], texts: dict[str, str], context: Context) -> dict[str, Any]:
    """The attributes as MLflow's translation leaves them."""
    try:
        return translate(attributes | texts, events_of(span))
    except Exception:  # MLflow would reject the whole request: the span is stored as it came
        context.repaired["translation_failed"] += 1
        return attributes


def _rules(keys: tuple[str, ...], context: Context) -> tuple[Entry, ...]:
    """The rules of dialects that may find something in a span with these keys: most often none."""
    if context.dialects is None or context.enrichment is None:
        return ()
    return context.dialects.wanted(keys, context.enrichment.scope)


def _draw(attributes: dict[str, Any], sent: dict[str, str], repaired: Repairs) -> None:
    try:
        draw(attributes, sent)
    except Exception:  # nested too deeply, for one: it stays as MLflow's translation leaves it
        repaired["translation_failed"] += 1


def _columns(span_type: str | None, attributes: dict[str, Any], repaired: Repairs) -> _Columns:
    cost = to_object(attributes.get(COST)) or {}
    return _Columns(
        span_type and cut(span_type, MAX_TYPE, "span_type_cut", repaired),
        finite_float_or_none(cost.get("input_cost")),
        finite_float_or_none(cost.get("output_cost")),
        finite_float_or_none(cost.get("total_cost")),
        dimension(attributes.get(MODEL), repaired),
        dimension(attributes.get(PROVIDER), repaired),
    )


def _type(span: Span, attributes: dict[str, Any], enrichment: Enrichment | None) -> str | None:
    """The column `type`: MLflow's `Span.span_type`, which is the attribute as the client sent it.

    With that MLflow leaves the column empty (mlflow#24237), or writes the quotes and the `null` that its own client sends:
    enrichment takes the translated attribute.
    """
    if enrichment is not None and (stored := attributes.get(SPAN_TYPE)) is not None:
        text = unquoted(stored)
        return None if text == "null" else text
    for pair in reversed(span.attributes):
        if pair.key == SPAN_TYPE:
            value = to_python(pair.value)
            return None if value is None else column_text(value)
    return None
