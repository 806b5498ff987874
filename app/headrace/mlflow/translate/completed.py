"""What a span has beside its attributes: its events, and the log records that belong to it. No I/O.

GenAI content among them becomes attributes, as if the span had been sent with them. Every other record becomes an event of the
span. The records themselves are kept in the note (`note.py`), so that they can be read back.
"""

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from headrace.mlflow.json_text import JsonText, dumps, loads
from headrace.mlflow.keys import SPAN_INPUTS, SPAN_OUTPUTS
from headrace.mlflow.logs.record import (
    CONTENT_NAMES,
    EVENT_NAME,
    NOTHING_KEPT,
    Kept,
    Rank,
    is_exception,
    name_of,
    parsed,
)
from headrace.mlflow.translate.content import events_of
from headrace.mlflow.translate.genai import shown
from headrace.mlflow.translate.genai_events import INPUT, OUTPUT, SPAN_EVENT_NAMES, Event, attributes_told
from headrace.mlflow.translate.note import note_of_logs
from headrace.otlp.attributes import to_dict, to_python
from headrace.otlp.order import time_of


class Completion(NamedTuple):
    """What is to be added to a span."""

    attributes: Mapping[str, Any]
    """Dumped as JSON. Those that the span has already are not replaced."""
    events: list[Span.Event]
    note: str
    """Further keys of the note."""


NOTHING = Completion({}, [], "")
_SHOWN_AS = {INPUT: SPAN_INPUTS, OUTPUT: SPAN_OUTPUTS}


def completion_of_events(span: Span, sent: Mapping[str, str]) -> Completion:
    """What the events of a span add to it, beyond what MLflow itself reads of them. `sent`: its attributes, dumped as JSON.

    MLflow's reading stands where it has as many messages: it knows some of these events, and of those some forms only.
    """
    found = completion(span, NOTHING_KEPT)
    if not found.attributes.keys() & _SHOWN_AS.keys():
        return found
    try:
        read = shown(dict(sent), events_of(span))
    except Exception:  # the translation proper will meet it again, and count it
        return found
    known = {key for key, shown in _SHOWN_AS.items() if key in found.attributes and _has_all(read.get(shown), found, key)}
    return found._replace(attributes={key: told for key, told in found.attributes.items() if key not in known})


def _has_all(shown: Any, found: Completion, key: str) -> bool:
    try:
        messages = loads(shown) if shown else None
    except ValueError:
        return False
    return isinstance(messages, list) and len(messages) >= len(loads(found.attributes[key]))


def completion(span: Span, kept: Kept) -> Completion:
    """What the events of a span, and the log records that it keeps, add to it."""
    events = [
        Event(event.name, event.time_unix_nano, to_dict(event.attributes), position=position)
        for position, event in enumerate(span.events)
        if reads(event.name)
    ]
    logs = [parsed(record.data) for record in kept.records]
    events += [_to_content(said, record.rank) for said, record in zip(logs, kept.records, strict=True) if _is_content(said)]
    told = attributes_told(events, _operation(span)) if events else {}
    others = [_to_event(said, span.start_time_unix_nano) for said in logs if not _is_content(said)]
    note = note_of_logs(kept, len(others)) if kept.records else ""
    return Completion({key: JsonText.of(dumps(value), value) for key, value in told.items()}, others, note)


def reads(name: str) -> bool:
    """Whether an event of this name holds GenAI content."""
    return name in SPAN_EVENT_NAMES


def with_events(span: Span, events: Iterable[Span.Event]) -> Span:
    """A copy of the span that has these events, too."""
    copy = Span()
    copy.CopyFrom(span)
    copy.events.extend(events)
    return copy


def _operation(span: Span) -> str:
    return next((pair.value.string_value for pair in span.attributes if pair.key == "gen_ai.operation.name"), "")


def _is_content(said: LogRecord) -> bool:
    return name_of(said) in CONTENT_NAMES


def _to_content(said: LogRecord, rank: Rank) -> Event:
    body = to_python(said.body) if said.HasField("body") else None
    return Event(name_of(said), rank.time, to_dict(said.attributes), body, rank.position)


def _to_event(said: LogRecord, start: int) -> Span.Event:
    """A record that is no content → an event that MLflow shows: an exception as MLflow's own exceptions are.

    `start`: its time, if it has none.
    """
    attributes = {pair.key: pair.value for pair in said.attributes if pair.key != EVENT_NAME}
    if said.body.WhichOneof("value"):
        attributes.setdefault("log.body", _shown(said.body))
    if said.severity_text:
        attributes.setdefault("log.severity_text", AnyValue(string_value=said.severity_text))
    if said.severity_number:
        attributes.setdefault("log.severity_number", AnyValue(int_value=said.severity_number))
    pairs = [KeyValue(key=key, value=value) for key, value in attributes.items()]
    name = "exception" if is_exception(said) else _name(said)
    return Span.Event(name=name, time_unix_nano=time_of(said) or start, attributes=pairs)


def _name(said: LogRecord) -> str:
    """An event's name, or how severe the record is."""
    if name := name_of(said) or said.severity_text:
        return name
    known = said.severity_number and said.severity_number in SeverityNumber.values()
    return SeverityNumber.Name(said.severity_number).removeprefix("SEVERITY_NUMBER_") if known else "log"


def _shown(body: AnyValue) -> AnyValue:
    """MLflow shows no objects among the attributes of an event: they become their JSON, and bytes their base64."""
    kind = body.WhichOneof("value")
    if kind == "bytes_value":
        return AnyValue(string_value=b64encode(body.bytes_value).decode())
    if kind in ("kvlist_value", "array_value"):
        return AnyValue(string_value=json.dumps(to_python(body), default=_base64, ensure_ascii=False))
    return body


def _base64(value: Any) -> str:
    return b64encode(value).decode()
