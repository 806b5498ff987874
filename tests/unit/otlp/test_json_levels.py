"""OTLP/JSON whose parts are of another form than they should be: nothing is lost without a word, and what is broken costs its
own records only."""

import json
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from headrace.errors import MalformedBody
from headrace.otlp.attributes import to_dict, to_python
from headrace.otlp.codec import Encoding, decode
from headrace.otlp.form import DATA_POINTS, LOG_RECORDS, SPANS, Form
from headrace.otlp.notes import Notes
from headrace.otlp.spans import spans_of

TRACE, ONE, TWO = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "00f067aa0ba902b8"


def read(data: Any, form: Form = SPANS) -> tuple[Any, int, Notes]:
    """A JSON value → the request, how many records were left out, and what was noted."""
    notes = Notes()
    return *decode(json.dumps(data).encode(), Encoding.JSON, notes=notes, form=form), notes


def span(**fields: Any) -> dict[str, Any]:
    return {"traceId": TRACE, "spanId": ONE, "name": "pay", "startTimeUnixNano": "5", "endTimeUnixNano": "7"} | fields


def resource(*spans: Any, **fields: Any) -> dict[str, Any]:
    return {"resource": {"attributes": []}, "scopeSpans": [{"spans": list(spans)}]} | fields


ALONE: list[tuple[str, Any, Any]] = [  # a field of a span that nothing but itself shows to be of another form, and what is read
    ("status", "ERROR", Status(code=Status.STATUS_CODE_ERROR)),
    ("status", "no such card", Status(message="no such card")),
    ("status", 2, Status(code=Status.STATUS_CODE_ERROR)),
    ("status", [{"code": 1}], Status(code=Status.STATUS_CODE_OK)),
    ("events", ["retried"], [Span.Event(name="retried")]),
    ("events", [{"name": "a"}, "retried"], [Span.Event(name="a"), Span.Event(name="retried")]),
    ("events", "retried", [Span.Event(name="retried")]),
    ("events", {"name": "retried"}, [Span.Event(name="retried")]),
    ("links", {"flags": 3}, [Span.Link(flags=3)]),
]


@pytest.mark.parametrize(("name", "sent", "expected"), ALONE)
def test_a_text_or_a_list_where_an_object_belongs_is_not_lost(name: str, sent: Any, expected: Any) -> None:
    message, left_out, notes = read({"resourceSpans": [resource(span(**{name: sent}))]})
    found = getattr(spans_of(message)[0], name)
    assert (list(found) if isinstance(expected, list) else found) == expected
    assert not left_out
    assert notes.repaired["json_value_read"] > 0


VALUES: list[tuple[Any, Any]] = [  # an AnyValue of which protobuf's reader takes nothing, without a word
    ({"arrayValue": {"values": [{"stringValue": "a"}, "b"]}}, ["a", "b"]),
    ({"arrayValue": {"values": ["a"]}}, ["a"]),
    ({"array_value": ["a"]}, ["a"]),
    ({"kvlist_value": [{"key": "a", "value": "b"}]}, {"a": "b"}),
    ({"kvlistValue": {"values": {"a": "b"}}}, {"a": "b"}),
    ({"city": "Oslo"}, '{"city": "Oslo"}'),
    ({"bytesValue": "not base64!"}, "not base64!"),
    ("", ""),
]


@pytest.mark.parametrize(("value", "said"), VALUES)
def test_a_value_of_another_form_is_not_lost_wherever_it_stands(value: Any, said: Any) -> None:
    pairs = [{"key": "a", "value": value}]
    holder = {"attributes": pairs}
    one = span(attributes=pairs, events=[holder], links=[holder])
    message, left_out, _ = read({"resourceSpans": [{"resource": holder, "scopeSpans": [{"scope": holder, "spans": [one]}]}]})
    (found,) = spans_of(message)
    scope = message.resource_spans[0].scope_spans[0].scope
    for each in (found, found.events[0], found.links[0], message.resource_spans[0].resource, scope):
        assert to_dict(each.attributes) == {"a": said}
    assert not left_out


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (["urgent"], {"urgent": None}),
        ("urgent", {"urgent": None}),
        ([["http.method", "GET"]], {"http.method": "GET"}),
        ({"key": "a", "value": {"stringValue": "b"}}, {"a": "b"}),
        ([{"key": "a", "value": {"stringValue": "b"}}, "urgent"], {"a": "b", "urgent": None}),
    ],
)
def test_attributes_of_another_form(pairs: Any, said: dict[str, Any]) -> None:
    message, left_out, _ = read({"resourceSpans": [resource(span(attributes=pairs))]})
    assert to_dict(spans_of(message)[0].attributes) == said
    assert not left_out


def test_a_scope_that_is_only_its_name() -> None:
    message, left_out, _ = read({"resourceSpans": [{"scopeSpans": [{"scope": "billing", "spans": [span()]}]}]})
    assert message.resource_spans[0].scope_spans[0].scope.name == "billing"
    assert not left_out


@pytest.mark.parametrize(
    ("body", "said"),
    [("hello", "hello"), ("", ""), (["a", 1], '["a", 1]'), ({"city": "Oslo"}, '{"city": "Oslo"}'), (7, 7), (None, None)],
)
def test_the_body_of_a_log_record_is_read_whatever_it_is(body: Any, said: Any) -> None:
    record = {"traceId": TRACE, "spanId": ONE, "severityNumber": "WARN", "body": body}
    message, left_out, _ = read({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}, LOG_RECORDS)
    (found,) = message.resource_logs[0].scope_logs[0].log_records
    assert (to_python(found.body), found.severity_number) == (said, 13)
    assert not left_out


def test_the_short_name_of_a_temporality() -> None:
    metric = {"name": "n", "sum": {"dataPoints": {"asInt": 1}, "aggregationTemporality": "CUMULATIVE"}}
    message, left_out, _ = read({"resourceMetrics": [{"scopeMetrics": [{"metrics": metric}]}]}, DATA_POINTS)
    (found,) = message.resource_metrics[0].scope_metrics[0].metrics
    assert (found.sum.aggregation_temporality, [point.as_int for point in found.sum.data_points]) == (2, [1])
    assert not left_out


@pytest.mark.parametrize("parent", ["not hex", "abc", 17, ["00"], {"a": 1}])
def test_a_parent_that_cannot_be_read_makes_no_root(parent: Any) -> None:
    message, _, _ = read({"resourceSpans": [resource(span(parentSpanId=parent))]})
    assert len(spans_of(message)[0].parent_span_id) not in (0, 8)  # validation rejects the span, as over protobuf


@pytest.mark.parametrize("parent", [None, "", "0", 0])
def test_a_parent_that_is_none_makes_a_root(parent: Any) -> None:
    message, left_out, _ = read({"resourceSpans": [resource(span(parentSpanId=parent))]})
    assert spans_of(message)[0].parent_span_id == b""
    assert not left_out


BROKEN: list[tuple[Any, int]] = [  # a resource of two spans, in which something is broken, and how many records that costs
    (resource(span(), span(), resource=7), 2),
    (resource(span(), span(), resource="checkout"), 2),
    (resource(span(), span(), resource={"attributes": 7}), 2),
    (resource(span(), span(), resource={"droppedAttributesCount": "many"}), 2),
    ({"scopeSpans": [{"scope": {"attributes": [7]}, "spans": [span()]}, {"spans": [span()]}]}, 1),
    ({"scopeSpans": [{"scope": True, "spans": [span()]}, {"spans": [span()]}]}, 1),
    ({"scopeSpans": "none"}, 1),
    ({"scopeSpans": {"a": 1}}, 1),
    ({"scopeSpans": ["none", 5]}, 2),
    ({"scopeSpans": [{"spans": "none"}]}, 1),
    ({"scopeSpans": [{"spans": ["none", [], 5]}]}, 3),
    ("none", 1),
    (5, 1),
]  # fmt: skip


@pytest.mark.parametrize(("broken", "costs"), BROKEN)
@pytest.mark.parametrize("first", [True, False])
def test_what_is_broken_beside_a_good_resource_costs_itself(broken: Any, costs: int, first: bool) -> None:
    good = resource(span(spanId=TWO, name="good"))
    message, left_out, notes = read({"resourceSpans": [broken, good] if first else [good, broken]})
    assert [found.name for found in spans_of(message)].count("good") == 1
    assert left_out == costs
    assert notes.why


@pytest.mark.parametrize(("broken", "costs"), BROKEN)
def test_nothing_but_broken_is_malformed_or_all_left_out(broken: Any, costs: int) -> None:
    try:
        message, left_out, _ = read({"resourceSpans": [broken]})
    except MalformedBody:
        return
    assert left_out == costs
    assert len(spans_of(message)) == (1 if costs == 1 else 0)


def test_one_object_is_a_list_of_one() -> None:
    message, left_out, _ = read({"resourceSpans": {"resource": {}, "scopeSpans": {"spans": span()}}})
    assert len(spans_of(message)) == 1
    assert not left_out


def test_both_names_of_a_list_are_read_where_one_is_of_another_form() -> None:
    data = {"resourceSpans": {"scopeSpans": [{"spans": [span()]}]}, "resource_spans": [resource(span(spanId=TWO))]}
    message, left_out, _ = read(data)
    assert [found.span_id.hex() for found in spans_of(message)] == [ONE, TWO]
    assert not left_out
