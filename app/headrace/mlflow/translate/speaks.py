"""What a span can say for its root, and what a root says for itself: see `model/voices.py`. No I/O."""

from collections.abc import Mapping
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from headrace.mlflow.keys import SPAN_INPUTS, SPAN_OUTPUTS
from headrace.mlflow.model.voices import ANSWERS, ASKS, FAILS, MUTE, SPEAKERS, TRANSPORT, Voice
from headrace.mlflow.translate.enrich import FAILED, failure, is_transport, response_preview
from headrace.mlflow.translate.readback import to_span

_EMPTY = frozenset({"", '""', "null", "{}", "[]", '"null"'})
"""Inputs and outputs, dumped as JSON, that say nothing."""


def has(attributes: Mapping[str, Any], key: str) -> bool:
    """Whether inputs or outputs (the key) say anything."""
    value = attributes.get(key)
    return bool(value) and not (isinstance(value, str) and len(value) <= 6 and value.strip() in _EMPTY)


def span_speaks(span: Span, span_type: str | None, attributes: Mapping[str, Any]) -> str:
    """The letters of what a span can say; `attributes` as MLflow stores them."""
    says = FAILS if span.status.code == span.status.STATUS_CODE_ERROR and failure(span) else ""
    if span_type in SPEAKERS:
        says += (ASKS if has(attributes, SPAN_INPUTS) else "") + (ANSWERS if has(attributes, SPAN_OUTPUTS) else "")
    return says


def to_voice(says: str, start: int, end: int) -> Voice | None:
    """These letters as a voice. None: it has neither inputs nor outputs."""
    asks, answers = ASKS in says, ANSWERS in says
    return Voice(start, end, asks, answers) if asks or answers else None


def root_says(span: Span, attributes: Mapping[str, Any]) -> str:
    """The letters of what a root says for itself. One that failed has answered, but for one that says no word: at the most an
    HTTP status."""
    says = ASKS if has(attributes, SPAN_INPUTS) else ""
    failed = span.status.code == span.status.STATUS_CODE_ERROR
    if has(attributes, SPAN_OUTPUTS):
        says += ANSWERS
    elif failed:
        said = response_preview(span, attributes).removeprefix(FAILED).removeprefix(": ")
        says += MUTE if not said or said.isdecimal() else ANSWERS
    return says + (TRANSPORT if is_transport(span, attributes) else "")


def stored_root_says(content: Mapping[str, Any]) -> str:
    """The same of a root's content, parsed, as Postgres holds it."""
    attributes = content.get("attributes") or {}
    note = content.get("otlp") or {}
    span = (
        to_span(dict(content)) if note and content["status"]["code"] == "STATUS_CODE_ERROR" else Span(kind=note.get("kind", 0))
    )
    return root_says(span, attributes)
