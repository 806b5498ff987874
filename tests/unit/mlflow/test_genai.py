"""Only translators that a span asks for are asked, and nothing is missed by that."""

import json
import sys
from collections.abc import Callable, Iterator
from functools import cache
from types import CodeType
from typing import Any

import pytest
from mlflow.entities.span import Span as MlflowSpan
from mlflow.tracing.otel import translation
from mlflow.tracing.otel.translation import base
from mlflow.tracing.utils import dump_span_attribute_value
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from parity.corpus import corpus
from thinned import EACH, thinned

import otlp
from headrace.mlflow.json_text import JsonText, loads
from headrace.mlflow.translate.asked import record
from headrace.mlflow.translate.content import dump_all, events_of, inner_texts
from headrace.mlflow.translate.genai import PREFIXES, _dump, _relevant, asks, reads_events, translate


@cache
def spans_of_the_corpus() -> list[Span]:
    """One of each kind: those that differ in ids and times alone are translated alike. The inner loop has some of them."""
    kinds: dict[bytes, Span] = {}
    for span in thinned(span for scenario in corpus() for exchange in scenario.exchanges for span in exchange.spans):
        kind = Span(name=span.name, attributes=span.attributes, events=span.events)
        for event in kind.events:
            event.time_unix_nano = 0
        kinds.setdefault(kind.SerializeToString(deterministic=True), span)
    return list(kinds.values())


def test_the_translators_that_walk_over_all_keys_are_the_listed_ones() -> None:
    walkers = {type(translator).__name__ for translator in translation._TRANSLATORS if record(translator).walked}
    assert walkers == set(PREFIXES)


def test_a_plain_span_visits_nobody() -> None:
    assert not asks(("http.request.method", "url.path", "db.query.text", "service.name", "user.id"))
    assert asks(("http.request.method", "gen_ai.operation.name"))
    assert asks(("mlflow.spanInputs",))


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("openinference.span.kind", {"OpenInferenceTranslator"}),
        ("traceloop.entity.input", {"TraceloopTranslator"}),
        ("gen_ai.prompt.0.content", {"TraceloopTranslator"}),
        ("ai.prompt", {"VercelAITranslator"}),
        ("langfuse.observation.type", {"LangfuseTranslator"}),
        ("lk.function_tool.name", {"LiveKitTranslator"}),
    ],
)
def test_a_span_visits_only_those_of_which_it_has_a_key(key: str, names: set[str]) -> None:
    assert _relevant(("http.request.method", key)) == names


def test_what_visits_nobody_is_left_alone_by_all_of_mlflow_s_translators() -> None:
    plain = 0
    for span in spans_of_the_corpus():
        dumped, _, _ = all_dumped = dump_all(span)
        if asks(tuple(dumped)) or reads_events(event.name for event in span.events):
            continue
        plain += 1
        translated = translation.translate_span_when_storing(MlflowSpan.from_otel_proto(span))["attributes"]
        assert {key: translated[key] for key in dumped} == dumped | inner_texts(all_dumped)
        assert set(translated) - set(dumped) == {"mlflow.traceRequestId"}
    assert plain > 2000 // EACH


def test_all_other_spans_are_translated_as_by_all_of_mlflow_s_translators_with_the_plain_json_module(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, spans = [], []
    for span in spans_of_the_corpus():
        dumped, _, _ = all_dumped = dump_all(span)
        if asks(tuple(dumped)) or reads_events(event.name for event in span.events):
            spans.append(span)
            ours.append(translate(dumped | inner_texts(all_dumped), events_of(span)))
    monkeypatch.setattr(base, "json", json)
    for span, translated in zip(spans, ours, strict=True):
        theirs = translation.translate_span_when_storing(MlflowSpan.from_otel_proto(span))["attributes"]
        del theirs["mlflow.traceRequestId"]
        translated.pop("mlflow.traceRequestId", None)
        assert list(translated.items()) == list(theirs.items())
    assert len(spans) > 300 // EACH


TEXTS = [
    "",
    "1",
    "-0.5",
    "1e5",
    "true",
    "null",
    "NaN",
    "Infinity",
    "-Infinity",
    '"a"',
    '"\\ud800"',
    '"',
    "[1, {}]",
    " 1",
    "x",
    "{",
]


@pytest.mark.parametrize("text", [*TEXTS, None, 5, b"[1]", '"' + "a" * 100 + '"'], ids=repr)
def test_json_is_read_as_by_the_plain_module(text: Any) -> None:
    def outcome(read: Any) -> str:
        try:
            return repr(read(text))
        except Exception as error:
            return repr(error)

    assert outcome(loads) == outcome(loads) == outcome(json.loads)


@pytest.mark.parametrize(
    "value",
    [
        "ü \\ \ud800",
        "",
        None,
        5,
        True,
        {},
        {"a": 1, "b": 0.1},
        {"a": 1e300, "ü\n": -0.0},
        {"a": float("nan")},
        {"a": True},
        ["a"],
    ],
    ids=repr,
)
def test_values_are_dumped_as_by_mlflow(value: Any) -> None:
    dumped = _dump(value)
    assert dumped == dump_span_attribute_value(value)
    if isinstance(dumped, JsonText):
        assert (dumped.value, dumped.quoted) == (json.loads(dumped), json.dumps(dumped, ensure_ascii=False))


@pytest.mark.parametrize(
    "name",
    ["gen_ai.system.message", "gen_ai.user.message", "gen_ai.assistant.message", "gen_ai.choice", "gen_ai.content.prompt"],
)
def test_events_that_are_read_on_any_span_are_known(name: str) -> None:
    assert reads_events(["other", name])


def test_events_of_others_make_no_span_visit_anybody() -> None:
    assert not reads_events(["exception", "message", "gen_ai.tool.message", "", "tool.output"])


class Translator:
    """Reads events and attributes in ways that the notes cannot follow."""

    def __init__(self, read: Any) -> None:
        self.get_input_value_from_events = read

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


@pytest.mark.parametrize(
    "read",
    [
        lambda events, attributes: [event for event in events if event["name"] in {"a", "b"}],
        lambda events, attributes: [event for event in events if event["name"].startswith("a")],
        lambda events, attributes: [event for event in events if {"a": 1}.get(event["name"])],
        lambda events, attributes: list(attributes.items()),
    ],
    ids=["set", "prefix", "dict", "walk"],
)
def test_what_the_notes_cannot_follow_is_noted(read: Any) -> None:
    assert record(Translator(read)).walked


def test_what_the_notes_can_follow_is_not() -> None:
    asked = record(Translator(lambda events, attributes: attributes.get("k") or [e for e in events if e.get("name") == "a"]))
    assert (set(asked.keys), set(asked.events), asked.walked) == ({"k"}, {"a"}, False)


def texts_of(code: CodeType) -> Iterator[str]:
    """All texts in a piece of compiled code."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from texts_of(constant)
        elif isinstance(constant, str):
            yield constant
        elif isinstance(constant, tuple | frozenset):
            yield from (item for item in constant if isinstance(item, str))


def texts_in(value: Any) -> Iterator[str]:
    """All texts in a constant of a module or a class."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for item in (*value.keys(), *value.values()) for text in texts_in(item))
    elif isinstance(value, list | tuple | set | frozenset):
        yield from (text for item in value for text in texts_in(item))


@cache
def texts_of_translators() -> set[str]:
    """Every text in the modules of MLflow's translators, whatever it is there for: the name of each attribute and event that
    they could read is among them."""
    found: set[str] = set()
    translators = (*translation._TRANSLATORS, *translation._EVENT_TRANSLATORS)
    modules = {sys.modules[kind.__module__] for translator in translators for kind in type(translator).__mro__[:-1]}
    for module in modules:
        assert module.__file__
        with open(module.__file__) as source:
            found.update(texts_of(compile(source.read(), module.__file__, "exec")))
    for translator in translators:
        found.update(text for kind in type(translator).__mro__ for value in vars(kind).values() for text in texts_in(value))
    return {text for text in found if len(text) < 100 and "\n" not in text}


def is_left_alone(span: Any) -> bool:
    """Whether all of MLflow's translators together have nothing to say to a span."""
    dumped, *_ = dump_all(span)
    translated = translation.translate_span_when_storing(MlflowSpan.from_otel_proto(span))["attributes"]
    return set(translated) - set(dumped) <= {"mlflow.traceRequestId"}


VALUES: tuple[Any, ...] = ("text", 5, '{"role": "user", "content": "x", "messages": [{"role": "user", "content": "x"}]}')


def test_no_attribute_is_read_that_the_notes_have_missed() -> None:
    """A span for each text in the translators' code as an attribute, and as the beginning of one."""
    texts = texts_of_translators()
    assert {"gen_ai.operation.name", "openinference.span.kind", "lk."} <= texts
    checked = 0
    for text in thinned(sorted(texts)):
        for key in (text, f"{text}0.content", f"{text}.0.content"):
            for value in VALUES:
                if not asks((key,)):
                    checked += 1
                    assert is_left_alone(otlp.span(attrs={key: value})), key
    assert checked > 500 // EACH


def test_no_event_is_read_that_the_notes_have_missed() -> None:
    """A span for each text in the translators' code as the name of its event, which has all of them as attributes."""
    texts = sorted(texts_of_translators())
    attributes = otlp.attributes(dict.fromkeys(texts, "text"))
    checked = 0
    for text in ("", "other", *thinned(texts)):
        if not reads_events([text]):
            checked += 1
            span = otlp.span(events=[Span.Event(name=text, attributes=attributes)])
            assert is_left_alone(span), text
    assert checked > 200 // EACH


@pytest.mark.parametrize(
    "more", [{}, {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "mlflow.spanInputs": "{}"}]
)
def test_no_answer_is_lost_where_only_those_translators_are_asked_that_have_one(more: dict[str, str]) -> None:
    """A span for each text in the translators' code as an attribute, alone and beside those of a model's call."""
    checked = 0
    for key in thinned(sorted(texts_of_translators())):
        for value in VALUES[1:]:
            dumped = dump_all(span := otlp.span(attrs=more | {key: value}))
            if asks(tuple(dumped[0])):
                checked += 1
                assert outcome(lambda: translate(dumped[0] | inner_texts(dumped), [])) == outcome(  # noqa: B023
                    lambda: translation.translate_span_when_storing(MlflowSpan.from_otel_proto(span))["attributes"]
                ), key
    assert checked > 100 // EACH


def outcome(translated: Callable[[], dict[str, Any]]) -> Any:
    """The attributes in their order, or the error on which MLflow breaks."""
    try:
        return [pair for pair in translated().items() if pair[0] != "mlflow.traceRequestId"]
    except Exception as error:
        return repr(error)
