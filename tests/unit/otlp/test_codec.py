"""Body bytes × Content-Type × Content-Encoding → request."""

import base64
import gzip
import json
import zlib

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import otlp
from headrace.errors import BodyTooLarge, MalformedBody, UnsupportedMediaType
from headrace.otlp.codec import Encoding, decode, encode, encoding_of
from headrace.otlp.compression import inflate

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
LIMIT = 1024 * 1024


def json_request(**span: object) -> dict[str, object]:
    fields = {"traceId": TRACE, "spanId": SPAN, "name": "x"} | span
    return {"resourceSpans": [{"scopeSpans": [{"spans": [fields]}]}]}


def decode_json(data: object) -> ExportTraceServiceRequest:
    request, left_out = decode(json.dumps(data).encode(), Encoding.JSON)
    assert left_out == 0
    assert isinstance(request, ExportTraceServiceRequest)
    return request


@pytest.mark.parametrize(
    ("content_type", "encoding"),
    [
        ("application/x-protobuf", Encoding.PROTOBUF),
        ("Application/X-Protobuf", Encoding.PROTOBUF),
        ("application/protobuf", Encoding.PROTOBUF),
        ("application/json", Encoding.JSON),
        ("APPLICATION/JSON; charset=utf-8", Encoding.JSON),
        ("application/x-protobuf, application/x-protobuf", Encoding.PROTOBUF),  # the header came twice
        ("application/json;charset=utf-8, application/json", Encoding.JSON),
    ],
)
def test_media_types_are_case_insensitive_and_may_have_parameters(content_type: str, encoding: Encoding) -> None:
    assert encoding_of(content_type) is encoding


@pytest.mark.parametrize(
    "content_type", ["", "text/html", "application/xml", "application/jsonx", "application/json, application/x-protobuf"]
)
def test_other_media_types_are_refused(content_type: str) -> None:
    with pytest.raises(UnsupportedMediaType):
        encoding_of(content_type)


@pytest.mark.parametrize("name", ["gzip", "GZIP", " gzip "])
def test_gzip_is_undone(name: str) -> None:
    assert inflate(gzip.compress(b"spans"), name, LIMIT) == b"spans"


@pytest.mark.parametrize("name", ["", "identity", "Identity"])
def test_identity_is_left_alone(name: str) -> None:
    assert inflate(b"spans", name, LIMIT) == b"spans"


def test_a_gzip_file_may_have_several_members() -> None:
    assert inflate(gzip.compress(b"one ") + gzip.compress(b"two"), "gzip", LIMIT) == b"one two"


def test_a_bomb_stops_at_the_limit() -> None:
    with pytest.raises(BodyTooLarge, match="HEADRACE_MAX_BODY_BYTES"):
        inflate(gzip.compress(bytes(64 * LIMIT)), "gzip", LIMIT)


def test_exactly_the_limit_passes() -> None:
    assert len(inflate(gzip.compress(bytes(LIMIT)), "gzip", LIMIT)) == LIMIT


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"no gzip", id="plain"),
        pytest.param(gzip.compress(b"spans" * 100)[:-20], id="cut"),
        pytest.param(zlib.compress(b"spans"), id="zlib"),
    ],
)
def test_what_is_no_gzip_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedBody):
        inflate(body, "gzip", LIMIT)


def test_an_unknown_content_encoding_is_refused() -> None:
    with pytest.raises(UnsupportedMediaType, match="br"):
        inflate(b"", "br", LIMIT)


def test_an_empty_protobuf_body_is_an_empty_request() -> None:
    assert decode(b"", Encoding.PROTOBUF) == (ExportTraceServiceRequest(), 0)


def test_protobuf_with_unknown_fields_passes() -> None:
    body = otlp.request(otlp.span()).SerializeToString() + b"\xfa\x7f\x03new"
    request, _ = decode(body, Encoding.PROTOBUF)
    assert len(request.resource_spans) == 1


def test_garbage_is_malformed() -> None:
    with pytest.raises(MalformedBody):
        decode(b"\xff\xff\xff", Encoding.PROTOBUF)


def test_json_ids_are_hex_in_spans_and_in_links() -> None:
    link = {"traceId": TRACE.upper(), "spanId": SPAN}
    request = decode_json(json_request(parentSpanId=SPAN, links=[link]))
    (span,) = request.resource_spans[0].scope_spans[0].spans
    assert span.trace_id.hex() == TRACE
    assert span.span_id.hex() == span.parent_span_id.hex() == SPAN
    assert span.links[0].trace_id.hex() == TRACE
    assert span.links[0].span_id.hex() == SPAN


@pytest.mark.parametrize("time", [1_790_000_000_123_456_789, "1790000000123456789"])
def test_json_integers_are_numbers_or_strings_and_exact(time: object) -> None:
    attribute = {"key": "n", "value": {"intValue": time}}
    request = decode_json(json_request(startTimeUnixNano=time, attributes=[attribute]))
    (span,) = request.resource_spans[0].scope_spans[0].spans
    assert span.start_time_unix_nano == 1_790_000_000_123_456_789
    assert span.attributes[0].value.int_value == 1_790_000_000_123_456_789


def test_json_unknown_fields_are_ignored_and_null_is_unset() -> None:
    request = decode_json(json_request(futureField={"a": 1}, attributes=None) | {"other": 1})
    assert request.resource_spans[0].scope_spans[0].spans[0].name == "x"
    assert decode_json({"resourceSpans": None}) == ExportTraceServiceRequest()
    assert decode_json({}) == ExportTraceServiceRequest()


def test_json_bytes_values_stay_base64() -> None:
    value = {"key": "b", "value": {"bytesValue": base64.b64encode(b"\x00\x01").decode()}}
    request = decode_json(json_request(attributes=[value]))
    assert request.resource_spans[0].scope_spans[0].spans[0].attributes[0].value.bytes_value == b"\x00\x01"


@pytest.mark.parametrize("bad", [{"links": 7}, {"startTimeUnixNano": "soon"}, {"attributes": 7}, {"attributes": [7]}])
def test_one_bad_json_span_costs_one_span(bad: dict[str, object]) -> None:
    data = json_request()
    spans = data["resourceSpans"][0]["scopeSpans"][0]["spans"]  # type: ignore[index]
    spans.append(spans[0] | bad)
    request, left_out = decode(json.dumps(data).encode(), Encoding.JSON)
    assert left_out == 1
    assert [span.name for span in request.resource_spans[0].scope_spans[0].spans] == ["x"]


def test_an_id_that_is_no_hex_becomes_empty_for_validation_to_reject() -> None:
    request = decode_json(json_request(traceId="not hex"))
    assert request.resource_spans[0].scope_spans[0].spans[0].trace_id == b""


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"{", b'{"resourceSpans": 5}', b'{"resourceSpans": ["x"]}', b'{"resourceSpans": [{"resource": 7}]}',
     b"[" * 200_000, b'{"a":' * 200_000, b"\xff\xfe\xfa"],
)  # fmt: skip
def test_other_json_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedBody):
        decode(body, Encoding.JSON)


def test_deep_nesting_costs_no_span() -> None:
    nested: dict[str, object] = {"stringValue": "end"}
    for _ in range(150):
        nested = {"arrayValue": {"values": [nested]}}
    data = json_request(attributes=[{"key": "deep", "value": nested}])
    assert decode(json.dumps(data).encode(), Encoding.JSON)[1] == 0


def test_answers_are_in_the_request_s_encoding() -> None:
    message = otlp.request(otlp.span(kind=2))
    assert ExportTraceServiceRequest.FromString(encode(message, Encoding.PROTOBUF)) == message
    text = encode(message, Encoding.JSON)
    assert json_format.Parse(text, ExportTraceServiceRequest()) == message
    assert b'"kind": 2' in text  # "Values of enum fields MUST be encoded as integer values"


@pytest.mark.parametrize(
    ("body", "encoding", "advice"),
    [
        (gzip.compress(b"x" * 100), Encoding.PROTOBUF, "compressed with gzip: say so in Content-Encoding"),
        (gzip.compress(b"{}"), Encoding.JSON, "compressed with gzip: say so in Content-Encoding"),
        (b"\x28\xb5\x2f\xfd\x00\x00\x00\x00\x00", Encoding.PROTOBUF, "compressed with zstd"),
        (b'{"resourceSpans": []}', Encoding.PROTOBUF, "looks like JSON: send it with the Content-Type application/json"),
    ],
)
def test_what_was_forgotten_to_say_of_a_body_is_said(body: bytes, encoding: Encoding, advice: str) -> None:
    with pytest.raises(MalformedBody, match=advice):
        decode(body, encoding)


def test_zlib_is_deflate_by_the_collector_s_name() -> None:
    assert inflate(zlib.compress(b"spans"), "zlib", LIMIT) == b"spans"
