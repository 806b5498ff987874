"""Values in OTLP/JSON that protobuf's reader refuses, or reads as nothing: they cost neither their record nor the request."""

import json
import math
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from headrace.otlp.attributes import to_dict, to_python
from headrace.otlp.codec import Encoding, decode
from headrace.otlp.form import DATA_POINTS, LOG_RECORDS, SPANS, Form
from headrace.otlp.notes import Notes
from headrace.otlp.spans import spans_of

TRACE, ONE, TWO = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "00f067aa0ba902b8"


def read(data: Any, form: Form = SPANS) -> tuple[Any, int, Notes]:
    """A JSON value, or its text → the request, how many records were left out, and what was noted."""
    notes = Notes()
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    return *decode(body, Encoding.JSON, notes=notes, form=form), notes


def span(**fields: Any) -> dict[str, Any]:
    return {"traceId": TRACE, "spanId": ONE, "name": "pay", "startTimeUnixNano": "5", "endTimeUnixNano": "7"} | fields


def request(one: Any, **levels: Any) -> dict[str, Any]:
    scope = {"scope": levels.get("scope"), "spans": [one, span(spanId=TWO)]}
    return {"resourceSpans": [{"resource": levels.get("resource"), "scopeSpans": [scope]}]}


VALUES: list[tuple[Any, Any]] = [  # an AnyValue in JSON → what it says
    ({"doubleValue": math.inf}, math.inf),
    ({"doubleValue": -math.inf}, -math.inf),
    ({"doubleValue": "fast"}, "fast"),
    ({"doubleValue": 10**400}, str(10**400)),
    ({"intValue": str(2**63)}, str(2**63)),
    ({"intValue": -(2**70)}, str(-(2**70))),
    ({"intValue": 2.5}, 2.5),
    ({"intValue": ""}, ""),
    ({"intValue": "many"}, "many"),
    ({"intValue": True}, True),
    ({"stringValue": 7}, 7),
    ({"stringValue": False}, False),
    ({"stringValue": {"city": "Oslo"}}, '{"city": "Oslo"}'),
    ({"boolValue": "true"}, True),
    ({"boolValue": "FALSE"}, False),
    ({"boolValue": 1}, 1),
    ({"boolValue": "maybe"}, "maybe"),
    ({"bytesValue": [1, 2]}, "[1, 2]"),
    ({"stringValue": "both", "intValue": "3"}, "both"),
    ({"arrayValue": {"values": [None, {"stringValue": "a"}]}}, [None, "a"]),
    ({"arrayValue": {"values": ["a", 2, True]}}, ["a", 2, True]),
    ({"arrayValue": [{"stringValue": "a"}]}, ["a"]),
    ({"arrayValue": ["a"]}, ["a"]),
    ({"kvlistValue": {"values": [{"key": 3, "value": "x"}, None]}}, {"3": "x"}),
    ({"kvlistValue": {"city": {"stringValue": "Oslo"}}}, {"city": "Oslo"}),
    ("bare", "bare"),
    (12, 12),
    (1.5, 1.5),
    (True, True),
    ([1, 2], "[1, 2]"),
]


@pytest.mark.parametrize(("value", "said"), VALUES)
def test_a_value_of_another_type_is_read_as_what_it_says(value: Any, said: Any) -> None:
    pairs = [{"key": "a", "value": value}, {"key": "b", "value": {"stringValue": "stays"}}]
    holders = {"attributes": pairs, "events": [{"name": "e", "attributes": pairs}], "links": [{"attributes": pairs}]}
    message, left_out, notes = read(request(span(**holders), resource={"attributes": pairs}, scope={"attributes": pairs}))
    resource = message.resource_spans[0]
    one, _ = spans_of(message)
    for holder in (one, one.events[0], one.links[0], resource.resource, resource.scope_spans[0].scope):
        found = to_dict(holder.attributes)
        assert found == {"a": said, "b": "stays"}
        assert type(found["a"]) is type(said)
    assert not left_out
    assert notes.repaired["json_value_read"] >= 5


def test_a_bare_nan() -> None:
    message, left_out, _ = read(request(span(attributes=[{"key": "a", "value": {"doubleValue": math.nan}}])))
    assert math.isnan(spans_of(message)[0].attributes[0].value.double_value)
    assert not left_out


FIELDS: list[tuple[str, Any, Any]] = [  # a field of a span, its JSON, what is read
    ("status", {"code": 2, "message": 5}, Status(code=Status.STATUS_CODE_ERROR, message="5")),
    ("status", {"code": "ERROR", "message": "no"}, Status(code=Status.STATUS_CODE_ERROR, message="no")),
    ("status", {"code": "Ok"}, Status(code=Status.STATUS_CODE_OK)),
    ("kind", "SERVER", Span.SPAN_KIND_SERVER),
    ("kind", "client", Span.SPAN_KIND_CLIENT),
    ("flags", 2**40, 2**32 - 1),
    ("droppedAttributesCount", -1, 0),
    ("droppedEventsCount", 1.5, 1),
    ("traceState", 5, "5"),
    ("name", 404, "404"),
    ("startTimeUnixNano", -1, 0),
    ("endTimeUnixNano", "", 0),
    ("end_time_unix_nano", 2**70, 2**64 - 1),
    ("events", [None], []),
    ("events", [{"name": 5}], [Span.Event(name="5")]),
    ("links", [{"flags": -1}, None], [Span.Link()]),
]


@pytest.mark.parametrize(("name", "sent", "expected"), FIELDS)
def test_a_field_of_another_type(name: str, sent: Any, expected: Any) -> None:
    message, left_out, notes = read(request(span(**{name: sent})))
    one, two = spans_of(message)
    snake = "".join(f"_{character.lower()}" if character.isupper() else character for character in name)
    found = getattr(one, snake)
    assert (list(found) if isinstance(expected, list) else found) == expected
    assert two.name == "pay"
    assert not left_out
    assert sum(notes.repaired.values()) > 0


@pytest.mark.parametrize("pairs", [{"city": "Oslo", "n": 3}, {"city": {"stringValue": "Oslo"}, "n": {"intValue": 3}}])
def test_attributes_as_an_object(pairs: Any) -> None:
    message, left_out, _ = read(request(span(attributes=pairs), resource={"attributes": pairs}))
    expected = {"city": "Oslo", "n": 3}
    assert to_dict(spans_of(message)[0].attributes) == to_dict(message.resource_spans[0].resource.attributes) == expected
    assert not left_out


def test_a_scope_with_a_number_as_its_version() -> None:
    message, left_out, _ = read(request(span(), scope={"name": "billing", "version": 2}))
    assert message.resource_spans[0].scope_spans[0].scope.version == "2"
    assert not left_out


def test_a_time_that_is_no_number_costs_its_span_only() -> None:
    message, left_out, notes = read(request(span(startTimeUnixNano="yesterday")))
    assert [found.span_id.hex() for found in spans_of(message)] == [TWO]
    assert left_out == 1
    assert "yesterday" in notes.why


@pytest.mark.parametrize("depth", [60, 150])
@pytest.mark.parametrize("inner", ['{"arrayValue":{"values":[', '{"kvlistValue":{"values":[{"key":"k","value":'])
def test_a_value_too_deep_for_protobuf_becomes_text(depth: int, inner: str) -> None:
    deep = inner * depth + '{"stringValue":"core"}' + {"[": "]}}", ":": "}]}}"}[inner[-1]] * depth
    for sent in (request(span(attributes="@")), request(span(), resource={"attributes": "@"})):
        body = json.dumps(sent).replace('"@"', f'[{{"key":"a","value":{deep}}}]').encode()
        message, left_out, _ = read(body)
        assert not left_out
        assert len(spans_of(message)) == 2
        assert type(message).FromString(message.SerializeToString()) == message
        assert "core" in str(message)


def test_numbers_of_thousands_of_digits_and_bare_line_breaks() -> None:
    digits = "1" * 5000
    pairs = [{"key": "n", "value": {"intValue": "@"}}, {"key": "t", "value": {"stringValue": "line\nline"}}]
    body = json.dumps(request(span(attributes=pairs))).replace('"@"', digits).replace("\\n", "\n").encode()
    message, left_out, notes = read(body)
    assert to_dict(spans_of(message)[0].attributes) == {"n": digits, "t": "line\nline"}
    assert not left_out
    assert notes.repaired["json_value_read"] >= 1


def test_null_between_resources_and_scopes() -> None:
    data = request(span())
    data["resourceSpans"].append(None)
    data["resourceSpans"][0]["scopeSpans"].insert(0, None)
    message, left_out, _ = read(data)
    assert len(spans_of(message)) == 2
    assert not left_out


def test_log_records() -> None:
    record = {"traceId": TRACE, "spanId": ONE, "severityNumber": "ERROR", "body": {"stringValue": 5}, "timeUnixNano": -1}
    record["attributes"] = {"event.name": "gen_ai.choice"}
    scope = {"logRecords": [record]}
    message, left_out, _ = read(
        {"resourceLogs": [{"resource": {"attributes": {"n": math.nan}}, "scopeLogs": [scope]}]}, LOG_RECORDS
    )
    (found,) = message.resource_logs[0].scope_logs[0].log_records
    assert (found.severity_number, to_python(found.body), found.time_unix_nano) == (17, 5, 0)
    assert to_dict(found.attributes) == {"event.name": "gen_ai.choice"}
    assert not left_out


def test_data_points() -> None:
    points = [{"asInt": str(2**64)}, {"asInt": 1.5}, {"asDouble": math.inf}, {"asInt": "4"}]
    metrics = [{"name": "loss", "unit": 1, "gauge": {"dataPoints": points}}]
    metrics.append(
        {"name": "n", "sum": {"dataPoints": [{"asInt": 1}], "isMonotonic": "true", "aggregationTemporality": "DELTA"}}
    )
    message, left_out, _ = read({"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]}, DATA_POINTS)
    gauge, total = message.resource_metrics[0].scope_metrics[0].metrics
    assert [getattr(point, point.WhichOneof("value")) for point in gauge.gauge.data_points] == [2.0**64, 1.5, math.inf, 4]
    assert (gauge.unit, total.sum.is_monotonic, total.sum.aggregation_temporality) == ("1", True, 1)
    assert not left_out


def test_what_is_fine_is_not_touched() -> None:
    pairs = [{"key": "value", "value": {"stringValue": '{"code": "x", "value": "y"}'}}, {"key": "none"}]
    message, left_out, notes = read(request(span(attributes=pairs, kind=2, status={"code": "STATUS_CODE_OK"})))
    assert to_dict(spans_of(message)[0].attributes) == {"value": '{"code": "x", "value": "y"}', "none": None}
    assert not left_out
    assert not +notes.repaired
