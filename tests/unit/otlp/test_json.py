"""OTLP as JSON, both ways."""

import json

from opentelemetry.proto.trace.v1.trace_pb2 import Span

import otlp
from headrace.otlp.json_encoding import decode_json, encode_json


def test_encode_json_is_the_inverse_of_decode_json() -> None:
    link = Span.Link(trace_id=b"l" * 16, span_id=b"k" * 8, attributes=otlp.attributes({"a": b"\x00\xff"}))
    values = {"i": 1 << 60, "f": float("inf"), "list": [1, "x", None], "map": {"deep": True}}
    request = otlp.request(otlp.span("näme", parent=b"p" * 8, attrs=values, kind=Span.SPAN_KIND_CLIENT, links=[link]))
    assert decode_json(json.dumps(encode_json(request)).encode()) == (request, 0)
