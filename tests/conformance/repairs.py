"""Odd input that keeps its data: what is sent, what is stored, and under which rule it is counted. docs/conformance.md has the
table.
"""

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

import otlp
from conformance.cases import PARENT, SPAN_ID, Build, Case, Procedures, in_json, one_span, sending, setting, span
from conformance.stand import PLAIN, Stand, request_of
from conformance.wire import EVERY, GRPC, JSON, PROTOBUF, Outcome, Transport, encode, to_json

MARK, BROKEN, MENDED = "@@@@@@@", b"caf\xe9 \xe2\x82", "caf\ufffd \ufffd"
"""A text, bytes of its length that are no UTF-8, and what they become: two places are wrong."""
Change = Callable[[ExportTraceServiceRequest, str], Any]
"""Puts a text somewhere into a request of one span."""

shows = Procedures()


def _span(message: ExportTraceServiceRequest) -> Span:
    return message.resource_spans[0].scope_spans[0].spans[0]


def _scope(message: ExportTraceServiceRequest) -> InstrumentationScope:
    return message.resource_spans[0].scope_spans[0].scope


PLACES: dict[str, Change] = {
    "span-name": lambda message, text: setattr(_span(message), "name", text),
    "attribute": lambda message, text: _span(message).attributes.extend(otlp.attributes({"path": text})),
    "attribute-key": lambda message, text: _span(message).attributes.extend(otlp.attributes({text: 1})),
    "deep-attribute": lambda message, text: _span(message).attributes.extend(otlp.attributes({"a": [{"b": text}]})),
    "event-name": lambda message, text: _span(message).events.append(Span.Event(name=text, time_unix_nano=otlp.START)),
    "status-message": lambda message, text: _span(message).status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message=text)),
    "trace-state": lambda message, text: setattr(_span(message), "trace_state", text),
    "link-trace-state": lambda message, text: _span(message).links.append(
        Span.Link(trace_id=b"l" * 16, span_id=PARENT, trace_state=text)
    ),
    "resource": lambda message, text: message.resource_spans[0].resource.attributes.extend(otlp.attributes({"host": text})),
    "resource-key": lambda message, text: message.resource_spans[0].resource.attributes.extend(otlp.attributes({text: 1})),
    "scope": lambda message, text: setattr(_scope(message), "name", text),
    "schema": lambda message, text: setattr(message.resource_spans[0], "schema_url", text),
}


def _with(change: Change, text: str) -> Callable[[bytes], ExportTraceServiceRequest]:
    def build(trace_id: bytes) -> ExportTraceServiceRequest:
        message = one_span(trace_id)
        change(message, text)
        return message

    return build


def texts() -> Iterator[Case]:
    """Bytes that are no UTF-8, over each transport, plain and compressed."""
    for place, change in PLACES.items():
        for transport in EVERY:
            sent, stored = _with(change, MARK), _with(change, MENDED)

            def broken(trace_id: bytes, sent: Any = sent, transport: Transport = transport) -> bytes:
                return encode(sent(trace_id), transport).replace(MARK.encode(), BROKEN)

            counts = {"invalid_bytes_replaced": 2}
            common: dict[str, Any] = {"rules": ("repair-utf8",), "over": (transport,), "repaired": counts, "stored": stored}
            yield Case(name=place, request=broken, **common)
            if place in ("attribute", "resource"):
                yield Case(name=f"{place}-gzip", request=broken, packing="gzip", headers={"content-encoding": "gzip"}, **common)


def times() -> Iterator[Case]:
    """Times that no clock has shown. What was sent is read back; what stands in their place, `tests/unit/mlflow/test_times.py`
    says."""
    odd: dict[str, tuple[dict[str, int], dict[str, int]]] = {
        "no-end": ({"end": 0}, {"end_time_missing": 1}),
        "end-before-start": ({"end": otlp.START - 1}, {"end_before_start": 1}),
        "no-start": ({"start": 0}, {"start_time_missing": 1}),
        "no-time-at-all": ({"start": 0, "end": 0}, {"start_time_missing": 1, "end_time_missing": 1}),
        "end-after-2262": ({"end": 2**64 - 1}, {"end_time_out_of_range": 1}),
    }
    for name, (fields, rules) in odd.items():
        yield Case(rules=("repair-times",), name=name, request=sending(**fields), repaired=rules)
    timeless = sending(events=[Span.Event(name="e"), Span.Event(name="f", time_unix_nano=5)])
    yield Case(rules=("repair-times",), name="event-without-time", request=timeless, repaired={"event_time_missing": 1})
    for name, change in {
        "null-end": setting(endTimeUnixNano=None),
        "missing-end": lambda json_span: json_span.pop("endTimeUnixNano"),
        "end-as-text": setting(endTimeUnixNano="0"),
    }.items():
        yield Case(
            rules=("repair-times",),
            name=name,
            over=(JSON,),
            request=in_json(change),
            stored=sending(end=0),
            repaired={"end_time_missing": 1},
        )
    for name, value in {"year-9999": "253402300799000000000", "year-9999-as-number": 253402300799000000000}.items():
        yield Case(
            rules=("repair-times",),
            name=name,
            over=(JSON,),
            request=in_json(setting(endTimeUnixNano=value)),
            stored=sending(end=2**64 - 1),
            repaired={"time_beyond_otlp": 1, "end_time_out_of_range": 1},
        )


def forms() -> Iterator[Case]:
    """Forms that are not OTLP's."""

    def hex_id(form: str) -> Build:
        def build(trace_id: bytes) -> bytes:
            text = trace_id.hex()
            uuid = f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
            return in_json(setting(traceId=form.format(hex=text, uuid=uuid)))(trace_id)  # type: ignore[return-value]

        return build

    for name, form in {"uuid": "{uuid}", "uuid-in-braces": "{{{uuid}}}", "0x": "0x{hex}"}.items():
        ids = {"id_rewritten": 1}
        yield Case(rules=("repair-ids",), name=name, over=(JSON,), request=hex_id(form), stored=one_span, repaired=ids)
    pairs = [
        {"key": "n", "value": {"Value": {"IntValue": 7}}},
        {"key": "path", "value": {"Value": {"StringValue": "/checkout"}}},
    ]
    go = in_json(setting(attributes=pairs))
    yield Case(rules=("repair-go",), name="values", over=(JSON,), request=go, stored=one_span, repaired={"go_value_read": 2})
    for name, change, stored in (
        ("name-of-another-kind", {"name": 7}, sending(name="7")),
        (
            "too-long-integer",
            {"attributes": [{"key": "k", "value": {"intValue": str(2**63)}}]},
            sending(attrs={"k": str(2**63)}),
        ),
        ("two-values", {"attributes": [{"key": "k", "value": {"intValue": 1, "stringValue": "a"}}]}, sending(attrs={"k": 1})),
        ("attributes-as-object", {"attributes": {"k": 1}}, sending(attrs={"k": 1})),
        ("short-name-of-an-enum", {"kind": "CLIENT"}, sending(kind=Span.SPAN_KIND_CLIENT)),
    ):
        read = {"json_value_read": 2 if name == "attributes-as-object" else 1}
        yield Case(
            rules=("repair-json",), name=name, over=(JSON,), request=in_json(setting(**change)), stored=stored, repaired=read
        )

    def old_json(trace_id: bytes) -> bytes:
        data = to_json(one_span(trace_id))
        resource = data["resourceSpans"][0]
        resource["instrumentationLibrarySpans"] = resource.pop("scopeSpans")
        return json.dumps(data).encode()

    def old_protobuf(trace_id: bytes) -> bytes:
        resource = one_span(trace_id).resource_spans[0]
        scope = resource.scope_spans[0].SerializeToString()
        del resource.scope_spans[:]
        body = resource.SerializeToString() + b"\xc2\x3e" + _length(scope) + scope  # field 1000
        return b"\x0a" + _length(body) + body

    old = {"old_name_read": 1}
    for over, build in (((JSON,), old_json), ((PROTOBUF, GRPC), old_protobuf)):
        yield Case(rules=("repair-old-name",), name="library", over=over, request=build, stored=one_span, repaired=old)


def _length(data: bytes) -> bytes:
    """The length of a field, as a varint."""
    size, found = len(data), bytearray()
    while size >= 0x80:
        found.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes((*found, size))


def lost() -> Iterator[Case]:
    """What is not understood, and holds spans."""

    def in_protobuf(trace_id: bytes) -> bytes:
        unknown = one_span(trace_id, span_id=PARENT).resource_spans[0].SerializeToString()
        return one_span(trace_id).SerializeToString() + b"\x12" + _length(unknown) + unknown  # field 2

    def in_json_(trace_id: bytes) -> bytes:
        data = to_json(one_span(trace_id))
        return json.dumps(data | {"batches": data["resourceSpans"]}).encode()

    for over, build, where in (((PROTOBUF, GRPC), in_protobuf, "field 2 of request"), ((JSON,), in_json_, "batches")):
        yield Case(
            rules=("unknown-field",),
            name="spans-in-it",
            over=over,
            request=build,
            rejected=1,
            says=("a span stands in a field that OTLP does not have", where),
            stored=one_span,
        )
    end = "253402300799000000000"
    for name, change in {"year-9999": {"startTimeUnixNano": end}, "no-number": {"startTimeUnixNano": "soon"}}.items():

        def beside(trace_id: bytes, change: Any = change) -> bytes:
            data = to_json(one_span(trace_id))
            spans = data["resourceSpans"][0]["scopeSpans"][0]["spans"]
            spans.append(spans[0] | {"spanId": PARENT.hex()} | change)
            return json.dumps(data).encode()

        yield Case(
            rules=("one-bad-span",),
            name=f"start-{name}",
            over=(JSON,),
            request=beside,
            rejected=1,
            says=("1 of 2 spans rejected", "2262" if name == "year-9999" else "startTimeUnixNano"),
            stored=one_span,
        )


def headers() -> Iterator[Case]:
    """What comes beside a body."""
    twice: dict[str, str | None] = {"x-mlflow-experiment-id": "0, 0"}
    yield Case(rules=("headers",), name="the-same-value-twice", headers=twice, request=sending())
    long: dict[str, str | None] = {"authorization": f"Bearer {'j' * 20_000}", "baggage": f"k={'v' * 20_000}"}
    yield Case(rules=("headers",), name="40-kb", headers=long, request=sending())


@shows("repair-unfinished")
def whole_first(stand: Stand, transport: Transport) -> None:
    _sent_twice(stand, transport, running_first=False)


@shows("repair-unfinished")
def running_first(stand: Stand, transport: Transport) -> None:
    _sent_twice(stand, transport, running_first=True)


@shows("repair-unfinished")
def both_in_one_request(stand: Stand, transport: Transport) -> None:
    trace_id = os.urandom(16)
    spans = span(trace_id, span_id=SPAN_ID), span(trace_id, span_id=SPAN_ID, end=0, attrs={"half": 1})
    assert stand[PLAIN].send(transport, encode(request_of(*spans), transport)).code == Outcome.OK.code(transport)
    stand[PLAIN].assert_stored(trace_id, spans[0])


def _sent_twice(stand: Stand, transport: Transport, *, running_first: bool) -> None:
    server, trace_id = stand[PLAIN], os.urandom(16)
    running, whole = span(trace_id, end=0, attrs={"half": 1}), span(trace_id)
    for one in (running, whole) if running_first else (whole, running):
        assert server.send(transport, encode(request_of(one), transport)).code == Outcome.OK.code(transport)
        server.drain()
    server.assert_stored(trace_id, whole)


def repairs() -> Iterator[Case]:
    """All of them."""
    for part in (texts, times, forms, lost, headers):
        yield from part()
    yield from shows.cases
