"""Which rule said what of a span: what `headrace dialects explain` prints. No I/O."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from headrace.mlflow.keys import PREFIX
from headrace.mlflow.translate.content import dump_all, events_of, inner_texts
from headrace.mlflow.translate.dialects.engine import Dialects
from headrace.mlflow.translate.dialects.settle import SESSION, USER, Reading, is_root
from headrace.mlflow.translate.genai import asks, reads_events, translate

CLIENT, MLFLOW, TOGETHER = "the client", "MLflow's own translators", "what is known of tokens and model"


class Said(NamedTuple):
    """One of MLflow's attributes of a span."""

    attribute: str
    value: str
    """Its JSON."""
    by: str
    """`CLIENT`, `MLFLOW`, or the dialects and the attributes that they have read."""


def explain(span: Span, scope: str, dialects: Dialects) -> Iterator[Said]:
    """What MLflow shows of a span, and who said so. `scope`: the name of its instrumentation scope."""
    dumped = dump_all(span)
    sent, attributes = dumped[0], dumped[0] | inner_texts(dumped)
    if asks(tuple(sent)) or reads_events(event.name for event in span.events):
        attributes = _translated(attributes, span)
    before = dict(attributes)
    reading = Reading(sent, attributes, is_root(span))
    reading.read(dialects.wanted(tuple(sent), scope), span)
    rules: dict[str, dict[str, list[str]]] = {}
    for rule, _ in reading.used:
        rules.setdefault(reading.key(rule), {}).setdefault(rule.dialect, []).append(rule.source)
    for key, value in attributes.items():
        if not key.startswith(PREFIX) and key not in (SESSION, USER):
            continue
        if key in sent:
            yield Said(key, str(value), CLIENT)
        elif before.get(key) == value:
            yield Said(key, str(value), MLFLOW)
        else:
            found = [f"{dialect}: {', '.join(sources)}" for dialect, sources in rules.get(key, {}).items()]
            yield Said(key, str(value), "; ".join(([MLFLOW] if key in before else []) + (found or [TOGETHER])))


def _translated(attributes: dict[str, Any], span: Span) -> dict[str, Any]:
    """As MLflow translates them; as they came where it fails."""
    try:
        return translate(dict(attributes), events_of(span))
    except Exception:
        return attributes
