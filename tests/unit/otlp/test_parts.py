"""How many parts a body has, told before it is parsed."""

import pytest
from google.protobuf.message import DecodeError
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import otlp
from headrace.errors import BodyTooLarge
from headrace.otlp import parts
from headrace.otlp.parts import Parts, check_parts, check_small
from headrace.otlp.weight import of_json, of_protobuf, small_parts


def test_spans_are_counted_over_all_resources_and_scopes() -> None:
    request = otlp.request(*[otlp.span() for _ in range(3)])
    request.resource_spans.append(otlp.resource_spans(otlp.span()))
    request.resource_spans[0].scope_spans.add().spans.append(otlp.span())
    assert check_parts(request.SerializeToString()) == 5
    assert check_parts(b"") == 0


def test_a_level_counts_each_of_its_fields() -> None:
    span = otlp.span(attrs={"a": 1, "b": 2}, events=[Span.Event()], links=[Span.Link() for _ in range(3)])
    counted = Parts({"attributes": 9, "events": 11, "links": 13}).count(span.SerializeToString())
    assert counted == {"attributes": 2, "events": 1, "links": 3}


@pytest.mark.parametrize("what", ["spans", "events", "attributes"])
def test_a_body_of_too_many_parts_is_refused(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    for name, most in (("MAX_PARTS", 100), ("MAX_ATTRIBUTES", 200), ("_LARGE_BYTES", 0)):
        monkeypatch.setattr(parts, name, most)

    def body(count: int) -> bytes:
        if what == "spans":
            return otlp.request(*[otlp.span() for _ in range(count)]).SerializeToString()
        events = [Span.Event() for _ in range(count if what == "events" else 0)]
        attributes = {f"k{number}": number for number in range(2 * count if what == "attributes" else 0)}
        return otlp.request(otlp.span(attrs=attributes, events=events)).SerializeToString()

    assert check_parts(body(90)) in (1, 90)
    with pytest.raises(BodyTooLarge, match="send smaller batches"):
        check_parts(body(101))


def test_what_is_no_protobuf_is_said_so() -> None:
    with pytest.raises(DecodeError):
        check_parts(b"\xff\xff")


def test_small_parts_are_bounded_whatever_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_MAX_SMALL", 1000)
    assert check_small(b"\x22\x00" * 999) == 999
    with pytest.raises(BodyTooLarge):
        check_small(b"\x22\x00" * 1001)


def test_small_parts_are_never_fewer_than_there_are() -> None:
    body = otlp.request(otlp.span(attrs={"k": ["", "x", 1, True]}, events=[Span.Event()] * 50)).SerializeToString()
    assert small_parts(body) >= 50
    assert small_parts(b"\x7f" * 200_000) == 0


def test_an_estimate_is_not_below_the_body_and_grows_with_its_parts() -> None:
    few, many = (otlp.request(otlp.span(events=[Span.Event()] * count)).SerializeToString() for count in (1, 1000))
    assert len(few) < of_protobuf(few) < of_protobuf(many)
    assert of_protobuf(many) - of_protobuf(few) >= 57 * 999  # what an event takes
    assert of_json(b"[{},{}]") > of_json(b"[{}]") > 4
    assert of_json("\U0001f600".encode()) >= 4 * of_json(b"x")  # one such character makes the whole text four bytes wide
