"""What the spans of a scope share is remembered, and is the same as if it were made anew."""

import pytest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans

import otlp
from headrace.mlflow.translate.enrich import shared_attributes
from headrace.mlflow.translate.parts import _enrichment, _remembered

NO_SCOPE = [ScopeSpans()]
NAMED = InstrumentationScope(name="n", version="1", attributes=otlp.attributes({"a": 1}))
SERVICE = Resource(attributes=otlp.attributes({"service.name": "ü" * 2000}))
LARGE = Resource(attributes=otlp.attributes({"a": "a" * 20_000}))
SHARED = {
    "nothing": ResourceSpans(scope_spans=NO_SCOPE),
    "an empty resource": ResourceSpans(resource=Resource(), scope_spans=NO_SCOPE),
    "an empty scope": ResourceSpans(scope_spans=[ScopeSpans(scope=InstrumentationScope())]),
    "addresses of schemas": ResourceSpans(schema_url="r", scope_spans=[ScopeSpans(schema_url="s")]),
    "a name": ResourceSpans(scope_spans=[ScopeSpans(scope=NAMED)]),
    "a service": ResourceSpans(resource=SERVICE, scope_spans=NO_SCOPE),
    "too large": ResourceSpans(resource=LARGE, scope_spans=NO_SCOPE),
}


@pytest.mark.parametrize("name", SHARED)
def test_a_scope_is_remembered_as_it_is(name: str) -> None:
    sent = ResourceSpans()
    sent.CopyFrom(SHARED[name])
    scope = sent.scope_spans[0]
    scope.spans.append(otlp.span())
    first, again = _enrichment(sent, scope), _enrichment(sent, scope)
    assert first == again
    assert first.added == shared_attributes(sent, scope)
    assert ResourceSpans.FromString(first.origin.data) == SHARED[name]


def test_all_of_them_differ() -> None:
    assert len({_enrichment(sent, sent.scope_spans[0]).origin for sent in SHARED.values()}) == len(SHARED)


def test_what_is_large_is_not_remembered() -> None:
    _remembered.cache_clear()
    for sent in SHARED.values():
        _enrichment(sent, sent.scope_spans[0])
    assert _remembered.cache_info().currsize == len(SHARED) - 1
