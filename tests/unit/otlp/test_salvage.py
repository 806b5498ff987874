"""Protobuf that protobuf's parser refuses: what lies too deep becomes text, and what is broken costs its own records only."""

import json
import math
import struct
from typing import Any

import pytest
from thinned import thinned

from headrace.errors import MalformedBody
from headrace.otlp.codec import Encoding, decode
from headrace.otlp.deep import MAX_FIELDS
from headrace.otlp.form import DATA_POINTS, LOG_RECORDS, SPANS, Form
from headrace.otlp.notes import Notes
from headrace.otlp.signals import TRACES
from headrace.otlp.spans import spans_of
from headrace.otlp.wire import BYTES, Budget, field_of, fields_of

TRACE, ONE, TWO = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "00f067aa0ba902b8"
PLAIN = {"stringValue": "@"}
PAIRS = [{"key": "a", "value": PLAIN}]
HOLDER = {"attributes": PAIRS}
CUT = b"\x0a\x7fcut"
"""The beginning of a field that is longer than what holds it."""


def spans(one: dict[str, Any], resource: Any = None, scope: Any = None) -> dict[str, Any]:
    """A request of two spans, as JSON: this one and a good one."""
    ids = {"traceId": TRACE, "spanId": ONE, "name": "odd"}
    inner = [{"scope": scope, "spans": [ids | one, {"traceId": TRACE, "spanId": TWO, "name": "good"}]}]
    return {"resourceSpans": [{"resource": resource, "scopeSpans": inner}]}


def logs(record: dict[str, Any], resource: Any = None) -> dict[str, Any]:
    return {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [record, {"severityText": "good"}]}]}]}


def metrics(metric: dict[str, Any], resource: Any = None) -> dict[str, Any]:
    points = [{"asInt": "7"}]
    good = {"name": "good", "gauge": {"dataPoints": points}}
    return {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [{"name": "odd"} | metric, good]}]}]}


def point(**fields: Any) -> dict[str, Any]:
    return {"gauge": {"dataPoints": [{"asInt": "7"} | fields, {"asInt": "8"}]}}


PLACES: dict[str, tuple[Form, dict[str, Any]]] = {  # where a value stands: the only "@"
    "span": (SPANS, spans(HOLDER)),
    "event": (SPANS, spans({"events": [HOLDER]})),
    "link": (SPANS, spans({"links": [HOLDER]})),
    "resource": (SPANS, spans({}, resource=HOLDER)),
    "scope": (SPANS, spans({}, scope=HOLDER)),
    "log body": (LOG_RECORDS, logs({"body": PLAIN})),
    "log attribute": (LOG_RECORDS, logs(HOLDER)),
    "resource of logs": (LOG_RECORDS, logs({}, resource=HOLDER)),
    "metric": (DATA_POINTS, metrics(point() | {"metadata": PAIRS})),
    "data point": (DATA_POINTS, metrics(point(**HOLDER))),
    "exemplar": (DATA_POINTS, metrics(point(exemplars=[{"asInt": "1", "filteredAttributes": PAIRS}]))),
    "resource of metrics": (DATA_POINTS, metrics(point(), resource=HOLDER)),
}
CORE = ('{"stringValue": "caf\u00e9"}', field_of(1, "caf\u00e9".encode()))
"""A value as JSON and as protobuf; so are the other ones here."""
LISTS = (('{"arrayValue": {"values": [', "]}}"), lambda value: field_of(5, field_of(1, value)))
MAPS = (
    ('{"kvlistValue": {"values": [{"key": "k", "value": ', "}]}}"),
    lambda value: field_of(6, field_of(1, field_of(1, b"k") + field_of(2, value))),
)


def nested(depth: int, wrapper: Any, core: tuple[str, bytes] = CORE) -> tuple[str, bytes]:
    """A value in lists or maps. Protobuf itself does not write what is so deep."""
    (before, after), wrap = wrapper
    value = core[1]
    for _ in range(depth):
        value = wrap(value)
    return before * depth + core[0] + after * depth, value


def requests_with(place: str, value: tuple[str, bytes]) -> tuple[Form, bytes, bytes]:
    """A request with this value as JSON and as protobuf."""
    form, data = PLACES[place]
    text = json.dumps(data)
    shallow, _ = decode(text.encode(), Encoding.JSON, form=form)
    in_json = text.replace(json.dumps(PLAIN), value[0], 1).encode()
    return form, in_json, spliced(shallow.SerializeToString(), field_of(1, b"@"), value[1])


def spliced(data: bytes, old: bytes, new: bytes) -> bytes:
    """The bytes of a message with a message in it replaced by another one."""
    if data == old:
        return new
    written = b""
    for field in fields_of(data, Budget(10_000)):
        inner = data[field.value : field.end]
        found = field.kind == BYTES and old in inner
        written += field_of(field.number, spliced(inner, old, new)) if found else data[field.start : field.end]
    return written


@pytest.mark.parametrize("wrapper", [LISTS, MAPS])
@pytest.mark.parametrize("depth", [28, 32, 44, 48, 50])
@pytest.mark.parametrize("place", thinned(PLACES))
def test_a_value_too_deep_for_protobuf_is_stored_as_it_is_from_json(place: str, depth: int, wrapper: Any) -> None:
    form, in_json, in_protobuf = requests_with(place, nested(depth, wrapper))
    expected, left_out = decode(in_json, Encoding.JSON, form=form)
    assert not left_out
    notes = Notes()
    found, left_out = decode(in_protobuf, Encoding.PROTOBUF, notes=notes, form=form)
    assert not left_out
    assert form.count(found) == form.count(expected)
    if notes.repaired["deep_value_as_text"]:  # else protobuf could read it as it is
        assert found == expected
    assert form.request.FromString(found.SerializeToString()) == found


@pytest.mark.parametrize("place", thinned(PLACES))
def test_a_value_of_any_depth_costs_nothing(place: str) -> None:
    form, _, body = requests_with(place, nested(5000, LISTS, ("", field_of(1, b"core"))))
    notes = Notes()
    found, left_out = decode(body, Encoding.PROTOBUF, notes=notes, form=form)
    assert not left_out
    assert str(found).count("core") == 1
    assert notes.repaired == {"deep_value_as_text": 1}


EACH = {  # of each kind of value: its JSON, and its protobuf
    "empty": ("{}", b""),
    "text": CORE,
    "broken text": ('{"stringValue": "caf\ufffd"}', field_of(1, b"caf\xe9")),
    "true": ('{"boolValue": true}', b"\x10\x01"),
    "negative": ('{"intValue": "-1"}', b"\x18" + b"\xff" * 9 + b"\x01"),
    "double": ('{"doubleValue": 0.5}', b"\x21" + struct.pack("<d", 0.5)),
    "not a number": ('{"doubleValue": "NaN"}', b"\x21" + struct.pack("<d", math.nan)),
    "bytes": ('{"bytesValue": "AP8="}', field_of(7, b"\0\xff")),
    "list of none": ('{"arrayValue": {"values": []}}', field_of(5, b"")),
    "the last of two": ('{"boolValue": true}', field_of(1, b"a") + b"\x10\x01"),
    "of another wire type": ("{}", field_of(4, b"a")),
    "unknown": ("{}", field_of(99, b"a")),
}


@pytest.mark.parametrize("kind", EACH)
def test_each_kind_of_value_has_its_json(kind: str) -> None:
    text, value = nested(60, MAPS, EACH[kind])
    _, _, body = requests_with("span", (text, value))
    message, left_out = decode(body, Encoding.PROTOBUF)
    assert not left_out
    assert EACH[kind][0] in innermost(message.resource_spans[0].scope_spans[0].spans[0].attributes[0].value)


def innermost(value: Any) -> str:
    """The text inside of all maps."""
    while value.WhichOneof("value") == "kvlist_value":
        value = value.kvlist_value.values[0].value
    return str(value.string_value)


def test_what_is_looked_at_is_bounded() -> None:
    form, _, body = requests_with("resource", nested(60, LISTS, ("", field_of(5, field_of(1, b"") * MAX_FIELDS))))
    message, left_out = decode(body, Encoding.PROTOBUF, form=form)
    assert (form.count(message), left_out) == (0, 2)


def resource(name: str, *held: bytes, broken: bytes = b"") -> bytes:
    """A field with a resource of two scopes, each with a span of this name."""
    one = field_of(2, span(name) + span(name))
    return field_of(1, field_of(1, broken) + one + one + b"".join(held))


def span(name: str) -> bytes:
    return field_of(2, field_of(1, b"t" * 16) + field_of(2, b"s" * 8) + field_of(5, name.encode()))


BROKEN_PARTS = {  # a resource in which something is cut, and how many records that costs
    "resource": (resource("odd", broken=CUT), 4),
    "attribute of a resource": (resource("odd", broken=field_of(1, CUT)), 4),
    "scope": (resource("odd", field_of(2, field_of(1, CUT) + span("odd"))), 1),
    "between the scopes": (resource("odd", CUT), 1),
    "between the spans": (resource("odd", field_of(2, span("odd") + CUT)), 1),
    "span": (resource("odd", field_of(2, field_of(2, CUT) + span("fine"))), 1),
}


@pytest.mark.parametrize("part", BROKEN_PARTS)
@pytest.mark.parametrize("first", [True, False])
def test_what_is_cut_beside_a_good_resource_costs_itself(part: str, first: bool) -> None:
    broken, costs = BROKEN_PARTS[part]
    good = resource("good")
    notes = Notes()
    message, left_out = decode(broken + good if first else good + broken, Encoding.PROTOBUF, notes=notes)
    names = [found.name for found in spans_of(message)]
    assert names.count("good") == 4
    assert left_out == costs
    assert notes.why


@pytest.mark.parametrize("body", [CUT, resource("odd")[:-3], field_of(1, CUT)])
def test_what_holds_nothing_else_is_malformed(body: bytes) -> None:
    try:
        message, left_out = decode(body, Encoding.PROTOBUF)
    except MalformedBody:
        return
    assert (len(message.resource_spans), left_out) == (0, 1)


@pytest.mark.parametrize("part", [field_of(1, field_of(1, CUT)), field_of(1, field_of(2, field_of(1, CUT)))])
def test_bytes_with_a_broken_part_that_holds_no_record_are_not_queued(part: bytes) -> None:
    """Whoever reads the queue could not parse them, and the good spans beside it would be lost to a dead letter."""
    found = TRACES.decode(resource("good") + part, Encoding.PROTOBUF)
    assert (found.records, found.original) == (4, None)
