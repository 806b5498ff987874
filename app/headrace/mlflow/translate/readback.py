"""Stored rows → the OTLP that was sent: the inverse of `translate`, for spans written with enrichment on. Pure; no I/O.

`tests/db/mlflow/test_readback.py` holds it to that for the whole parity corpus.
"""

import json
from base64 import b64decode
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status, TracesData

from headrace.mlflow.keys import REQUEST_ID, to_otlp_trace_id
from headrace.mlflow.translate.note import log_events_in, logs_in
from headrace.mlflow.translate.origin import TIMES

_CODES = {"STATUS_CODE_UNSET": 0, "STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2}


def digests(contents: Iterable[str]) -> set[str]:
    """The rows of `headrace.origin` that these spans need."""
    return {note["origin"] for content in contents if (note := json.loads(content).get("otlp"))}


def to_traces_data(contents: Iterable[str], origins: Mapping[str, bytes]) -> TracesData:
    """`spans.content` of any spans, and the origins that they name → OTLP, one ResourceSpans for each origin.

    A span without a note (written by MLflow itself, or with enrichment off) comes without resource and scope.
    """
    found: dict[str, ResourceSpans] = {}
    for content in contents:
        stored = json.loads(content)
        note = stored.get("otlp") or {}
        digest = note.get("origin", "")
        if digest not in found:
            found[digest] = ResourceSpans.FromString(origins.get(digest, b""))
            if not found[digest].scope_spans:
                found[digest].scope_spans.add()
        found[digest].scope_spans[0].spans.append(to_span(stored))
    return TracesData(resource_spans=found.values())


def to_span(stored: dict[str, Any]) -> Span:
    """One span's content (parsed) → the span."""
    note = stored.get("otlp") or {}
    if "span" in note:
        return Span.FromString(b64decode(note["span"]))
    times = note.get(TIMES, {})
    return Span(
        trace_id=b64decode(stored["trace_id"]),
        span_id=b64decode(stored["span_id"]),
        parent_span_id=b64decode(stored["parent_span_id"] or ""),
        name=stored["name"],
        kind=note.get("kind", 0),
        flags=note.get("flags", 0),
        start_time_unix_nano=times.get("start", stored["start_time_unix_nano"]),
        end_time_unix_nano=times.get("end", stored["end_time_unix_nano"]),
        status=_status(stored["status"]),
        attributes=_own_attributes(stored["attributes"], note),
        events=_events(_own_events(stored), times.get("events", ())),
        links=_links(stored["links"]),
    )


def to_logs_data(contents: Iterable[str]) -> LogsData:
    """`spans.content` of any spans → the log records that were joined with them, as they were sent."""
    found = LogsData()
    for content in contents:
        found.MergeFromString(logs_in(json.loads(content)))
    return found


def _own_attributes(attributes: Mapping[str, Any], note: Mapping[str, Any]) -> list[KeyValue]:
    """The attributes that the span was sent with, with the values that they had."""
    sent = note.get("sent", {})
    added = {REQUEST_ID, *note.get("added", ())} - set(sent)
    texts = set(note.get("texts", ()))
    return [
        KeyValue(key=key, value=AnyValue(string_value=dumped) if key in texts else _value(_loaded(sent.get(key, dumped))))
        for key, dumped in attributes.items()
        if key not in added
    ]


def _own_events(stored: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The events that the span was sent with: those of log records stand behind them."""
    events: list[dict[str, Any]] = stored["events"]
    return events[: len(events) - log_events_in(stored)]


def _loaded(dumped: Any) -> Any:
    """A stored value. MLflow itself leaves texts without their quotes, and some without being told to."""
    try:
        return json.loads(dumped)
    except (TypeError, ValueError):
        return dumped


def _events(stored: Sequence[dict[str, Any]], timeless: Collection[int]) -> list[Span.Event]:
    return [
        Span.Event(
            name=event["name"],
            time_unix_nano=0 if number in timeless else event["time_unix_nano"],
            attributes=_attributes(event["attributes"]),
        )
        for number, event in enumerate(stored)
    ]


def _links(stored: Sequence[dict[str, Any]]) -> list[Span.Link]:
    return [
        Span.Link(
            trace_id=to_otlp_trace_id(link["trace_id"]),
            span_id=bytes.fromhex(link["span_id"]),
            attributes=_attributes(link["attributes"] or {}),
        )
        for link in stored
    ]


def is_unfinished(content: Mapping[str, Any]) -> bool:
    """Whether a stored span (its content, parsed) came without a possible end."""
    note = content.get("otlp")
    if note:
        return "end" in note.get(TIMES, {})
    return bool(content["end_time_unix_nano"] < content["start_time_unix_nano"])  # as MLflow itself stores it


def _status(stored: dict[str, Any]) -> Status | None:
    code = _CODES[stored["code"]]
    return Status(code=code, message=stored["message"]) if code or stored["message"] else None  # type: ignore[arg-type]


def _attributes(values: dict[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value)) for key, value in values.items()]


def _value(value: Any) -> AnyValue:  # noqa: PLR0911 - one for each kind of value
    """The inverse of `otlp.attributes.to_python`."""
    if value is None:
        return AnyValue()
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value) if -(2**63) <= value < 2**63 else AnyValue(string_value=str(value))
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=[_value(item) for item in value]))
    if isinstance(value, dict):
        return AnyValue(kvlist_value=KeyValueList(values=_attributes(value)))
    return AnyValue(string_value=value)
