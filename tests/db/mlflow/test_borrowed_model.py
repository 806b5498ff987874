"""Tokens on one span, their model on a span above it: the model and the cost are the same, whatever comes first."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from conftest import rows
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import otlp
from db.mlflow.groups import cut
from db.mlflow.test_speaks import Spans, at, write
from headrace.mlflow.translate.readback import to_span
from headrace.mlflow.write.bulk import BulkWriter
from headrace.store.database import Database

TOKENS = {"gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 100}
MINI, LARGE = 0.00021, 0.0035
"""What these tokens cost of gpt-4o-mini and of gpt-4o, in US dollars."""
Costs = dict[str, float | None]
"""By span; "trace": in all."""


def model(name: str, **more: Any) -> dict[str, Any]:
    return {"gen_ai.request.model": name, "gen_ai.provider.name": "openai"} | more


def on_the_parent(trace: bytes) -> Spans:
    """Between the two is a span of another service that says nothing of either."""
    return [
        ("app", at("agent", trace, 1, 0, 0, 900, model("gpt-4o-mini", **{"gen_ai.operation.name": "invoke_agent"}))),
        ("web", at("POST", trace, 2, 1, 10, 800, {"http.request.method": "POST"})),
        ("model", at("call", trace, 3, 2, 20, 700, TOKENS)),
        ("model", at("chat", trace, 4, 2, 20, 700, TOKENS | {"gen_ai.operation.name": "chat"})),
    ]


def of_two_the_nearer(trace: bytes) -> Spans:
    return [
        ("app", at("workflow", trace, 1, 0, 0, 900, model("gpt-4o"))),
        ("app", at("agent", trace, 2, 1, 10, 800, model("gpt-4o-mini"))),
        ("app", at("near", trace, 3, 2, 20, 700, TOKENS)),
        ("app", at("far", trace, 4, 1, 20, 700, TOKENS)),
    ]


def root_that_never_comes(trace: bytes) -> Spans:
    return [
        ("app", at("agent", trace, 2, 1, 10, 800, model("gpt-4o-mini"))),
        ("app", at("found", trace, 3, 2, 20, 700, TOKENS)),
        ("app", at("lost", trace, 4, 1, 20, 700, TOKENS)),
        ("app", at("below nothing", trace, 5, 9, 20, 700, TOKENS)),
    ]


def with_models_of_their_own(trace: bytes) -> Spans:
    """The agent sums up what the two say: only a call borrows. A cost that is stated stays."""
    return [
        ("app", at("workflow", trace, 1, 0, 0, 900, model("gpt-4o"))),
        ("app", at("agent", trace, 2, 1, 10, 800, TOKENS | {"openinference.span.kind": "AGENT"})),
        ("app", at("own", trace, 3, 2, 20, 700, TOKENS | model("gpt-4o-mini"))),
        ("app", at("stated", trace, 4, 2, 20, 700, TOKENS | {"gen_ai.usage.cost": 0.5})),
    ]


def without_any(trace: bytes) -> Spans:
    return [("app", at("agent", trace, 1, 0, 0, 900)), ("app", at("call", trace, 2, 1, 10, 800, TOKENS))]


def two_of_one_call(trace: bytes) -> Spans:
    """Two instrumentations describe one call."""
    answer = TOKENS | {"gen_ai.response.id": "answer-1"}
    return [
        ("app", at("agent", trace, 1, 0, 0, 900, model("gpt-4o-mini"))),
        ("one", at("call", trace, 2, 1, 10, 800, answer | {"otel.scope.name": "one"})),
        ("two", at("chat", trace, 3, 1, 10, 800, answer | {"otel.scope.name": "two", "bytes": b"\xff"})),
    ]


def in_a_circle(trace: bytes) -> Spans:
    return [
        ("app", at("one", trace, 1, 2, 0, 900, TOKENS)),
        ("app", at("two", trace, 2, 1, 10, 800, TOKENS)),
        ("app", at("root", trace, 3, 0, 10, 800, model("gpt-4o"))),
    ]


CASES: dict[Callable[[bytes], Spans], Costs] = {
    on_the_parent: {"call": MINI, "chat": MINI, "trace": 2 * MINI},
    of_two_the_nearer: {"near": MINI, "far": LARGE, "trace": MINI + LARGE},
    root_that_never_comes: {"found": MINI, "trace": MINI},
    with_models_of_their_own: {"own": MINI, "stated": 0.5, "trace": 0.5 + MINI},
    without_any: {"trace": None},
    two_of_one_call: {"call": MINI, "chat": MINI, "trace": MINI},
    in_a_circle: {"trace": None},
}


def told(url: str, trace: bytes) -> Costs:
    """The costs of spans and trace, which all of them tell twice."""
    (row,) = rows(url, "SELECT * FROM trace_info WHERE request_id = %s", f"tr-{trace.hex()}")
    found: Costs = {"trace": row["total_cost"]}
    for span in rows(url, "SELECT * FROM spans WHERE trace_id = %s", f"tr-{trace.hex()}"):
        cost = json.loads(json.loads(span["content"])["attributes"].get("mlflow.llm.cost", "{}"))
        assert span["total_cost"] == cost.get("total_cost")
        if cost:
            found[span["name"]] = cost["total_cost"]
    return found


def stored(url: str, trace: bytes) -> dict[str, Any]:
    """The rows of the spans, but for the trace's id."""
    found = {}
    for row in rows(url, "SELECT * FROM spans WHERE trace_id = %s", f"tr-{trace.hex()}"):
        content = json.loads(row.pop("content"))
        del content["trace_id"], content["attributes"]["mlflow.traceRequestId"], row["trace_id"]
        content["otlp"].pop("span", None)
        found[row["span_id"]] = json.dumps([row, content], default=str)
    return found


@pytest.mark.parametrize(("make", "expected"), CASES.items(), ids=[make.__name__ for make in CASES])
def test_tokens_without_a_model_borrow_that_of_the_nearest_span_above_them(
    database: Database, database_url: str, make: Callable[[bytes], Spans], expected: Costs
) -> None:
    writers = BulkWriter(database, enrich=True), BulkWriter(database, enrich=True)
    chance = random.Random(make.__name__)
    whole = (1).to_bytes(16, "big")
    for number in range(1, 11):
        trace = number.to_bytes(16, "big")
        spans = make(trace)
        if number > 1:  # the first comes whole
            chance.shuffle(spans)
            spans += chance.sample(spans, number % 3)  # some are sent again
        batches = cut(cut(spans, chance), chance) if 1 < number < 8 else [[[span]] for span in reversed(spans)]
        for batch in batches if number > 1 else [[spans]]:
            write(chance.choice(writers), batch)
            if chance.random() < 0.2:
                rows(database_url, "DELETE FROM headrace.remembered_trace RETURNING 1")
        assert told(database_url, trace) == pytest.approx(expected), batches
        assert stored(database_url, trace) == stored(database_url, whole), batches


@pytest.mark.parametrize("again", [False, True], ids=["remembered", "forgotten"])
def test_a_lender_that_comes_again_says_what_it_said_last(database: Database, database_url: str, again: bool) -> None:
    writer, trace = BulkWriter(database, enrich=True), b"t" * 16
    for span in on_the_parent(trace):
        write(writer, [[span]])
    for name, cost in (("gpt-4o", LARGE), ("gpt-4o-mini", MINI)):
        if again:
            rows(database_url, "DELETE FROM headrace.remembered_trace RETURNING 1")
        write(writer, [[("app", at("agent", trace, 1, 0, 0, 900, model(name)))]])
        assert told(database_url, trace) == pytest.approx({"call": cost, "chat": cost, "trace": 2 * cost})
    write(writer, [[("app", at("agent", trace, 1, 0, 0, 900))]])
    assert told(database_url, trace) == pytest.approx({"trace": 2 * MINI})  # a sum that nobody states any more stands


def test_what_was_sent_is_read_back(database: Database, database_url: str) -> None:
    writer, trace = BulkWriter(database, enrich=True), b"t" * 16
    sent = {span.span_id.hex(): span for _, span in on_the_parent(trace)}
    for span in reversed(on_the_parent(trace)):
        write(writer, [[span]])
    found = rows(database_url, "SELECT * FROM spans")
    assert {row["model_name"] for row in found if row["name"] in ("call", "chat")} == {"gpt-4o-mini"}
    assert {row["model_provider"] for row in found if row["name"] in ("call", "chat")} == {"openai"}
    read: dict[str, Span] = {row["span_id"]: to_span(json.loads(row["content"])) for row in found}
    assert read == sent


def test_without_enrichment_nothing_is_borrowed(database: Database, database_url: str) -> None:
    writer, trace = BulkWriter(database, enrich=False), b"t" * 16
    write(writer, [on_the_parent(trace)])
    assert told(database_url, trace) == {"trace": None}
    assert not rows(database_url, "SELECT 1 FROM spans WHERE content LIKE '%%borrows%%'")


def test_plain_traces_look_for_nothing(database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("headrace.mlflow.write.borrowers.read_stored_spans", refused)
    writer, trace = BulkWriter(database, enrich=True), b"t" * 16
    for number in range(1, 4):
        write(writer, [[("app", otlp.span("work", trace, bytes([number]) * 8, bytes([number - 1]) * 8))]])


@pytest.mark.parametrize(("borrowers", "cost"), [(1000, 1000 * MINI), (1001, None)])
def test_so_many_spans_borrow_of_a_model_that_comes_late(
    database: Database, database_url: str, borrowers: int, cost: float | None
) -> None:
    writer, trace = BulkWriter(database, enrich=True), b"t" * 16
    ids = (number.to_bytes(8, "big") for number in range(1, borrowers + 1))
    write(writer, [[("model", otlp.span("call", trace, id_, b"\1" * 8, attrs=TOKENS)) for id_ in ids]])
    write(writer, [[("app", at("agent", trace, 1, 0, 0, 900, model("gpt-4o-mini")))]])
    assert told(database_url, trace)["trace"] == pytest.approx(cost)


def test_a_span_asks_so_many_spans_above_it(database: Database, database_url: str) -> None:
    writer, trace = BulkWriter(database, enrich=True), b"t" * 16
    chain = [("app", at(f"level {number}", trace, number, number - 1, number, 900, {})) for number in range(2, 100)]
    leaves = [("model", at(f"below {number}", trace, number + 100, number, 150, 700, TOKENS)) for number in (2, 64, 65, 90)]
    write(writer, [leaves])
    write(writer, [[*chain, ("app", at("agent", trace, 1, 0, 0, 900, model("gpt-4o-mini")))]])
    assert set(told(database_url, trace)) == {"trace", "below 2", "below 64"}
