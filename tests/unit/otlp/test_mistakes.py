"""Forms that OTLP does not have, but exporters send: read where it is plain what was meant, else counted and told."""

import base64
import json
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

import otlp
from headrace.envelope.incoming import Request, Sender
from headrace.otlp.attributes import to_dict
from headrace.otlp.codec import Encoding, decode
from headrace.otlp.json_encoding import encode_json
from headrace.otlp.notes import Notes
from headrace.otlp.spans import spans_of
from headrace.processor.validate import Validate
from headrace.processor.verdict import Verdict

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
UUID = "0af76519-16cd-43dd-8448-eb211c80319c"


def read(data: Any, encoding: Encoding = Encoding.JSON) -> tuple[ExportTraceServiceRequest, Notes, Verdict]:
    """A body (a JSON value, or bytes) → what is read of it, and what is said of it."""
    notes = Notes()
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    message, left_out = decode(body, encoding, notes=notes)
    request = Request(message, Sender({}), unparsed=left_out, notes=notes)
    verdict = Verdict.of(request)
    Validate().process(request, verdict)
    return message, notes, verdict


def body(*spans: Any, **keys: Any) -> dict[str, Any]:
    return {"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]} | keys


def span(**fields: Any) -> dict[str, Any]:
    return {"traceId": TRACE, "spanId": SPAN, "name": "x", "startTimeUnixNano": "5", "endTimeUnixNano": "7"} | fields


GO: list[tuple[Any, Any]] = [  # what stands under `Value` → the value
    ({"StringValue": "text"}, "text"),
    ({"StringValue": ""}, ""),
    ({"BoolValue": True}, True),
    ({"BoolValue": False}, False),
    ({"IntValue": -5}, -5),
    ({"IntValue": 2**63 - 1}, 2**63 - 1),
    ({"DoubleValue": 0.5}, 0.5),
    ({"BytesValue": base64.b64encode(b"\x00\xff").decode()}, b"\x00\xff"),
    ({"ArrayValue": {"values": [{"Value": {"StringValue": "a"}}, {"Value": None}]}}, ["a", None]),
    ({"ArrayValue": {}}, []),
    ({"KvlistValue": {"values": [{"key": "k", "value": {"Value": {"ArrayValue": {"values": []}}}}]}}, {"k": []}),
    (None, None),
]  # fmt: skip


@pytest.mark.parametrize(("go", "expected"), GO)
def test_values_as_go_s_encoding_json_writes_them(go: Any, expected: Any) -> None:
    pairs = [{"key": "a", "value": {"Value": go}}]
    event, link = {"name": "e", "attributes": pairs}, {"attributes": pairs}
    data = body(span(attributes=pairs, events=[event], links=[link]))
    resource = data["resourceSpans"][0]
    resource["resource"] = {"attributes": pairs}
    resource["scopeSpans"][0]["scope"] = {"attributes": pairs}
    message, notes, verdict = read(data)
    (found,) = spans_of(message)
    stored = message.resource_spans[0]
    holders = (found, found.events[0], found.links[0], stored.resource, stored.scope_spans[0].scope)
    assert [to_dict(holder.attributes) for holder in holders] == [{"a": expected}] * 5
    assert notes.repaired["go_value_read"] >= 5
    assert not verdict.rejected


def test_a_whole_span_as_go_s_encoding_json_writes_it() -> None:
    ids = {"trace_id": base64.b64encode(b"t" * 16).decode(), "span_id": base64.b64encode(b"s" * 8).decode()}
    go = ids | {
        "name": "x",
        "kind": 2,
        "start_time_unix_nano": 5,
        "end_time_unix_nano": 7,
        "status": {"code": 2, "message": "m"},
    }
    go["attributes"] = [{"key": "a", "value": {"Value": {"StringValue": "text"}}}]
    message, _, _ = read({"resource_spans": [{"resource": {}, "scope_spans": [{"scope": {}, "spans": [go]}]}]})
    (found,) = spans_of(message)
    assert (found.trace_id, found.span_id, found.kind, found.status.message) == (b"t" * 16, b"s" * 8, 2, "m")
    assert to_dict(found.attributes) == {"a": "text"}


def test_what_only_looks_like_go_s_form_is_left_alone() -> None:
    pairs = [{"key": "Value", "value": {"stringValue": '{"Value": {"StringValue": "x"}}'}}]
    message, notes, _ = read(body(span(attributes=pairs)))
    assert to_dict(spans_of(message)[0].attributes) == {"Value": '{"Value": {"StringValue": "x"}}'}
    assert not +notes.repaired


@pytest.mark.parametrize(
    ("spans", "library"),
    [("instrumentationLibrarySpans", "instrumentationLibrary"), ("instrumentation_library_spans", "instrumentation_library")],
)
def test_scope_spans_under_their_old_name_in_json(spans: str, library: str) -> None:
    old = [{library: {"name": "lib", "version": "1"}, "spans": [span(), span(spanId="b7ad6b7169203332")], "schemaUrl": "u"}]
    message, notes, verdict = read({"resourceSpans": [{"resource": {}, spans: old}]})
    (scope,) = message.resource_spans[0].scope_spans
    assert (scope.scope.name, scope.scope.version, scope.schema_url, len(scope.spans)) == ("lib", "1", "u", 2)
    assert notes.repaired == {"old_name_read": 2}
    assert (verdict.received, verdict.accepted) == (2, 2)


def test_both_names_in_one_json_body() -> None:
    data = body(span())
    data["resourceSpans"][0]["instrumentationLibrarySpans"] = [{"spans": [span(spanId="b7ad6b7169203332")]}]
    message, _, verdict = read(data)
    assert [found.span_id.hex() for found in spans_of(message)] == [SPAN, "b7ad6b7169203332"]
    assert verdict.accepted == 2


def field(number: int, data: bytes) -> bytes:
    """A field of bytes on the wire."""

    def varint(value: int) -> bytes:
        return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)

    return varint(number << 3 | 2) + varint(len(data)) + data


def test_scope_spans_under_their_old_number_in_protobuf() -> None:
    new, old = otlp.resource_spans(otlp.span("new"), tenant="a"), ScopeSpans(spans=[otlp.span("old"), otlp.span("older")])
    old.scope.name = "lib"
    data = field(1, new.SerializeToString() + field(1000, old.SerializeToString())) + field(
        1, ResourceSpans(schema_url="u").SerializeToString() + field(1000, old.SerializeToString())
    )
    message, notes, verdict = read(data, Encoding.PROTOBUF)
    assert [found.name for found in spans_of(message)] == ["new", "old", "older", "old", "older"]
    first, second = message.resource_spans
    assert to_dict(first.resource.attributes) == {"service.name": "checkout", "tenant": "a"}
    assert (first.scope_spans[1].scope.name, second.schema_url) == ("lib", "u")
    assert notes.repaired == {"old_name_read": 4}
    assert verdict.accepted == 5


def test_a_broken_text_under_the_old_number() -> None:
    old = ScopeSpans(spans=[otlp.span("@@")]).SerializeToString().replace(b"@@", b"\xff\xfe")
    message, notes, _ = read(field(1, field(1000, old)), Encoding.PROTOBUF)
    assert [found.name for found in spans_of(message)] == ["\ufffd\ufffd"]
    assert notes.repaired == {"old_name_read": 1, "invalid_bytes_replaced": 2}


GOOD = otlp.request(otlp.span("good"))
SPANS = ScopeSpans(spans=[otlp.span("a"), otlp.span("b")]).SerializeToString()
UNKNOWN: dict[str, tuple[bytes, str]] = {
    "of the request": (field(2, field(2, SPANS)), "field 2 of request"),
    "of the request, one span": (field(99, field(1, otlp.span().SerializeToString()) * 2), "field 99 of request"),
    "of a resource": (field(1, field(7, SPANS)), "field 7 of ResourceSpans"),
    "of a scope": (field(1, field(2, field(9, otlp.span().SerializeToString()) * 2)), "field 9 of ScopeSpans"),
}


@pytest.mark.parametrize("where", UNKNOWN)
def test_spans_in_an_unknown_field_of_protobuf_are_counted_and_told(where: str) -> None:
    unknown, said = UNKNOWN[where]
    message, _, verdict = read(GOOD.SerializeToString() + unknown, Encoding.PROTOBUF)
    assert (verdict.received, verdict.rejected) == (3, {"unknown_field": 2})
    assert [found.name for found in spans_of(message)] == ["good"]
    assert said in verdict.explain()


def test_unknown_fields_without_spans_are_ignored_as_otlp_wants() -> None:
    for unknown in (b"\xfa\x7f\x03new", field(2, b"text" * 50), field(2, SPANS[:20]), b"\x78\x05", b"\x79" + bytes(8)):
        _, notes, verdict = read(GOOD.SerializeToString() + unknown, Encoding.PROTOBUF)
        assert (verdict.received, verdict.rejected, notes.repaired) == (1, {}, {})


def test_what_is_looked_at_in_unknown_fields_is_bounded() -> None:
    _, notes, _ = read(GOOD.SerializeToString() + b"\x78\x7f" * 1_000_000 + field(2, SPANS), Encoding.PROTOBUF)
    assert notes.unread == 0
    deep = otlp.span().SerializeToString()
    for _ in range(2000):
        deep = field(2, deep)
    read(GOOD.SerializeToString() + deep, Encoding.PROTOBUF)


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (body(batches=[{"spans": [span(), span()]}]), "batches"),
        (body(ResourceSpans=[{"ScopeSpans": [{"Spans": [{"TraceID": TRACE, "SpanID": SPAN}] * 2}]}]), "ResourceSpans"),
        ({"spans": [span(), span()], "resourceSpans": []}, "spans"),
        ({"resourceSpans": [{"spans": [span(), span()]}]}, "resourceSpans.spans"),
        ({"resourceSpans": [{"scopeSpans": [{"span": [span(), span()]}]}]}, "resourceSpans.scopeSpans.span"),
    ],
)
def test_spans_under_an_unknown_key_of_json_are_counted_and_told(data: Any, where: str) -> None:
    _, _, verdict = read(data)
    assert verdict.rejected == {"unknown_field": 2}
    assert f"({where}; 2)" in verdict.explain()


def test_unknown_keys_without_spans_are_ignored_as_otlp_wants() -> None:
    _, _, verdict = read(body(span(future={"traceId": 1}), other={"a": [1, {"traceId": TRACE}]}))
    assert (verdict.received, verdict.accepted) == (1, 1)


@pytest.mark.parametrize(
    "fields",
    [
        {"traceId": UUID},
        {"traceId": UUID.upper()},
        {"traceId": f"{{{UUID}}}"},
        {"traceId": f"urn:uuid:{UUID}"},
        {"traceId": f"0x{TRACE}"},
        {"traceId": f"0X{TRACE.upper()}"},
        {"traceId": f"0x{TRACE[1:]}"},  # a number's zeros in front are gone
        {"spanId": f"0x{SPAN}"},
        {"spanId": "b7ad6b71-69203331"},
    ],
)
def test_ids_as_uuid_or_with_0x(fields: dict[str, str]) -> None:
    message, notes, verdict = read(body(span(**fields, links=[{"traceId": f"0x{TRACE}", "spanId": SPAN}])))
    (found,) = spans_of(message)
    assert (found.trace_id.hex(), found.span_id.hex(), found.links[0].trace_id.hex()) == (TRACE, SPAN, TRACE)
    assert notes.repaired == {"id_rewritten": 2}
    assert not verdict.rejected


@pytest.mark.parametrize("bad", ["0x", "0xzz", "not-hex", "-", "0x" + "1" * 33, "12345-"])
def test_an_id_that_is_none_of_these_is_rejected(bad: str) -> None:
    _, _, verdict = read(body(span(traceId=bad), span()))
    assert (verdict.accepted, verdict.rejected) == (1, {"invalid_trace_id": 1})


YEAR_9999 = 253_402_300_799 * 10**9


@pytest.mark.parametrize("time", [str(YEAR_9999), YEAR_9999, float(YEAR_9999), str(10**39)])
def test_times_after_the_last_one_of_otlp(time: Any) -> None:
    """The year 9999 is a database's word for never. OTLP ends in 2554."""
    message, notes, verdict = read(body(span(endTimeUnixNano=time, events=[{"name": "e", "timeUnixNano": time}]), span()))
    first, _ = spans_of(message)
    assert (first.end_time_unix_nano, first.events[0].time_unix_nano) == (2**64 - 1, 2**64 - 1)
    assert notes.repaired == {"time_beyond_otlp": 2}
    assert verdict.accepted == 2
    _, _, verdict = read(body(span(startTimeUnixNano=time), span()))
    assert (verdict.accepted, verdict.rejected) == (1, {"time_out_of_range": 1})
    assert "2262" in verdict.explain()


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        ({"startTimeUnixNano": "soon"}, "startTimeUnixNano"),
        ({"links": 7}, "links"),
        ({"endTimeUnixNano": "later"}, "endTimeUnixNano"),
    ],
)
def test_a_span_that_cannot_be_parsed_says_why(bad: dict[str, Any], word: str) -> None:
    _, _, verdict = read(body(span(**bad), span(), span(links=7)))
    assert verdict.rejected["malformed_span"] >= 1
    assert word in verdict.explain()
    assert len(verdict.explain()) < 600


@pytest.mark.parametrize("half", ["\\ud83d", "\\udc00", "a\\ud83db"])
def test_half_a_surrogate_pair_is_counted(half: str) -> None:
    raw = json.dumps(body(span(attributes=[{"key": "q", "value": {"stringValue": "@"}}]))).replace("@", half).encode()
    message, notes, _ = read(raw)
    assert "\ufffd" in spans_of(message)[0].attributes[0].value.string_value
    assert notes.repaired == {"surrogate_replaced": 1}


def test_java_s_modified_utf8_is_joined() -> None:
    """Two halves of three bytes each, as Java's DataOutputStream writes a character beyond U+FFFF."""
    raw = (
        json.dumps(encode_json(otlp.request(otlp.span("@"))))
        .encode()
        .replace(b"@", "\ud83d\ude00".encode("utf-8", "surrogatepass"))
    )
    message, notes, _ = read(raw)
    assert [found.name for found in spans_of(message)] == ["\U0001f600"]
    assert not +notes.repaired


def test_a_good_body_is_not_noted() -> None:
    for encoding, good in (
        (Encoding.JSON, json.dumps(encode_json(GOOD)).encode()),
        (Encoding.PROTOBUF, GOOD.SerializeToString()),
    ):
        _, notes, verdict = read(good, encoding)
        assert (+notes.repaired, notes.unread, notes.why, verdict.explain()) == ({}, 0, "", "")


def test_a_known_span_is_no_span_of_an_unknown_field() -> None:
    """A link and its span look alike, and so do nested spans: each is counted once."""
    linked = otlp.span(links=[Span.Link(trace_id=b"l" * 16, span_id=b"k" * 8)])
    _, notes, _ = read(GOOD.SerializeToString() + field(2, field(1, linked.SerializeToString())), Encoding.PROTOBUF)
    assert notes.unread == 1
