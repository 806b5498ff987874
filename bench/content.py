"""What the spans of the shapes carry: a trace of a shop (one service, or three), with or without calls of a model."""

import json
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from bench.agent import agent
from bench.shapes import Shape
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

_LETTERS = "eeeetttaaaooiinnsshhrrddllu      "  # text as compressible as English, more or less
_SERVER, _CLIENT = Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT


class Sent(NamedTuple):
    """A span, and the service that sends it."""

    service: str
    span: Span


def trace(shape: Shape, rng: random.Random, trace_id: bytes, base: int) -> list[Sent]:
    """A tree, children before parents, as SDKs end them; the root is the last. `base`: when it ends at the latest, in ns."""
    if shape.work == "agent":
        return _agent(rng, trace_id, base)
    ids = [rng.randbytes(8) for _ in range(shape.spans)]
    sent = []
    for index, span_id in enumerate(ids):
        kind, name, attributes = _work(shape, rng, index)
        parent = ids[(index - 1) // 3] if index else b""
        end = base - 1_000_000 * index - rng.randrange(1_000_000)
        start = end - rng.randrange(1_000_000, 2_000_000_000)
        span = Span(trace_id=trace_id, span_id=span_id, parent_span_id=parent, name=name, kind=kind, flags=1)
        span.start_time_unix_nano, span.end_time_unix_nano, span.status.code = start, end, Status.STATUS_CODE_OK
        span.attributes.extend(attributes_of(attributes))
        sent.append(Sent(_service(shape, index), span))
    return sent[::-1]


def _service(shape: Shape, index: int) -> str:
    """Of the three: `orders` has the root and calls the others, each of which has three spans of its own."""
    return "orders" if shape.work != "services" or index < 4 else "payment" if index < 7 else "stock"


def _work(shape: Shape, rng: random.Random, index: int) -> tuple[Span.SpanKind.ValueType, str, dict[str, Any]]:
    if shape.work == "shop-llm" and index % 2:
        return _CLIENT, "chat gpt-4o-mini", _llm(rng)
    if index == 0 or index % 5 == 0:
        return _SERVER, "POST /api/orders/{id}", _http(rng)
    return _CLIENT, "SELECT shop.orders", _database(rng)


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


def _agent(rng: random.Random, trace_id: bytes, base: int) -> list[Sent]:
    """The spans of `bench/agent.py` in the order of their ends; two seconds a turn."""
    planned = agent(rng)
    ids = [rng.randbytes(8) for _ in planned]
    sent = []
    for index, each in enumerate(planned):
        parent = b"" if each.parent is None else ids[each.parent]
        end = base - (len(planned) - 1 - index) * 700_000_000 - rng.randrange(1_000_000)
        start = base - 30_000_000_000 if each.parent is None else end - rng.randrange(100_000_000, 700_000_000)
        kind = Span.SPAN_KIND_INTERNAL if each.parent is None else _CLIENT
        span = Span(trace_id=trace_id, span_id=ids[index], parent_span_id=parent, name=each.name, kind=kind, flags=1)
        span.start_time_unix_nano, span.end_time_unix_nano, span.status.code = start, end, Status.STATUS_CODE_OK
        span.attributes.extend(attributes_of(each.attributes))
        sent.append(Sent("research-agent", span))
    return sent


def attributes_of(values: dict[str, Any]) -> list[KeyValue]:
    """OTLP's form of attributes that are texts, numbers, or lists of texts."""
    return [KeyValue(key=key, value=_value(value)) for key, value in values.items()]


def _value(value: str | float | Sequence[str]) -> AnyValue:
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue(array_value=ArrayValue(values=[_value(each) for each in value]))
