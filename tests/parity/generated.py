"""Requests that nobody thought of: Hypothesis' strategies over OTLP, and over the attributes that the corpus really has.

No request holds a span twice, and no span is its own parent: what MLflow and Headrace make of that is in the corpus.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

import otlp
from parity.concepts import concepts
from parity.dialects import dialects
from parity.scenario import DEFAULT_EXPERIMENT, EPOCH, EXPERIMENT_HEADER, MS, RUN, RUN_HEADER, SECOND_EXPERIMENT, Exchange
from parity.shapes import JSON_TEXTS

DAY_MS = 86_400_000
TRACES, SPANS = "AAAB", "abcdefgh"

Key = tuple[str, str]
"""A trace's letter and a span's."""

TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
CLEAN_TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
"""MLflow refuses NUL in names and resources."""

LEAVES = st.one_of(
    st.just(AnyValue()),
    st.builds(AnyValue, string_value=TEXTS | st.sampled_from(JSON_TEXTS)),
    st.builds(AnyValue, bool_value=st.booleans()),
    st.builds(AnyValue, int_value=st.integers(-(2**63), 2**63 - 1)),
    st.builds(AnyValue, double_value=st.floats()),
    st.builds(AnyValue, bytes_value=st.binary(max_size=4)),
)


def _nested(values: st.SearchStrategy[AnyValue]) -> st.SearchStrategy[AnyValue]:
    pairs = st.lists(st.builds(KeyValue, key=st.sampled_from("ab") | TEXTS, value=values), max_size=3)
    return st.builds(lambda items: AnyValue(array_value=ArrayValue(values=items)), st.lists(values, max_size=3)) | st.builds(
        lambda items: AnyValue(kvlist_value=KeyValueList(values=items)), pairs
    )


VALUES = st.recursive(LEAVES, _nested, max_leaves=6)
ATTRIBUTES = st.lists(st.builds(KeyValue, key=st.sampled_from("abc") | TEXTS, value=VALUES), max_size=3)


@lru_cache(maxsize=1)
def _known() -> list[list[KeyValue]]:
    """The attributes of every span of the corpus that has some which MLflow reads; each once."""
    found = {
        span.SerializeToString(): list(span.attributes)
        for scenario in (*dialects(), *concepts())
        for exchange in scenario.exchanges
        for span in (Span(attributes=span.attributes) for span in exchange.spans)
        if 0 < len(span.attributes) < 20
    }
    return list(found.values())


SAID = [
    otlp.attributes(said)
    for said in (
        {},
        {},
        {"session.id": "s"},
        {"session.id": "t", "user.id": "t"},
        {"user.id": "u"},
        {"user.id": "v"},
        {"mlflow.traceTag.team": "x"},
        {"mlflow.traceTag.team": "y", "mlflow.traceTag.region": "z"},
    )
]
"""What spans say of their trace."""


@st.composite
def attributes(draw: st.DrawFn) -> list[KeyValue]:
    """Any at all; or those of a real span, some left out, or one of another value, or beside others."""
    kind = draw(st.sampled_from(["any", "known", "changed", "more"]))
    said = draw(st.sampled_from(SAID))
    if kind == "any":
        return said + draw(ATTRIBUTES)
    known = draw(st.sampled_from(_known()))
    chosen = known[draw(st.sampled_from([0, 0, 0, 1, 2])) :] + said
    if kind == "changed" and chosen:
        index = draw(st.integers(0, len(chosen) - 1))
        chosen[index] = KeyValue(key=chosen[index].key, value=draw(VALUES))
    return chosen + (draw(ATTRIBUTES) if kind == "more" else [])


STATUSES = st.sampled_from(
    [None, Status(), Status(message="no error"), Status(code=1), Status(code=1, message="fine"), Status(code=2)]  # type: ignore[arg-type]
) | st.builds(Status, code=st.just(2), message=CLEAN_TEXTS)
TIMES = st.sampled_from([EPOCH + at * unit for unit in (1, MS, DAY_MS * MS) for at in (0, -1, 1, 2)])
EVENTS = st.builds(Span.Event, name=TEXTS | st.just("exception"), time_unix_nano=TIMES, attributes=ATTRIBUTES)
LINKS = st.builds(
    Span.Link,
    trace_id=st.binary(min_size=16, max_size=16),
    span_id=st.binary(min_size=8, max_size=8),
    attributes=ATTRIBUTES,
    flags=st.sampled_from([0, 0, 1]),
)
FEW_EVENTS: st.SearchStrategy[list[Span.Event]] = st.just([]) | st.just([]) | st.lists(EVENTS, min_size=1, max_size=2)
FEW_LINKS: st.SearchStrategy[list[Span.Link]] = st.just([]) | st.just([]) | st.lists(LINKS, min_size=1, max_size=2)
REST: list[dict[str, Any]] = [
    {},
    *({"kind": kind} for kind in range(6)),
    {"trace_state": "vendor=1", "kind": 2},
    {"flags": 0x101, "kind": 3},
    {"dropped_attributes_count": 2**32 - 1},
    {"dropped_events_count": 1, "dropped_links_count": 2, "flags": 1},
]
"""Of a span: what MLflow does not keep."""


def trace_id(letter: str) -> bytes:
    """A trace's."""
    return letter.encode() * 16


def span_id(letter: str) -> bytes:
    """A span's."""
    return letter.encode() * 8


@st.composite
def spans(draw: st.DrawFn, key: Key) -> Span:
    """The span of this key; its parent is any other of the trace, one that is never sent, or none."""
    trace, label = key
    parents = [*[b""] * 4, bytes(8), b"absent..", *(span_id(other) for other in SPANS if other != label)]
    start = draw(TIMES)
    return Span(
        trace_id=trace_id(trace),
        span_id=span_id(label),
        parent_span_id=draw(st.sampled_from(parents)),
        name=draw(CLEAN_TEXTS),
        start_time_unix_nano=start,
        end_time_unix_nano=draw(st.sampled_from([start + 7 * MS, start, start + 1, start - MS, 0, 2**63 - 1])),
        attributes=draw(attributes()),
        status=draw(STATUSES),
        events=draw(FEW_EVENTS),
        links=draw(FEW_LINKS),
        **draw(st.sampled_from(REST)),
    )


KNOWN_PAIRS = {"region": "abc", "zone": "abc", "tier": "ab", "telemetry.sdk.name": "a", "mlflow.region": "a"}
PAIRS = st.sampled_from([pair for key, texts in KNOWN_PAIRS.items() for text in texts for pair in otlp.attributes({key: text})])
ANY_PAIRS = st.builds(
    KeyValue,
    key=CLEAN_TEXTS,
    value=st.builds(AnyValue, string_value=CLEAN_TEXTS)
    | st.builds(AnyValue, int_value=st.integers(-(2**63), 2**63 - 1))
    | st.builds(AnyValue, double_value=st.floats()),
)
RESOURCES = st.none() | st.builds(
    lambda service, pairs: Resource(attributes=[*otlp.attributes({"service.name": service} if service else {}), *pairs]),
    st.sampled_from(["checkout", "stock", "codex_cli_rs", ""]),
    st.lists(PAIRS, max_size=4) | st.lists(PAIRS | ANY_PAIRS, max_size=3),
)
VERSIONS = st.sampled_from(["", "1"])
SCOPES = st.none() | st.builds(InstrumentationScope, name=CLEAN_TEXTS, version=VERSIONS, attributes=ATTRIBUTES)


@st.composite
def requests(draw: st.DrawFn, keys: Sequence[Key]) -> ExportTraceServiceRequest:
    """One request with these spans, over any resources and scopes."""
    request = ExportTraceServiceRequest()
    scope: Any = None
    for number, key in enumerate(keys):
        if not number or draw(st.booleans()):
            if not number or draw(st.booleans()):
                resource = request.resource_spans.add(resource=draw(RESOURCES), schema_url=draw(st.sampled_from(["", "r"])))
            scope = resource.scope_spans.add(scope=draw(SCOPES), schema_url=draw(st.sampled_from(["", "s"])))
        scope.spans.append(draw(spans(key)))
    return request


KEYS = st.sampled_from([(trace, label) for trace in TRACES for label in SPANS])


@st.composite
def exchanges(draw: st.DrawFn) -> list[Exchange]:
    """A few requests in order. Spans may come again later, and be others then."""
    found = []
    for keys in draw(st.lists(st.lists(KEYS, min_size=1, max_size=5, unique=True), min_size=1, max_size=4)):
        headers = {EXPERIMENT_HEADER: draw(st.sampled_from([DEFAULT_EXPERIMENT, DEFAULT_EXPERIMENT, SECOND_EXPERIMENT]))}
        if not draw(st.integers(0, 3)):
            headers[RUN_HEADER] = RUN
        found.append(Exchange(draw(requests(keys)), headers))
    return found


@st.composite
def shared_out(draw: st.DrawFn) -> list[ExportTraceServiceRequest]:
    """A few requests in which each span comes once."""
    keys = draw(st.lists(KEYS, min_size=2, max_size=8, unique=True))
    found = []
    while keys:
        size = draw(st.sampled_from([1, 1, 2, 4]))
        found.append(draw(requests(keys[:size])))
        keys = keys[size:]
    return found
