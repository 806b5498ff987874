"""Scenarios of odd input that people have reported: MLflow stores it, and its rows are the measure without enrichment.

And what agent frameworks really export (`exports/`): OTLP/JSON, with other ids, and without attributes of hosts and processes.
"""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

import otlp
from headrace.otlp.json_encoding import decode_json
from parity.scenario import DEFAULT_EXPERIMENT, EPOCH, EXPERIMENT_HEADER, MS, Draft, Exchange, Scenario, of

EXPORTS = Path(__file__).with_name("exports")

Events = Sequence[tuple[str, Mapping[str, Any]]]

CONVERSATION: Events = [
    ("gen_ai.system.message", {"content": "Be brief."}),
    ("gen_ai.user.message", {"content": "Is it raining?"}),
    ("gen_ai.assistant.message", {"content": '{"thought": "look"}'}),
    ("gen_ai.choice", {"content": "No.", "role": "model", "index": 0}),
]
EVENTS: dict[str, Events] = {
    "a conversation": CONVERSATION,
    "a question": CONVERSATION[1:2],
    "an answer": CONVERSATION[3:],
    "no content": [("gen_ai.user.message", {}), ("gen_ai.choice", {"message": "x"})],
    "content that is no text": [
        ("gen_ai.user.message", {"content": ["a", 1]}),
        ("gen_ai.choice", {"content": 5, "role": None}),
    ],
    "Spring AI's": [
        ("gen_ai.content.prompt", {"gen_ai.prompt": "p"}),
        ("gen_ai.content.completion", {"gen_ai.completion": "c"}),
    ],
    "of both kinds": [("gen_ai.content.prompt", {"gen_ai.prompt": "p"}), *CONVERSATION],
    "Claude Code's": [("tool.output", {"output": "text", "content": "text"})],
    "of nobody": [
        ("exception", {"exception.type": "E"}),
        ("gen_ai.tool.message", {"content": "x"}),
        ("message", {"content": "x"}),
    ],
}
HOLDERS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "a plain attribute": {"http.route": "/chat"},
    "OpenInference": {"openinference.span.kind": "LLM"},
    "OpenInference with inputs": {"openinference.span.kind": "LLM", "input.value": "own"},
    "Traceloop": {"traceloop.span.kind": "task"},
    "GenAI": {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"},
    "LiveKit": {"lk.agent_name": "a"},
    "Claude Code": {"span.type": "tool"},
    "MLflow's own inputs": {"mlflow.spanInputs": {"q": 1}},
}


def odd() -> Iterator[Scenario]:
    """All of them."""
    yield from (_events(name, events) for name, events in EVENTS.items())
    yield from (_unfinished(), _unfinished_in_pieces(), _replaced(), _no_values())
    yield from (_export(path) for path in sorted(EXPORTS.glob("*.json")))


def _events(name: str, events: Events) -> Scenario:
    """Each on a root with attributes of each dialect, and of none."""
    draft = Draft(f"events on spans of any dialect: {name}")
    made = [
        Span.Event(name=event, time_unix_nano=EPOCH + n, attributes=otlp.attributes(dict(attrs)))
        for n, (event, attrs) in enumerate(events)
    ]
    draft.send(*(draft.span("root", attrs=attrs, trace=holder, events=made) for holder, attrs in HOLDERS.items()))
    draft.send(*(draft.span("child", "root", attrs, trace=holder, events=made) for holder, attrs in HOLDERS.items()))
    return draft.done()


TIMES: dict[str, dict[str, Any]] = {
    "no end": {"end_time_unix_nano": 0},
    "end before start": {"end_time_unix_nano": EPOCH - 500 * MS},
    "no start": {"start_time_unix_nano": 0},
    "no time": {"start_time_unix_nano": 0, "end_time_unix_nano": 0},
}


def _unfinished() -> Scenario:
    """Alone, above a whole child, below a whole root, and with events that have no time."""
    draft = Draft("spans without a possible end")
    for name, times in TIMES.items():
        events = [Span.Event(name="timeless"), Span.Event(name="timed", time_unix_nano=EPOCH + 5)]
        draft.send(draft.span("alone", trace=f"{name}, alone", events=events, **times))
        draft.send(
            draft.span("root", trace=f"{name}, root", **times),
            draft.span("child", "root", trace=f"{name}, root", at=10, ms=900),
        )
        draft.send(draft.span("root", trace=f"{name}, child"), draft.span("child", "root", trace=f"{name}, child", **times))
    return draft.done()


def _unfinished_in_pieces() -> Scenario:
    """The same span while it runs, whole, and as it ran once more: in MLflow the last stands."""
    draft = Draft("spans that come again whole")
    for name, times in TIMES.items():
        running = draft.span("root", trace=name, attrs={"state": "runs"}, **times)
        whole = draft.span("root", trace=name, attrs={"state": "done", "gen_ai.usage.input_tokens": 5})
        for span in (running, whole, running):
            draft.send(span)
    return draft.done()


def _replaced() -> Scenario:
    """Texts in which U+FFFD stands for what was no UTF-8; two keys that are the same by now."""
    draft = Draft("texts that were no UTF-8")
    text = "caf\ufffd \ufffd\ufffd"
    attrs = [*otlp.attributes({text: text, "list": [text, {text: text}], "gen_ai.prompt": text}), *otlp.attributes({text: 1})]
    event = Span.Event(name=text, attributes=attrs)
    error = Status(code=Status.STATUS_CODE_ERROR, message=text)
    root = draft.span("root", attrs=attrs, name=text, events=[event], status=error, trace_state=text)
    draft.send(of({text: text, "host.name": text}, root, scope=InstrumentationScope(name=text, version=text)))
    return draft.done()


def _no_values() -> Scenario:
    """Of a resource, of a span; MLflow makes `null` of each."""
    draft = Draft("attributes without a value")
    attrs = {"session.id": None, "user.id": None, "mlflow.traceTag.team": None, "other": None}
    draft.send(of({"service.name": "checkout", "owner": None, "list": [None]}, draft.span("root", attrs=attrs)))
    draft.send(of({"owner": None}, draft.span("root", trace="nothing else")))
    return draft.done()


def _export(path: Path) -> Scenario:
    """As it was sent, in one request, but with trace ids of its own: the exports count theirs from 1."""
    request, _ = decode_json(path.read_bytes())
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                holders: list[Span | Span.Link] = [span, *span.links]
                for holder in holders:
                    holder.trace_id = sha256(path.stem.encode() + holder.trace_id).digest()[:16]
    return Scenario(f"export: {path.stem}", [Exchange(request, {EXPERIMENT_HEADER: DEFAULT_EXPERIMENT})])
