"""Times that no clock has shown: what is stored in their place, what is kept of them, what is counted."""

import json
from collections import Counter
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import otlp
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.mlflow.fold.arrival_order import ArrivalOrder
from headrace.mlflow.fold.policy import FoldPolicy
from headrace.mlflow.fold.root_decides import RootDecides
from headrace.mlflow.model import SpanRow, TracePart
from headrace.mlflow.translate.parts import to_parts
from headrace.mlflow.translate.readback import is_unfinished, to_span
from headrace.mlflow.translate.times import MAX_TIME

START, END = otlp.START, otlp.START + otlp.SECOND
RECEIVED = otlp.START + 60 * otlp.SECOND
GO_S_ZERO_TIME = 2**64 - 6_795_364_578_871_345_152  # time.Time{}.UnixNano(), as a uint64


def parts_of(*spans: Span, policy: FoldPolicy[Any, Any] | None = None) -> tuple[list[TracePart], Counter[str]]:
    repaired: Counter[str] = Counter()
    destination = pb.Destination(experiment_id="1", routed_by=pb.ROUTED_BY_DEFAULT)
    delivery = Delivery(otlp.request(*spans), (destination,), "", RECEIVED, "")
    return to_parts(delivery, repaired, policy or RootDecides()), repaired


def row_of(span: Span, policy: FoldPolicy[Any, Any] | None = None) -> tuple[SpanRow, Counter[str]]:
    ((part,), repaired) = parts_of(span, policy=policy)
    return part.spans[span.span_id.hex()], repaired


ODD: dict[str, tuple[int, int, int, int, dict[str, int]]] = {  # sent start and end → stored ones, and the repairs
    "fine": (START, END, START, END, {}),
    "no length": (START, START, START, START, {}),
    "no end": (START, 0, START, START, {"end_time_missing": 1}),
    "ends before it starts": (START, START - 1, START, START, {"end_before_start": 1}),
    "ends in 1970": (START, 1, START, START, {"end_before_start": 1}),
    "Go's zero time": (START, GO_S_ZERO_TIME, START, START, {"end_time_out_of_range": 1}),
    "ends in 2554": (START, 2**64 - 1, START, START, {"end_time_out_of_range": 1}),
    "ends in 2262": (START, MAX_TIME, START, MAX_TIME, {}),
    "no start": (0, END, END, END, {"start_time_missing": 1}),
    "no time at all": (0, 0, RECEIVED, RECEIVED, {"start_time_missing": 1, "end_time_missing": 1}),
    "only Go's zero time": (0, GO_S_ZERO_TIME, RECEIVED, RECEIVED, {"start_time_missing": 1, "end_time_out_of_range": 1}),
}


@pytest.mark.parametrize("name", ODD)
def test_no_span_takes_less_than_no_time(name: str) -> None:
    start, end, stored_start, stored_end, rules = ODD[name]
    row, repaired = row_of(otlp.span(start=start, end=end))
    assert (row.start_time_unix_nano, row.end_time_unix_nano) == (stored_start, stored_end)
    content = json.loads(row.content)
    assert (content["start_time_unix_nano"], content["end_time_unix_nano"]) == (stored_start, stored_end)
    assert repaired == rules


@pytest.mark.parametrize(
    "attrs", [{"a": "x"}, {"bytes": b"\xff"}, {"gen_ai.request.model": "m"}], ids=["plain", "bytes", "llm"]
)
@pytest.mark.parametrize("name", ODD)
def test_what_was_sent_can_be_read_back(name: str, attrs: dict[str, Any]) -> None:
    start, end, *_ = ODD[name]
    events = [Span.Event(name="one"), Span.Event(name="two", time_unix_nano=5)]
    span = otlp.span(start=start, end=end, attrs=attrs, events=events)
    row, _ = row_of(span)
    assert to_span(json.loads(row.content)) == span


def test_the_note_says_in_plain_json_which_times_were_sent() -> None:
    row, _ = row_of(otlp.span(start=START, end=START - 7))
    assert json.loads(row.content)["otlp"]["times"] == {"end": START - 7}
    row, _ = row_of(otlp.span(start=0, end=0, attrs={"bytes": b"\xff"}))
    assert json.loads(row.content)["otlp"]["times"] == {"start": 0, "end": 0}
    row, _ = row_of(otlp.span())
    assert "times" not in json.loads(row.content)["otlp"]


def test_an_event_without_a_time_is_at_the_start_of_its_span() -> None:
    events = [Span.Event(name="a", time_unix_nano=START + 5), Span.Event(name="b"), Span.Event(name="c")]
    row, repaired = row_of(otlp.span(events=events))
    assert [event["time_unix_nano"] for event in json.loads(row.content)["events"]] == [START + 5, START, START]
    assert repaired == {"event_time_missing": 1}


def test_without_enrichment_the_row_is_mlflow_s() -> None:
    for start, end in ((START, 0), (START, START - 1), (0, END), (0, 0)):
        row, repaired = row_of(otlp.span(start=start, end=end, events=[Span.Event(name="a")]), ArrivalOrder())
        assert (row.start_time_unix_nano, row.end_time_unix_nano) == (start, end)
        assert json.loads(row.content)["events"][0]["time_unix_nano"] == 0
        assert not repaired
    row, repaired = row_of(otlp.span(end=2**64 - 1), ArrivalOrder())  # MLflow loses the whole request on it
    assert row.end_time_unix_nano == START
    assert repaired == {"end_time_out_of_range": 1}


@pytest.mark.parametrize("end", [0, START - 1, GO_S_ZERO_TIME])
@pytest.mark.parametrize("parent", [b"", b"p" * 8], ids=["root", "child"])
def test_of_two_copies_in_one_request_the_whole_one_stands(parent: bytes, end: int) -> None:
    ids: dict[str, Any] = {"trace_id": b"t" * 16, "span_id": b"s" * 8, "parent": parent}
    running = otlp.span("running", end=end, attrs={"session.id": "a", "gen_ai.usage.input_tokens": 9}, **ids)
    whole = otlp.span("whole", attrs={"session.id": "b", "gen_ai.usage.input_tokens": 5}, **ids)
    outcomes = []
    for spans in ((running, whole), (whole, running)):
        ((part,), repaired) = parts_of(*spans)
        (row,) = part.spans.values()
        assert row.name == "whole"
        assert repaired["duplicate_span"] == 1
        assert not part.unfinished
        outcomes.append((part.nodes, part.values.roots, part.values.others))
    assert outcomes[0] == outcomes[1]


def test_of_two_copies_without_an_end_the_later_one_stands() -> None:
    ids: dict[str, Any] = {"trace_id": b"t" * 16, "span_id": b"s" * 8}
    ((part,), _) = parts_of(otlp.span("first", end=0, **ids), otlp.span("second", end=0, **ids))
    assert [row.name for row in part.spans.values()] == ["second"]
    assert part.unfinished == {"73" * 8}


def test_a_stored_span_tells_whether_it_came_without_an_end() -> None:
    def content(policy: FoldPolicy[Any, Any], end: int = END) -> Any:
        return json.loads(row_of(otlp.span(end=end), policy)[0].content)

    for policy in (RootDecides(), ArrivalOrder()):
        assert is_unfinished(content(policy, end=0))
        assert is_unfinished(content(policy, end=START - 1))
        assert not is_unfinished(content(policy))
        assert not is_unfinished(content(policy, end=START))
