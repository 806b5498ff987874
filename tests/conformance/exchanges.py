"""The cases that are one request and its answer, in the order of the specification."""

import gzip
import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

import otlp
from conformance.cases import (
    ODD_VALUES,
    PARENT,
    SPAN_ID,
    Build,
    Case,
    always,
    among,
    field_of,
    in_every_place,
    in_json,
    nothing,
    one_span,
    raw,
    sending,
    setting,
    snake,
    span,
    unknown_everywhere,
    with_unknown_fields,
    without_unknown_fields,
)
from conformance.stand import MIB, TLS
from conformance.wire import EVERY, GRPC, HTTP, JSON, PROTOBUF, Outcome, to_json
from headrace.otlp.codec import Encoding, decode

SUCCESS = ("L574", "L581", "L533", "L556")
GRPC_SUCCESS = ("L214", "L220", "L180")
PARTIAL = ("L588", "L592", "L599")
GRPC_PARTIAL = ("L227", "L231", "L239")
BAD = ("L655", "L656", "L615", "L619", "L624", "L628", "L631", "L634", "L642")
GRPC_BAD = ("L289",)


def _coding(name: str) -> dict[str, str | None]:
    return {"content-encoding": name}


def compression() -> Iterator[Case]:
    """L90, and RFC 9110."""
    yield Case(rules=("L90", *SUCCESS), grpc_rules=("L90", *GRPC_SUCCESS), name="none", request=sending())
    yield Case(rules=("L90",), name="identity", over=HTTP, headers=_coding("identity"), request=sending())
    yield Case(rules=("L90",), name="gzip", packing="gzip", headers=_coding("gzip"), request=sending())
    for name, packing, coding in (
        ("deflate", "deflate", "deflate"),
        ("deflate-without-zlib", "raw deflate", "deflate"),
        ("zstd", "zstd", "zstd"),
        ("x-gzip", "gzip", "x-gzip"),
        ("upper-case", "gzip", "GZip"),
        ("gzip-identity", "gzip", "gzip, identity"),
        ("stacked", "zstd in gzip", "zstd, gzip"),
        ("two-gzip-members", "two gzip members", "gzip"),
        ("empty-header", "", ""),
    ):
        yield Case(rules=("rfc9110-8.4",), name=name, over=HTTP, packing=packing, headers=_coding(coding), request=sending())
    yield Case(rules=("rfc9110-8.4",), name="deflate", over=(GRPC,), packing="deflate", request=sending())


def media_types() -> Iterator[Case]:
    """The media types of RFC 9110, and of the wild."""
    for name, text in (("upper-case", "Application/JSON"), ("charset", "application/json; charset=utf-8")):
        yield Case(rules=("rfc9110-8.3",), name=name, over=(JSON,), headers={"content-type": text}, request=sending())
    upper = {"content-type": 'APPLICATION/X-Protobuf ; a="b"'}
    yield Case(rules=("rfc9110-8.3",), name="upper-case-and-parameter", over=(PROTOBUF,), headers=upper, request=sending())
    other = {"content-type": "application/protobuf"}
    yield Case(rules=("L442",), name="application-protobuf", over=(PROTOBUF,), headers=other, request=sending())
    beacon = {"content-type": "text/plain;charset=UTF-8"}
    yield Case(rules=("js-2321", "L485"), name="beacon", over=(JSON,), headers=beacon, request=sending())


def empty() -> Iterator[Case]:
    """Requests without spans, and envelopes without contents beside some."""
    forms: dict[str, ExportTraceServiceRequest] = {
        "request": ExportTraceServiceRequest(),
        "resource-spans": ExportTraceServiceRequest(resource_spans=[ResourceSpans()]),
        "scope-spans": ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans()])]),
    }
    for name, form in forms.items():
        rules = ("L572", "L581", "L574")
        yield Case(rules=rules, grpc_rules=("L212", "L214", "L220"), name=name, request=always(form))
    for name, body in (("null", b'{"resourceSpans":null}'), ("whitespace", b" {} \n"), ("list", b'{"resourceSpans":[]}')):
        yield Case(rules=("L572",), name=name, over=(JSON,), request=raw(body), stored=nothing)
    packed = _coding("gzip")
    yield Case(rules=("L572",), name="gzip", over=(PROTOBUF,), packing="gzip", headers=packed, request=raw(b""), stored=nothing)

    def beside(trace_id: bytes) -> ExportTraceServiceRequest:
        message = one_span(trace_id)
        message.resource_spans[0].scope_spans.add()
        message.resource_spans.add()
        message.resource_spans.add().scope_spans.add()
        return message

    yield Case(rules=("L746",), name="envelopes-beside-spans", request=beside)


def with_many_attributes(trace_id: bytes) -> ExportTraceServiceRequest:
    """A resource that says more than becomes tags. All of it is kept."""
    message = one_span(trace_id)
    message.resource_spans[0].resource.attributes.extend(otlp.attributes({f"label.{number}": number for number in range(2000)}))
    return message


def partial() -> Iterator[Case]:
    """One bad span costs one span."""
    bad: dict[str, tuple[dict[str, Any], str]] = {
        "short-trace-id": ({"trace_id": b"\1" * 15}, "trace_id must be 16 bytes"),
        "long-trace-id": ({"trace_id": b"\1" * 17}, "trace_id must be 16 bytes"),
        "zero-trace-id": ({"trace_id": bytes(16)}, "trace_id must be 16 bytes, not all zero"),
        "no-trace-id": ({"trace_id": b""}, "trace_id must be 16 bytes"),
        "short-span-id": ({"span_id": b"\1" * 7}, "span_id must be 8 bytes"),
        "zero-span-id": ({"span_id": bytes(8)}, "span_id must be 8 bytes, not all zero"),
        "no-span-id": ({"span_id": b""}, "span_id must be 8 bytes"),
        "start-after-2262": ({"start": 2**63}, "start_time_unix_nano must fit a signed 64-bit integer"),
        "short-parent-id": ({"parent": b"\1" * 7}, "parent_span_id must be empty or 8 bytes"),
    }
    for name, (fields, says) in bad.items():
        sent, stored = among(5, **fields)
        rule = {"short-parent-id": "trace-L111", "start-after-2262": "one-bad-span"}.get(name, "trace-L91")
        yield Case(rules=(rule,), name=name, request=sent, rejected=1, says=("1 of 5 spans", says), stored=stored)
    sent, stored = among(1000, span_id=b"short")
    yield Case(
        rules=("L588", *PARTIAL, "one-bad-span"),
        grpc_rules=("L227", *GRPC_PARTIAL, "one-bad-span"),
        name="one-bad-span-in-a-thousand",
        request=sent,
        rejected=1,
        says=("1 of 1000 spans rejected", "span_id must be 8 bytes"),
        stored=stored,
    )
    yield Case(
        rules=("L605", "L607"),
        grpc_rules=("L245", "L247"),
        name="more-attributes-of-a-resource-than-tags",
        request=with_many_attributes,
        warned=True,
        says=("1 spans accepted, but only some of the resource's attributes became tags", "HEADRACE_MAX_TAGS_PER_TRACE"),
    )
    nowhere = otlp.resource_spans(otlp.span(), mlflow_experiment_id="424242")

    def beside(trace_id: bytes) -> ExportTraceServiceRequest:
        return ExportTraceServiceRequest(resource_spans=[nowhere, *one_span(trace_id).resource_spans])

    yield Case(
        rules=("one-bad-span",),
        name="resource-of-no-experiment",
        request=beside,
        rejected=1,
        says=("1 of 2 spans rejected", "no experiment could be told"),
        stored=one_span,
    )
    many = ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=[Span()] * 100_000)])])
    yield Case(
        rules=("L544", "L655"),
        grpc_rules=("L193", "L289"),
        name="100000-bad-spans",
        request=always(many),
        outcome=Outcome.BAD_DATA,
        says=("100000 of 100000 spans rejected",),
    )

    def many_and_one(trace_id: bytes) -> ExportTraceServiceRequest:
        message = one_span(trace_id)
        message.resource_spans[0].scope_spans[0].spans.extend([Span()] * 100_000)
        return message

    yield Case(
        rules=("L544", "L592"),
        grpc_rules=("L193", "L231"),
        name="100000-bad-spans-and-one-good",
        request=many_and_one,
        rejected=100_000,
        says=("100000 of 100001 spans rejected",),
        stored=one_span,
    )


def bad_data() -> Iterator[Case]:
    """400 and INVALID_ARGUMENT."""
    packed = gzip.compress(one_span(b"\1" * 16).SerializeToString())

    def bad(name: str, body: Build, over: tuple[Any, ...], *says: str, **more: Any) -> Case:
        return Case(
            **({"rules": BAD, "grpc_rules": GRPC_BAD} | more),
            name=name,
            over=over,
            request=body,
            outcome=Outcome.BAD_DATA,
            says=says,
        )

    yield bad("not-protobuf", raw(b"\xff\xff"), (PROTOBUF, GRPC), "protobuf")
    yield bad("cut-short", lambda trace_id: one_span(trace_id).SerializeToString()[:-5], (PROTOBUF, GRPC), "protobuf")
    yield bad("json-as-protobuf", raw(b'{"resourceSpans":[]}'), (PROTOBUF,), "protobuf")
    yield bad("no-good-span", lambda _: one_span(b"short"), EVERY, "1 of 1 spans rejected", "trace_id must be 16 bytes")
    for name, body in {
        "not-gzip": b"no gzip",
        "cut-gzip": packed[:-9],
        "gzip-and-more": packed + b"no gzip",
        "gzip-once-too-often": b"\n\x00",
    }.items():
        yield bad(name, raw(body), HTTP, "gzip", headers=_coding("gzip"))
    for name, text in {
        "not-json": b"{",
        "nothing": b"",
        "protobuf-as-json": one_span(b"\1" * 16).SerializeToString(),
        "list": b"[]",
        "number": b"1",
        "null": b"null",
        "not-utf-16": b"\xff\xfe{",
        "spans-of-another-kind": b'{"resourceSpans":{"a":1}}',
        "number-for-resources": b'{"resourceSpans":7}',
        "text-in-resources": b'{"resourceSpans":["x"]}',
        "text-for-scopes": b'{"resourceSpans":[{"scopeSpans":"x"}]}',
    }.items():
        yield bad(name, raw(text), (JSON,), "JSON")
    for name, text in {
        "deep-lists": b"[" * 100_000,
        "deep-objects": b'{"a":' * 100_000,
        "deep-unknown-field": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "deep-values": b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":[{"key":"k","value":'
        + b'{"arrayValue":{"values":[' * 20_000
        + b"]}}" * 20_000
        + b"}]}]}]}]}",
    }.items():
        yield bad(name, raw(text), (JSON,), "JSON", rules=("hostile-json", "L655"))
    hostile = field_of(1, field_of(2, field_of(2, field_of(9, nested_bytes(20_000)))))
    yield bad("deep-values", raw(hostile), (PROTOBUF, GRPC), rules=("hostile-json",), grpc_rules=("hostile-json",))


def too_large() -> Iterator[Case]:
    """413 and RESOURCE_EXHAUSTED. The limit of this server is 1 MiB."""

    def of_size(size: int) -> Callable[[bytes], bytes]:
        """A protobuf request of exactly so many bytes."""

        def build(trace_id: bytes) -> bytes:
            message = one_span(trace_id, trace_state="x")
            (only,) = message.resource_spans[0].scope_spans[0].spans
            for _ in range(3):
                only.trace_state = "x" * (len(only.trace_state) + size - message.ByteSize())
            assert message.ByteSize() == size
            return message.SerializeToString()

        return build

    def at_the_limit(trace_id: bytes) -> ExportTraceServiceRequest:
        return ExportTraceServiceRequest.FromString(of_size(MIB)(trace_id))

    protobuf = (PROTOBUF, GRPC)
    for packing in ("", "gzip"):
        named: dict[str, Any] = {"packing": packing, "headers": _coding(packing) if packing else {}}
        suffix = "-inflated" if packing else ""
        limit: dict[str, Any] = {"rules": ("L518",), "grpc_rules": ("L121",), **named}
        yield Case(**limit, name=f"at-the-limit{suffix}", over=protobuf, request=of_size(MIB), stored=at_the_limit)
        over = {
            "rules": ("L518", "L522", "L619"),
            "grpc_rules": ("L121", "L127", "L309"),
            **named,
            "outcome": Outcome.TOO_LARGE,
        }
        yield Case(**over, name=f"over-the-limit{suffix}", over=protobuf, request=of_size(MIB + 1))
        much = sending(trace_state="x" * MIB)
        yield Case(**over, name=f"over-the-limit{suffix}", over=(JSON,), request=much, says=("HEADRACE_MAX_BODY_BYTES",))
    for packing in ("deflate", "zstd"):
        yield Case(
            rules=("L518", "L522"),
            name=f"bomb-{packing}",
            over=HTTP,
            packing=packing,
            headers=_coding(packing),
            request=raw(bytes(64 * MIB)),
            outcome=Outcome.TOO_LARGE,
            says=("inflated",),
        )


def same(rule: str, name: str, change: Any, *, broken: str = "", **fields: Any) -> Case:
    """JSON that says in its own way what `fields` say."""
    request, stored = in_json(change, **fields), sending(**fields)
    return Case(rules=(rule,), name=name, over=(JSON,), request=request, stored=stored, broken=broken)


LINKED: dict[str, Any] = {
    "parent": PARENT,
    "links": [Span.Link(trace_id=bytes(range(0xA0, 0xB0)), span_id=bytes(range(0xB0, 0xB8)))],
}


def with_code(code: Any) -> Status:
    """A span's status; its code may be one that the enum does not have."""
    return Status(code=code)


def json_ids_and_enums() -> Iterator[Case]:
    """L451 to L464, and what exporters send instead."""

    def rewriting(change: Callable[[str], str]) -> Callable[[dict[str, Any]], None]:
        """A change of every id."""

        def rewrite(data: dict[str, Any]) -> None:
            for holder in (data, *data["links"]):
                for key in {"traceId", "spanId", "parentSpanId"} & holder.keys():
                    holder[key] = change(holder[key])

        return rewrite

    yield same("L451", "ids-in-lower-case", rewriting(str.lower), **LINKED)
    yield same("L451", "ids-in-upper-case", rewriting(str.upper), **LINKED)
    yield same("L451", "empty-parent", setting(parentSpanId=""))
    in_base64 = rewriting(lambda id_: b64encode(bytes.fromhex(id_)).decode())
    yield same("collector-8720", "ids-in-base64", in_base64, **LINKED)
    for number in range(6):
        yield same("L460", f"kind-{number}", setting(kind=number), kind=number)
    for number in range(3):
        yield same("L460", f"status-{number}", setting(status={"code": number}), status=with_code(number))
    yield same("L460", "kind-of-later-versions", setting(kind=99), kind=99)
    names = setting(kind="SPAN_KIND_PRODUCER", status={"code": "STATUS_CODE_ERROR"})
    yield same("L460", "names-forgiven", names, kind=Span.SPAN_KIND_PRODUCER, status=with_code(Status.STATUS_CODE_ERROR))
    yield same("L460", "unknown-name", setting(kind="SPAN_KIND_OF_LATER_VERSIONS"), kind=0)


def json_keys() -> Iterator[Case]:
    """L468 and L473, of requests with everything in them."""
    fields: dict[str, Any] = LINKED | {
        "trace_state": "a=b",
        "flags": 1,
        "events": [Span.Event(time_unix_nano=otlp.START, name="e", attributes=otlp.attributes({"a": [1, {"b": b"c"}]}))],
        "status": Status(code=Status.STATUS_CODE_ERROR, message="boom"),
        "dropped_attributes_count": 1,
        "dropped_events_count": 2,
        "dropped_links_count": 3,
    }

    def changed(change: Callable[[Any], Any]) -> Build:
        """The JSON of it, after a change."""
        return lambda trace_id: json.dumps(change(to_json(one_span(trace_id, **fields)))).encode()

    everything = sending(**fields)
    yield Case(rules=("L473",), name="every-field", request=everything)
    yield Case(rules=("L473",), name="snake-case-forgiven", over=(JSON,), request=changed(snake), stored=everything)
    unknown = changed(unknown_everywhere)
    yield Case(rules=("L468", "L771"), name="unknown-fields", over=(JSON,), request=unknown, stored=everything)


def json_numbers() -> Iterator[Case]:
    """L480, and what exporters send instead; bytes."""
    times: dict[str, Any] = {"start": 2**53 + 1, "end": 2**63 - 1}
    as_text = {"startTimeUnixNano": str(2**53 + 1), "endTimeUnixNano": str(2**63 - 1)}
    as_number = {"startTimeUnixNano": 2**53 + 1, "endTimeUnixNano": 2**63 - 1}
    low_high = {
        "startTimeUnixNano": {"low": 1, "high": 1 << 21},
        "endTimeUnixNano": {"low": -1, "high": 0x7FFFFFFF, "unsigned": False},
    }
    yield same("L480", "as-text", setting(**as_text), **times)
    yield same("L480", "as-number", setting(**as_number), **times)
    yield same("js-4202", "low-and-high", setting(**low_high), **times)

    def valued(**value: Any) -> Callable[[dict[str, Any]], Any]:
        """A change: one attribute."""
        return setting(attributes=[{"key": "k", "value": value}])

    yield same("L480", "least-as-text", valued(intValue=str(-(2**63))), attrs={"k": -(2**63)})
    yield same("L480", "least-as-number", valued(intValue=-(2**63)), attrs={"k": -(2**63)})
    negative = valued(intValue={"low": -7, "high": -1, "unsigned": False})
    yield same("js-4202", "negative-low-and-high", negative, attrs={"k": -7})
    yield same("common-L29", "bytes-in-base64", valued(bytesValue="AAECAw=="), attrs={"k": b"\0\1\2\3"})


def json_salvage() -> Iterator[Case]:
    """Spans of which the JSON is none of a span's, beside a good one."""
    odd: dict[str, Any] = {
        "null": None,
        "number": 7,
        "text": "x",
        "list": [],
        "kind-of-another-kind": {"kind": [2]},
        "time-in-words": {"startTimeUnixNano": "soon"},
        "links-as-number": {"links": 7},
        "links-as-text": {"links": "x"},
        "low-and-high-of-another-kind": {"startTimeUnixNano": {"low": "a", "high": None}},
        "trace-id-as-number": {"traceId": 7},
        "trace-id-not-hex": {"traceId": "x" * 32},
        "trace-id-as-list": {"traceId": ["a"]},
    }
    for name, change in odd.items():

        def build(trace_id: bytes, change: Any = change) -> bytes:
            data = to_json(one_span(trace_id))
            spans = data["resourceSpans"][0]["scopeSpans"][0]["spans"]
            spans.append(spans[0] | {"spanId": PARENT.hex()} | change if isinstance(change, dict) else change)
            return json.dumps(data).encode()

        yield Case(
            rules=("one-bad-span",),
            name=name,
            over=(JSON,),
            request=build,
            rejected=1,
            says=("1 of 2 spans rejected",),
            stored=one_span,
        )
    lone = in_json(lambda data: data.update(name="\ud800 and \ud83d\ude00"))

    def mended(trace_id: bytes) -> ExportTraceServiceRequest:
        message = one_span(trace_id)
        message.resource_spans[0].scope_spans[0].spans[0].name = "\ufffd and \N{GRINNING FACE}"
        return message

    yield Case(rules=("hostile-json",), name="half-a-surrogate-pair", over=(JSON,), request=lone, stored=mended)
    for field, stored in (("kind", sending(kind=0)), ("status", sending(kind=0, status=Status(message="\ufffd")))):
        odd_text = in_json(setting(**{field: "\ud800"}), kind=0)
        yield Case(
            rules=("hostile-json",),
            name=f"half-a-surrogate-pair-as-{field}",
            over=(JSON,),
            request=odd_text,
            stored=stored,
        )


def nested_bytes(depth: int) -> bytes:
    """The protobuf of a list in a list …, as a KeyValue. (Python's protobuf neither reads nor copies what is so deep.)"""
    value = field_of(1, b"deep")
    for _ in range(depth):
        value = field_of(5, field_of(1, value))
    return field_of(1, b"k") + field_of(2, value)


def protobuf_salvage() -> Iterator[Case]:
    """Spans that protobuf's parser refuses, beside a good one: each is a field of its own, so the good one is there."""
    bad = {
        "cut-attribute": span(b"\1" * 16).SerializeToString() + field_of(9, b"\x0a\x7fk"),
        "no-attribute": span(b"\1" * 16).SerializeToString() + field_of(9, b"\xff"),
    }
    for name, body in bad.items():

        def build(trace_id: bytes, body: bytes = body) -> bytes:
            return _with_fields(one_span(trace_id), spans=field_of(2, body))

        yield Case(
            rules=("one-bad-span",),
            name=name,
            over=(PROTOBUF, GRPC),
            request=build,
            rejected=1,
            says=("1 of 2 spans rejected",),
            stored=one_span,
        )


def _with_fields(
    message: ExportTraceServiceRequest, resource: bytes = b"", spans: bytes = b"", attributes: bytes = b""
) -> bytes:
    """The bytes of a request of one span, with more fields in its resource, in its scope before the span, and in the span."""
    part = message.resource_spans[0]
    one = field_of(2, part.scope_spans[0].spans[0].SerializeToString() + attributes)
    return field_of(1, field_of(1, part.resource.SerializeToString() + resource) + field_of(2, spans + one))


def too_deep() -> Iterator[Case]:
    """Values deeper than protobuf reads, in a span and in a resource."""
    places = {
        "deep-attribute": {"attributes": field_of(9, nested_bytes(150))},
        "deep-resource": {"resource": field_of(1, nested_bytes(150))},
    }
    for name, place in places.items():

        def build(trace_id: bytes, place: dict[str, bytes] = place) -> bytes:
            return _with_fields(one_span(trace_id), **place)

        def stored(trace_id: bytes, build: Callable[[bytes], bytes] = build) -> ExportTraceServiceRequest:
            request: ExportTraceServiceRequest = decode(build(trace_id), Encoding.PROTOBUF)[0]
            return request

        common: dict[str, Any] = {"request": build, "stored": stored, "repaired": {"deep_value_as_text": 1}}
        yield Case(rules=("repair-deep",), name=name, over=(PROTOBUF, GRPC), **common)


def messages() -> Iterator[Case]:
    """What the comments of the proto files ask for."""
    reserved = Span.Link(trace_id=b"\2" * 16, span_id=PARENT, flags=0xFFFFFC01)
    yield Case(rules=("trace-L133",), name="reserved-bits", request=sending(flags=0xFFFFFF01, links=[reserved]))
    yield Case(rules=("trace-L111",), name="zero-parent-id", request=sending(parent=bytes(8)))
    yield Case(rules=("trace-L111",), name="parent-of-itself", request=sending(parent=SPAN_ID), stored=one_span)
    yield Case(rules=("trace-L155",), name="unspecified-kind", request=sending(kind=Span.SPAN_KIND_UNSPECIFIED))
    yield Case(rules=("trace-L155",), name="kind-of-later-versions", request=sending(kind=77))
    yield Case(rules=("trace-L301",), name="no-status", request=sending())
    yield Case(rules=("trace-L301",), name="status-of-later-versions", request=sending(status=with_code(7)))
    yield Case(rules=("trace-L191",), name="end-before-start", request=sending(end=otlp.START - 1))
    yield Case(rules=("trace-L191",), name="end-after-2262", request=sending(end=2**63))
    yield Case(rules=("trace-L191",), name="no-times", request=sending(start=0, end=0))

    def unnamed(trace_id: bytes) -> ExportTraceServiceRequest:
        message = one_span(trace_id)
        message.resource_spans[0].scope_spans[0].spans[0].name = ""
        return message

    def twice(trace_id: bytes) -> ExportTraceServiceRequest:
        message = one_span(trace_id)
        for holder in (message.resource_spans[0].resource, message.resource_spans[0].scope_spans[0].spans[0]):
            holder.attributes.extend([KeyValue(key="k", value=otlp.value(n)) for n in (1, "two", 3)])
        return message

    yield Case(rules=("trace-L145",), name="empty-name", request=unnamed)
    yield Case(rules=("trace-L210",), name="duplicate-keys", request=twice)
    for name, value in ODD_VALUES.items():
        yield Case(rules=("common-L29",), name=name, request=in_every_place(value))

    def of_profiles(trace_id: bytes) -> ExportTraceServiceRequest:
        message = one_span(trace_id, attrs={"n": 7})
        message.resource_spans[0].scope_spans[0].spans[0].attributes.add(key_strindex=5, value=otlp.value("x"))
        return message

    empty_key = sending(attrs={"n": 7, "": "x"})
    yield Case(rules=("common-L42",), name="reference-as-key", request=of_profiles, stored=empty_key)
    yield Case(
        rules=("L771",),
        name="unknown-fields",
        over=(PROTOBUF, GRPC),
        request=with_unknown_fields,
        stored=without_unknown_fields,
    )


def tls() -> Iterator[Case]:
    """Over TLS."""
    yield Case(rules=("tls",), name="encrypted", server=TLS, request=sending())


def exchanges() -> Iterator[Case]:
    """All of them."""
    for part in (
        compression,
        media_types,
        json_ids_and_enums,
        json_keys,
        json_numbers,
        empty,
        partial,
        bad_data,
        too_large,
        json_salvage,
        protobuf_salvage,
        too_deep,
        messages,
        tls,
    ):
        yield from part()
