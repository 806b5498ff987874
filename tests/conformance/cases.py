"""What a case is, and how the requests of cases are built. The cases stand in `conformance.exchanges` (one request each),
`conformance.connections` (bare connections) and `conformance.procedures` (more than one request, a server in some state).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import otlp
from conformance.stand import PLAIN, Stand, request_of, texts
from conformance.wire import EVERY, GRPC, Outcome, Transport, encode, to_json

Steps = Callable[[Stand, Transport], None]
Build = Callable[[bytes], "ExportTraceServiceRequest | bytes"]
"""The id of a trace that nobody else has → a request of its spans, or the body as it goes out."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A request and its answer; or, where that does not say it, `steps`."""

    rules: tuple[str, ...]
    """Keys of `conformance.requirements`; the first one begins the id."""
    name: str
    over: tuple[Transport, ...] = EVERY
    grpc_rules: tuple[str, ...] = ()
    """Where the specification says the same of gRPC in other lines."""
    server: str = PLAIN

    request: Build | None = None
    packing: str = ""
    """See `wire.PACKINGS`."""
    headers: Mapping[str, str | None] = field(default_factory=dict)

    outcome: Outcome = Outcome.OK
    rejected: int = 0
    """`rejected_spans`; 0: `partial_success` must be unset, unless it warns."""
    warned: bool = False
    """Whether `partial_success` has a warning."""
    says: tuple[str, ...] = ()
    """What the message must contain."""
    repaired: Mapping[str, int] = field(default_factory=dict)
    """Rule → by how much `headrace_spans_repaired_total` must rise. Empty: not looked at."""
    stored: Build | None = None
    """The request that must be found in MLflow's tables; None: `request` itself on success, nothing on failure."""

    steps: Steps | None = None
    broken: str = ""
    """Why Headrace does not pass this yet."""

    def rules_of(self, transport: Transport) -> tuple[str, ...]:
        """The requirements that this shows over a transport."""
        return (self.grpc_rules or self.rules) if transport is GRPC else self.rules

    def id(self, transport: Transport) -> str:
        """`L90-gzip[http/json]`."""
        return f"{self.rules_of(transport)[0]}-{self.name}[{transport.value}]"

    def run(self, stand: Stand, transport: Transport, trace_id: bytes) -> None:
        """Sends the request and checks everything that must come back."""
        if self.steps is not None:
            self.steps(stand, transport)
            return
        assert self.request is not None
        server = stand[self.server]
        sent = self.request(trace_id)
        body = sent if isinstance(sent, bytes) else encode(sent, transport)
        headers = {key: text for key, text in self.headers.items() if transport is not GRPC or not key.startswith("content-")}
        before = {rule: server.repaired(rule) for rule in self.repaired}
        reply = server.send(transport, body, self.packing, headers, warned=self.warned)
        said = reply.status.message if reply.status is not None else reply.message.partial_success.error_message
        assert reply.code == self.outcome.code(transport), said
        if reply.message is not None:
            assert reply.message.HasField("partial_success") == (self.rejected > 0 or self.warned), said
            assert reply.message.partial_success.rejected_spans == self.rejected, said
        for part in self.says:
            assert part in said
        wanted = self.stored(trace_id) if self.stored is not None else sent
        if self.outcome is not Outcome.OK:
            wanted = ExportTraceServiceRequest()
        assert isinstance(wanted, ExportTraceServiceRequest), "a body of bytes needs `stored`"
        assert server.stored(trace_id) == texts(wanted.resource_spans)
        assert {rule: server.repaired(rule) - before[rule] for rule in self.repaired} == self.repaired


SPAN_ID, PARENT = bytes.fromhex("eee19b7ec3c1b174"), bytes.fromhex("eee19b7ec3c1b173")


def one_span(trace_id: bytes, **fields: Any) -> ExportTraceServiceRequest:
    """A request of one span."""
    return request_of(span(trace_id, **fields))


def span(trace_id: bytes, **fields: Any) -> Span:
    """A span that says something in every field that does not matter to the case."""
    known: dict[str, Any] = {"name": "GET /checkout", "span_id": SPAN_ID, "kind": Span.SPAN_KIND_SERVER}
    known |= {"attrs": {"n": 7, "path": "/checkout"}}
    return otlp.span(trace_id=trace_id, **(known | fields))


def sending(**fields: Any) -> Build:
    """A request of one span with these fields."""
    return lambda trace_id: one_span(trace_id, **fields)


def nothing(_: bytes) -> ExportTraceServiceRequest:
    """No span at all."""
    return ExportTraceServiceRequest()


def always(message: ExportTraceServiceRequest) -> Build:
    """This request."""
    return lambda _: message


def raw(body: bytes) -> Build:
    """These bytes."""
    return lambda _: body


def in_json(change: Callable[[dict[str, Any]], Any], **fields: Any) -> Build:
    """The JSON of a request of one span (with `fields`), after `change` was made to the span."""

    def build(trace_id: bytes) -> bytes:
        data = to_json(one_span(trace_id, **fields))
        change(data["resourceSpans"][0]["scopeSpans"][0]["spans"][0])
        return json.dumps(data).encode()

    return build


def setting(**members: Any) -> Callable[[dict[str, Any]], Any]:
    """A change: these members of the span."""
    return lambda json_span: json_span.update(members)


def snake(value: Any) -> Any:
    """All keys as the proto files have them."""
    if isinstance(value, list):
        return [snake(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {"".join(f"_{c.lower()}" if c.isupper() else c for c in key): snake(item) for key, item in value.items()}


def unknown_everywhere(value: Any) -> Any:
    """A member that OTLP does not know in every object."""
    if isinstance(value, list):
        return [unknown_everywhere(item) for item in value]
    if not isinstance(value, dict):
        return value
    unknown = {"ofOtlp2": {"a": [None, {"b": 1.5}]}, "": 1, "\N{GRINNING FACE}": "x"}
    return {key: unknown_everywhere(item) for key, item in value.items()} | unknown


def with_unknown_fields(trace_id: bytes) -> bytes:
    """Protobuf with fields of numbers that nobody has given yet, of each wire type, at every level."""
    extra = b"".join(
        (
            *(b"\xf8\x3e\x07", b"\xf9\x3e" + b"8bytes!!", b"\xfa\x3e\x05other", b"\xfd\x3e4byt"),  # field 1007
            b"\xfb\x3e\x08\x01\xfc\x3e",  # a group
        )
    )
    message = one_span(trace_id, attrs={})
    resource = message.resource_spans[0]
    inner = resource.scope_spans[0].spans[0].SerializeToString() + extra + field_of(9, pair("k", AnyValue(int_value=5)) + extra)
    scope = field_of(1, field_of(1, b"lib") + extra) + field_of(2, inner) + extra
    around = field_of(1, resource.resource.SerializeToString() + extra) + field_of(2, scope) + extra
    return field_of(1, around) + extra


def without_unknown_fields(trace_id: bytes) -> ExportTraceServiceRequest:
    """What is left of it."""
    message = one_span(trace_id, attrs={"k": 5})
    message.resource_spans[0].scope_spans[0].scope.name = "lib"
    return message


def field_of(number: int, value: bytes) -> bytes:
    """A length-delimited protobuf field."""
    length, head = len(value), bytearray((number << 3 | 2,))
    while length >= 0x80:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes(head) + bytes((length,)) + value


def pair(key: str, value: AnyValue) -> bytes:
    """A KeyValue."""
    return KeyValue(key=key, value=value).SerializeToString()


ODD_VALUES: dict[str, AnyValue] = {
    "empty": AnyValue(),
    "empty-text": AnyValue(string_value=""),
    "bytes": AnyValue(bytes_value=bytes(range(256))),
    "no-bytes": AnyValue(bytes_value=b""),
    "least-integer": AnyValue(int_value=-(2**63)),
    "greatest-integer": AnyValue(int_value=2**63 - 1),
    "beyond-floats": AnyValue(int_value=2**53 + 1),
    "double": AnyValue(double_value=0.1),
    "whole-double": AnyValue(double_value=1.0),
    "nan": AnyValue(double_value=float("nan")),
    "infinity": AnyValue(double_value=float("-inf")),
    "empty-array": AnyValue(array_value=ArrayValue()),
    "mixed-array": AnyValue(
        array_value=ArrayValue(
            values=[AnyValue(), otlp.value(True), otlp.value(1), otlp.value(2.5), otlp.value("x"), otlp.value(b"\0\xff")]
        )
    ),
    "empty-kvlist": AnyValue(kvlist_value=KeyValueList()),
    "kvlist": otlp.value({"a": {"b": [1, {"c": None}]}, "": b"\xfe"}),
    "nested": otlp.value([[[[[[[[{"a": [["deep"]]}]]]]]]]]),
    "nul": AnyValue(string_value="a\0b"),
    "json-text": AnyValue(string_value='{"a": 1}'),
    "emoji": AnyValue(string_value="\N{GRINNING FACE} \u202e\uffff"),
}


def in_every_place(value: AnyValue) -> Build:
    """A value as an attribute of the resource, the scope, the span, an event and a link."""

    def build(trace_id: bytes) -> ExportTraceServiceRequest:
        attributes = [KeyValue(key="odd", value=value)]
        message = one_span(
            trace_id,
            events=[Span.Event(time_unix_nano=otlp.START, name="e", attributes=attributes)],
            links=[Span.Link(trace_id=trace_id, span_id=PARENT, attributes=attributes)],
        )
        (resource,) = message.resource_spans
        resource.resource.attributes.extend(attributes)
        resource.scope_spans[0].scope.MergeFrom(InstrumentationScope(name="lib", attributes=attributes))
        resource.scope_spans[0].spans[0].attributes.extend(attributes)
        return message

    return build


def among(count: int, **bad: Any) -> tuple[Build, Build]:
    """`count` spans of which one, in the middle, is bad: (as sent, as stored)."""

    def stored(trace_id: bytes) -> ExportTraceServiceRequest:
        return request_of(*(span(trace_id, span_id=n.to_bytes(8, "big"), parent=PARENT) for n in range(1, count)))

    def sent(trace_id: bytes) -> ExportTraceServiceRequest:
        message = stored(trace_id)
        spans = list(message.resource_spans[0].scope_spans[0].spans)
        spans.insert(count // 2, span(**({"trace_id": trace_id} | bad)))
        return request_of(*spans)

    return sent, stored


def spans_of(trace_id: bytes, count: int) -> list[Span]:
    """So many children of the same parent."""
    return [span(trace_id, span_id=n.to_bytes(8, "big"), parent=PARENT) for n in range(1, count + 1)]


class Procedures:
    """Makes cases of functions: `@shows("L694", over=HTTP)`. A function's name is its case's."""

    def __init__(self) -> None:
        self.cases: list[Case] = []

    def __call__(
        self, *rules: str, over: tuple[Transport, ...] = EVERY, grpc_rules: tuple[str, ...] = (), broken: str = ""
    ) -> Callable[[Steps], Steps]:
        """See `Case`."""

        def decorate(steps: Steps) -> Steps:
            name = steps.__name__.replace("_", "-")
            self.cases.append(Case(rules=rules, grpc_rules=grpc_rules, name=name, over=over, steps=steps, broken=broken))
            return steps

        return decorate
