"""A root without inputs or outputs: the agents below it speak in its place, whatever comes first, in any batches."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from conftest import rows
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

import otlp
from db.mlflow.groups import cut
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.mlflow.write.bulk import BulkWriter
from headrace.store.database import Database

START = otlp.START
MS = 1_000_000
HTTP = {"http.request.method": "POST", "http.route": "/chat/{id}", "url.path": "/chat/7", "http.response.status_code": 200}
FAILED = Status(code=Status.STATUS_CODE_ERROR)
Spans = list[tuple[str, Span]]
"""A span, and its service."""


def words(kind: str, asked: str = "", answered: str = "") -> dict[str, Any]:
    """What an agent, a chain or a model says, in OpenInference's attributes."""
    said = {"openinference.span.kind": kind}
    if asked:
        said["input.value"] = json.dumps({"messages": [{"role": "user", "content": asked}]})
    if answered:
        said["output.value"] = json.dumps({"choices": [{"message": {"role": "assistant", "content": answered}}]})
    return said


def at(name: str, trace: bytes, number: int, parent: int, begin: int, end: int, attrs: Any = None, **fields: Any) -> Span:
    """A span by its number and its parent's; times in milliseconds from the trace's start."""
    parent_id = bytes([parent]) * 8 if parent else b""
    return otlp.span(name, trace, bytes([number]) * 8, parent_id, START + begin * MS, START + end * MS, attrs, **fields)


def http_root(trace: bytes) -> Spans:
    """The model's clock is wrong: it begins before its agent, and ends after it."""
    return [
        ("web", at("POST /chat/{id}", trace, 1, 0, 0, 900, HTTP, kind=Span.SPAN_KIND_SERVER)),
        ("web", at("handler", trace, 2, 1, 1, 890)),
        ("agent", at("support agent", trace, 3, 2, 10, 800, words("AGENT", "Where is my order?", "On its way."))),
        ("agent", at("look up", trace, 4, 3, 20, 300, words("TOOL", '{"order": 5}', "shipped"))),
        ("model", at("chat", trace, 5, 4, 5, 850, words("LLM", "You are a model.", "I am."))),
    ]


def silent_agent(trace: bytes) -> Spans:
    """The agent says nothing, the models below it do; the last to begin is not the last to end."""
    return [
        ("app", at("workflow", trace, 1, 0, 0, 900)),
        ("app", at("agent", trace, 2, 1, 0, 900, words("AGENT"))),
        ("app", at("step", trace, 3, 2, 0, 500, words("CHAIN"))),
        ("app", at("chat 1", trace, 4, 3, 1, 200, words("LLM", "First question?", "Calling."))),
        ("app", at("chat 2", trace, 5, 3, 210, 490, words("LLM", "Second question?", "Final answer."))),
        ("app", at("chat 3", trace, 6, 2, 300, 400, words("LLM", "Third question?", "Early answer."))),
    ]


def same_times(trace: bytes) -> Spans:
    """A clock of milliseconds: only the tree tells who is above whom."""
    return [
        ("web", at("GET /ask", trace, 1, 0, 0, 5, {"http.method": "GET", "http.target": "/ask?q=1"})),
        ("web", at("outer", trace, 9, 1, 0, 5, words("CHAIN", "Outer?", "Outer!"))),
        ("web", at("inner", trace, 2, 9, 0, 5, words("AGENT", "Inner?", "Inner!"))),
        ("web", at("chat", trace, 3, 2, 0, 5, words("LLM", "Chat?", "Chat!"))),
    ]


def lost_parent(trace: bytes) -> Spans:
    """The span between the root and the agent never comes."""
    return [
        ("web", at("POST /chat/{id}", trace, 1, 0, 0, 900, HTTP)),
        ("agent", at("agent", trace, 3, 7, 10, 800, words("AGENT", "Is it far?"))),
        ("agent", at("chat", trace, 4, 3, 20, 700, words("LLM", "Is it far, please?", "No."))),
    ]


def half_silent(trace: bytes) -> Spans:
    """The root says what was asked, and nothing more."""
    return [
        ("app", at("run", trace, 1, 0, 0, 900, words("AGENT", "Of the root?"))),
        ("app", at("chat", trace, 2, 1, 10, 800, words("LLM", "Of the model?", "Of the model."))),
    ]


def mute_failure(trace: bytes) -> Spans:
    """The root only says that it failed. Of the spans that say why, the last to end counts, whatever it is."""
    event = Span.Event(name="exception", attributes=otlp.attributes({"exception.type": "Timeout", "exception.message": "60 s"}))
    return [
        ("app", at("job", trace, 1, 0, 0, 900, status=FAILED)),
        ("app", at("agent", trace, 2, 1, 10, 800, words("AGENT", "Why?", "So."), status=FAILED)),
        ("db", at("first", trace, 3, 2, 20, 300, status=Status(code=FAILED.code, message="tried once"))),
        ("db", at("second", trace, 4, 2, 310, 700, status=FAILED, events=[event])),
        ("db", at("third", trace, 5, 2, 710, 790, status=FAILED)),
    ]


def told_failure(trace: bytes) -> Spans:
    """The root says why it failed: that stands, and so does what was asked."""
    return [
        ("web", at("POST /chat/{id}", trace, 1, 0, 0, 900, HTTP, status=Status(code=FAILED.code, message="no money"))),
        (
            "app",
            at(
                "agent",
                trace,
                2,
                1,
                10,
                800,
                words("AGENT", "Can I pay?", "Of course."),
                status=FAILED,
            ),
        ),
    ]


def plain(trace: bytes) -> Spans:
    """No agent: the trace stays as it is."""
    return [
        ("web", at("GET /orders/{id}", trace, 1, 0, 0, 900, HTTP | {"http.request.method": "GET"})),
        ("web", at("look up", trace, 2, 1, 10, 800, words("TOOL", "5", "shipped"))),
        ("db", at("SELECT orders", trace, 3, 2, 20, 700)),
    ]


def two_roots(trace: bytes) -> Spans:
    """The earlier root is plain; the other says something, and has an agent's type."""
    return [
        ("web", at("tick", trace, 1, 0, 0, 900)),
        ("app", at("agent", trace, 2, 0, 10, 800, words("AGENT", "Of another root?", "Yes."))),
    ]


CASES: dict[Callable[[bytes], Spans], tuple[str, str, str]] = {
    http_root: ("support agent", "Where is my order?", "On its way."),
    silent_agent: ("workflow", "First question?", "Final answer."),
    same_times: ("outer", "Outer?", "Outer!"),
    lost_parent: ("agent", "Is it far?", "No."),
    half_silent: ("run", "Of the root?", "Of the model."),
    mute_failure: ("job", "Why?", "ERROR: Timeout: 60 s"),
    told_failure: ("agent", "Can I pay?", "ERROR: no money"),
    plain: ("GET /orders/{id}", "GET /chat/7", "200"),
    two_roots: ("tick", "Of another root?", "Yes."),
}


def write(writer: BulkWriter, batch: list[Spans]) -> None:
    """A batch of requests, each of spans of any services."""
    deliveries = []
    for spans in batch:
        request = otlp.request()
        del request.resource_spans[:]
        request.resource_spans.extend(otlp.resource_spans(span, service=service) for service, span in spans)
        destinations = (pb.Destination(experiment_id="0"),) * len(spans)
        deliveries.append(Delivery(request, destinations, "", 0, ""))
    writer.write(writer.translate(deliveries))


def told(url: str, trace: bytes) -> tuple[str, str, str]:
    (row,) = rows(url, "SELECT * FROM trace_info WHERE request_id = %s", f"tr-{trace.hex()}")
    return row["trace_name"], row["request_preview"], row["response_preview"]


@pytest.mark.parametrize(("make", "expected"), CASES.items(), ids=[make.__name__ for make in CASES])
def test_the_topmost_agents_speak_in_any_order(
    database: Database, database_url: str, make: Callable[[bytes], Spans], expected: tuple[str, str, str]
) -> None:
    """Two writers in turns, as two workers are; what is remembered only spares a look at the spans."""
    writers = BulkWriter(database, enrich=True), BulkWriter(database, enrich=True)
    chance = random.Random(make.__name__)
    for number in range(1, 9):
        trace = number.to_bytes(16, "big")
        spans = make(trace)
        if number > 1:  # the first comes whole
            chance.shuffle(spans)
            spans += chance.sample(spans, number % 3)  # some are sent again
        requests = cut(spans, chance) if number > 1 else [spans]
        batches = cut(requests, chance) if number < 6 else [[[span]] for span in spans]
        for batch in batches:
            write(chance.choice(writers), batch)
            if chance.random() < 0.2:
                rows(database_url, "DELETE FROM headrace.remembered_trace RETURNING 1")
        assert told(database_url, trace) == expected, batches


def test_a_root_that_comes_with_words_of_its_own_takes_them_back(database: Database, database_url: str) -> None:
    writer, trace = BulkWriter(database, enrich=True), b"t" * 16
    for spans in http_root(trace):
        write(writer, [[spans]])
    earlier = at("earlier", trace, 8, 0, -5, 900, {"input.value": "Mine?", "openinference.span.kind": "CHAIN"})
    write(writer, [[("app", earlier)]])
    assert told(database_url, trace) == ("earlier", "Mine?", "On its way.")


def test_a_speaker_that_comes_again_says_what_it_said_last(database: Database, database_url: str) -> None:
    writer, trace = BulkWriter(database, enrich=True), b"t" * 16
    for spans in http_root(trace):
        write(writer, [[spans]])
    again = at("sales agent", trace, 3, 2, 10, 800, words("AGENT", "Where is it now?", "At your door."))
    write(writer, [[("agent", again)]])
    assert told(database_url, trace) == ("sales agent", "Where is it now?", "At your door.")


def test_a_name_that_the_client_gave_stays(database: Database, database_url: str) -> None:
    writer, trace = BulkWriter(database, enrich=True), b"t" * 16
    spans = http_root(trace)
    spans[0][1].attributes.extend(otlp.attributes({"mlflow.traceTag.mlflow.traceName": "mine"}))
    for each in reversed(spans):
        write(writer, [[each]])
    assert told(database_url, trace) == ("mine", "Where is my order?", "On its way.")


def test_without_enrichment_nobody_speaks(database: Database, database_url: str) -> None:
    writer, trace = BulkWriter(database, enrich=False), b"t" * 16
    write(writer, [http_root(trace)])
    assert set(told(database_url, trace)) == {None}
    (row,) = rows(database_url, "SELECT count(*) FROM spans WHERE content LIKE '%%speaks%%'")
    assert row["count"] == 0
