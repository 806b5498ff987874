"""What is sent: OTLP requests as SDKs export them, serialized once; before each use their ids and times are overwritten."""

import json
import os
import random
import re
import struct
import time
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

_START_TAG, _END_TAG = b"\x39", b"\x41"  # fields 7 and 8 of Span, fixed64
_LETTERS = "eeeetttaaaooiinnsshhrrddllu      "  # text as compressible as English, more or less


@dataclass(frozen=True, slots=True)
class Shape:
    """One kind of request: `traces` whole traces of `spans` spans each; every other an LLM span, or none."""

    traces: int
    spans: int
    llm: bool = False

    @property
    def size(self) -> int:
        """Spans in one request."""
        return self.traces * self.spans


PLAIN = [(1, 1), (1, 10), (10, 10), (64, 8), (512, 1), (1, 512)]
SHAPES = {f"{traces}x{spans}": Shape(traces, spans) for traces, spans in PLAIN} | {"8x8-llm": Shape(8, 8, llm=True)}


class Template:
    """One serialized request. `fill()` gives a copy of it with ids that nobody had before, ending now.

    Ids are random, as real ones are: ids in sequence would make the indexes cheaper to maintain than they are in life.
    """

    def __init__(self, shape: Shape, rng: random.Random) -> None:
        base = time.time_ns()
        trace_ids = [rng.randbytes(16) for _ in range(shape.traces)]
        spans = [span for trace_id in trace_ids for span in _trace(shape, rng, trace_id, base)]
        body = _request(spans)
        self._body = bytearray(body)
        self._random = 0
        self._ids: list[tuple[int, int, int, int]] = []  # body[a:b] = random[c:d]
        for id_ in [*trace_ids, *(span.span_id for span in spans)]:
            source, self._random = self._random, self._random + len(id_)
            self._ids += [(*found.span(), source, self._random) for found in re.finditer(re.escape(id_), body)]
        if len(self._ids) != 3 * shape.size - shape.traces:  # trace id, span id and, but for the roots, parent id
            raise ValueError("an id occurs by chance elsewhere in the body: take another seed")
        times = [(_START_TAG, span.start_time_unix_nano) for span in spans]
        times += [(_END_TAG, span.end_time_unix_nano) for span in spans]
        self._times = [(body.index(tag + struct.pack("<Q", value)) + 1, value - base) for tag, value in times]

    def fill(self) -> bytes:
        """The body of one request."""
        body, ids, now = self._body, os.urandom(self._random), time.time_ns()
        for start, end, source, source_end in self._ids:
            body[start:end] = ids[source:source_end]
        for at, offset in self._times:
            struct.pack_into("<Q", body, at, now + offset)
        return bytes(body)


def templates(shape: Shape) -> list[Template]:
    """Templates with differing values, the same ones in every run; more of them where a request is small."""
    rng = random.Random(20)
    return [Template(shape, rng) for _ in range(max(4, 512 // shape.size))]


def _trace(shape: Shape, rng: random.Random, trace_id: bytes, base: int) -> list[Span]:
    """A tree, children before parents, as SDKs end them: an HTTP server span over calls of services, databases and models."""
    ids = [rng.randbytes(8) for _ in range(shape.spans)]
    spans = []
    for index, span_id in enumerate(ids):
        kind, name, attributes = _work(shape, rng, index)
        parent = ids[(index - 1) // 3] if index else b""
        end = base - 1_000_000 * index - rng.randrange(1_000_000)
        start = end - rng.randrange(1_000_000, 2_000_000_000)
        span = Span(trace_id=trace_id, span_id=span_id, parent_span_id=parent, name=name, kind=kind, flags=1)
        span.start_time_unix_nano, span.end_time_unix_nano, span.status.code = start, end, Status.STATUS_CODE_OK
        span.attributes.extend(_attributes(attributes))
        spans.append(span)
    return spans[::-1]


def _work(shape: Shape, rng: random.Random, index: int) -> tuple[Span.SpanKind.ValueType, str, dict[str, Any]]:
    if shape.llm and index % 2:
        return Span.SPAN_KIND_CLIENT, "chat gpt-4o-mini", _llm(rng)
    if index == 0 or index % 5 == 0:
        return Span.SPAN_KIND_SERVER, "POST /api/orders/{id}", _http(rng)
    return Span.SPAN_KIND_CLIENT, "SELECT shop.orders", _database(rng)


def _http(rng: random.Random) -> dict[str, Any]:
    return {
        "http.request.method": "POST", "http.route": "/api/orders/{id}", "url.path": f"/api/orders/{rng.randrange(10**6)}",
        "url.scheme": "https", "http.response.status_code": rng.choice([200, 201, 204]), "network.protocol.version": "1.1",
        "server.address": "orders.shop.example", "server.port": 8443, "user_agent.original": "okhttp/4.12.0",
        "client.address": f"10.0.{rng.randrange(256)}.{rng.randrange(256)}",
    }  # fmt: skip


def _database(rng: random.Random) -> dict[str, Any]:
    query = "SELECT id, customer_id, total, state FROM orders WHERE customer_id = $1 ORDER BY id DESC LIMIT 20"
    return {
        "db.system.name": "postgresql", "db.namespace": "shop", "db.collection.name": "orders", "db.operation.name": "SELECT",
        "db.query.text": query, "db.response.returned_rows": rng.randrange(20), "server.address": "db.shop.example",
        "server.port": 5432, "network.peer.address": f"10.1.0.{rng.randrange(256)}", "thread.id": rng.randrange(100),
    }  # fmt: skip


def _llm(rng: random.Random) -> dict[str, Any]:
    """A chat of 1 to 4 KiB, with usage and a model that MLflow's price list has."""
    size = rng.randrange(1024, 4096)
    asked, answered = ("".join(rng.choices(_LETTERS, k=letters)) for letters in (size * 3 // 4, size // 4))
    return {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.temperature": 0.2,
        "gen_ai.request.model": "gpt-4o-mini", "gen_ai.response.model": "gpt-4o-mini",
        "gen_ai.response.id": f"chatcmpl-{rng.randrange(10**12)}",
        "gen_ai.usage.input_tokens": len(asked) // 4, "gen_ai.usage.output_tokens": len(answered) // 4,
        "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": asked}]}]),
        "gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": answered}]}]),
    }  # fmt: skip


def _request(spans: list[Span]) -> bytes:
    resource = {
        "service.name": "orders", "service.namespace": "shop", "service.version": "2.14.1", "host.name": "node-7",
        "service.instance.id": "orders-6f7d9c-x2x9p", "deployment.environment.name": "production",
        "telemetry.sdk.name": "opentelemetry", "telemetry.sdk.language": "java", "telemetry.sdk.version": "1.44.1",
    }  # fmt: skip
    scope_spans = ScopeSpans(scope=InstrumentationScope(name="io.opentelemetry.okhttp-3.0", version="2.10.0"), spans=spans)
    resource_spans = ResourceSpans(resource=Resource(attributes=_attributes(resource)), scope_spans=[scope_spans])
    return ExportTraceServiceRequest(resource_spans=[resource_spans]).SerializeToString()


def _attributes(values: dict[str, Any]) -> list[KeyValue]:
    fields = {str: "string_value", int: "int_value", float: "double_value"}
    return [KeyValue(key=key, value=AnyValue(**{fields[type(value)]: value})) for key, value in values.items()]
