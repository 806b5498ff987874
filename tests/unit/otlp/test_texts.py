"""Texts that are no UTF-8, wherever OTLP has a text: U+FFFD in the place of what is wrong, and nothing is lost."""

import json
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import EntityRef, InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

import otlp
from headrace.otlp.codec import Encoding, decode
from headrace.otlp.json_encoding import encode_json
from headrace.otlp.notes import Notes
from headrace.otlp.signals import TRACES, Decoded

MARK = "@@@@@@@"
BROKEN = b"caf\xe9 \xe2\x82"  # of the mark's length: latin-1, and a character that is cut
MENDED = "caf\ufffd \ufffd"
SPAN: dict[str, Any] = {"trace_id": b"t" * 16, "span_id": b"s" * 8}


def request(
    span: Span, resource: Resource | None = None, scope: InstrumentationScope | None = None, urls: tuple[str, str] = ("", "")
) -> ExportTraceServiceRequest:
    """A request of this span and a good one."""
    good = otlp.span("good", trace_id=b"t" * 16, span_id=b"g" * 8)
    scopes = [ScopeSpans(scope=scope, spans=[span, good], schema_url=urls[1])]
    part = ResourceSpans(resource=resource, scope_spans=scopes, schema_url=urls[0])
    return ExportTraceServiceRequest(resource_spans=[part])


def span(**fields: Any) -> Span:
    return otlp.span(**(SPAN | fields))


DEEP = {"list": [{"map": [MARK]}]}
PLACES: dict[str, ExportTraceServiceRequest] = {
    "span name": request(span(name=MARK)),
    "trace state": request(span(trace_state=MARK)),
    "attribute": request(span(attrs={"a": MARK})),
    "attribute key": request(span(attrs={MARK: 1})),
    "deep attribute": request(span(attrs=DEEP)),
    "deep key": request(span(attrs={"a": {"b": {MARK: None}}})),
    "event name": request(span(events=[Span.Event(name=MARK)])),
    "event attribute": request(span(events=[Span.Event(name="e", attributes=otlp.attributes({MARK: MARK}))])),
    "link trace state": request(span(links=[Span.Link(trace_id=b"l" * 16, span_id=b"k" * 8, trace_state=MARK)])),
    "link attribute": request(span(links=[Span.Link(attributes=otlp.attributes({"a": MARK}))])),
    "status message": request(span(status=Status(code=Status.STATUS_CODE_ERROR, message=MARK))),
    "resource attribute": request(span(), Resource(attributes=otlp.attributes({"host.name": MARK}))),
    "resource key": request(span(), Resource(attributes=otlp.attributes({MARK: DEEP}))),
    "resource entity": request(span(), Resource(entity_refs=[EntityRef(type=MARK, id_keys=["a", MARK])])),
    "schemas": request(span(), urls=(MARK, MARK)),
    "scope name": request(span(), scope=InstrumentationScope(name=MARK)),
    "scope version": request(span(), scope=InstrumentationScope(name="x", version=MARK)),
    "scope attribute": request(span(), None, InstrumentationScope(attributes=otlp.attributes({"a": MARK}))),
    "span and resource": request(span(name=MARK), Resource(attributes=otlp.attributes({"a": MARK}))),
}


@pytest.mark.parametrize("place", PLACES)
def test_in_protobuf(place: str) -> None:
    body = PLACES[place].SerializeToString()
    places = body.count(MARK.encode())
    notes = Notes()
    found, left_out = decode(body.replace(MARK.encode(), BROKEN), Encoding.PROTOBUF, notes=notes)
    expected = json.loads(json.dumps(encode_json(PLACES[place])).replace(MARK, MENDED.encode("unicode_escape").decode()))
    assert encode_json(found) == expected
    assert left_out == 0
    assert notes.repaired == {"invalid_bytes_replaced": 2 * places}


@pytest.mark.parametrize("place", PLACES)
def test_in_json(place: str) -> None:
    data = encode_json(PLACES[place])
    body = json.dumps(data).encode()
    places = body.count(MARK.encode())
    notes = Notes()
    found, left_out = decode(body.replace(MARK.encode(), BROKEN), Encoding.JSON, notes=notes)
    assert encode_json(found) == json.loads(json.dumps(data).replace(MARK, MENDED.encode("unicode_escape").decode()))
    assert left_out == 0
    assert notes.repaired == {"invalid_bytes_replaced": 2 * places}


def test_bytes_that_are_meant_as_bytes_stay() -> None:
    body = request(span(name=MARK, attrs={"raw": bytes(range(256))})).SerializeToString().replace(MARK.encode(), BROKEN)
    found, _ = decode(body, Encoding.PROTOBUF)
    (mended, _) = found.resource_spans[0].scope_spans[0].spans
    assert mended.attributes[0].value.bytes_value == bytes(range(256))
    assert (mended.trace_id, mended.span_id) == (SPAN["trace_id"], SPAN["span_id"])


def test_what_was_mended_is_not_queued_as_it_was_sent() -> None:
    body = PLACES["resource key"].SerializeToString()
    mended = TRACES.decode(body.replace(MARK.encode(), BROKEN), Encoding.PROTOBUF)
    as_sent = TRACES.decode(body, Encoding.PROTOBUF)
    assert isinstance(mended, Decoded)
    assert isinstance(as_sent, Decoded)
    assert mended.original is None
    assert as_sent.original is body


def test_u_fffd_that_was_sent_is_no_repair() -> None:
    notes = Notes()
    for encoding, body in (
        (Encoding.PROTOBUF, request(span(name="\ufffd")).SerializeToString()),
        (Encoding.JSON, json.dumps(encode_json(request(span(name="\ufffd"))), ensure_ascii=False).encode()),
    ):
        decode(body, encoding, notes=notes)
        assert not +notes.repaired
    broken = (
        request(span(name=MARK, attrs={"a": "\ufffd"}))
        .SerializeToString()
        .replace(MARK.encode(), b"\xff\xef\xbf\xbd\xef\xbf\xbd")
    )
    decode(broken, Encoding.PROTOBUF, notes=notes)
    assert notes.repaired == {"invalid_bytes_replaced": 1}


def test_a_span_that_is_none_is_still_left_out_and_said_why() -> None:
    body = request(span(name=MARK)).SerializeToString().replace(b"\x07" + MARK.encode(), b"\x7f" + BROKEN)
    notes = Notes()
    found, left_out = decode(body, Encoding.PROTOBUF, notes=notes)
    assert left_out == 1
    assert [kept.name for kept in found.resource_spans[0].scope_spans[0].spans] == ["good"]
    assert notes.why
    assert not +notes.repaired
