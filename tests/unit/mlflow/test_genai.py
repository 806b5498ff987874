"""Only translators that a span asks for are asked, and nothing is missed by that."""

import pytest
from mlflow.entities.span import Span as MlflowSpan
from mlflow.tracing.otel import translation
from parity.corpus import corpus

from headrace.mlflow.translate.content import dump_all, sanitized_attributes
from headrace.mlflow.translate.genai import EVENTS, PREFIXES, _relevant, asks, record


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
    for scenario in corpus():
        for exchange in scenario.exchanges:
            for span in exchange.spans:
                dumped, *_ = dump_all(span)
                if asks(tuple(dumped)) or any(event.name in EVENTS for event in span.events):
                    continue
                plain += 1
                translated = translation.translate_span_when_storing(MlflowSpan.from_otel_proto(span))["attributes"]
                assert {key: translated[key] for key in dumped} == sanitized_attributes(dumped)
                assert set(translated) - set(dumped) == {"mlflow.traceRequestId"}
    assert plain > 3000
