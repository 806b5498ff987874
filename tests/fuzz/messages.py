"""Mutates protobuf messages by their structure: whatever comes out is well-formed on the wire, and odd in meaning."""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from random import Random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from headrace.mlflow.translate.genai import _READERS, _TRIGGERS
from headrace.mlflow.translate.tags import SESSION_AND_USER_KEYS

INTS = (0, 1, -1, 2, 127, 128, 2**31 - 1, 2**31, -(2**31), 2**32 - 1, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, 2**64 - 1)
FLOATS = (0.0, -0.0, 1.0, 0.1, -1.5, 5e-324, 1e300, 1e308, math.inf, -math.inf, math.nan, 2.0**63, 1e16)
TEXTS = (
    "",
    " ",
    "\x00",
    "a\x00b",
    "GET /cart",
    "{}",
    "[]",
    "[1, {",
    '"quoted"',
    '"\\ud800"',
    '{"a": "\\udfff"}',
    '{"a": NaN}',
    "null",
    "true",
    "0",
    "-1",
    "1e999",
    "9" * 30,
    "9" * 5000,
    "[" * 2000,
    '{"a":' * 500,
    '{"input_tokens": 1e400, "output_tokens": -3}',
    '{"input_tokens": 12345678901234567890, "total_tokens": true}',
    '{"total_cost": "Infinity", "input_cost": null}',
    '[{"role": "user", "content": null}]',
    '[{"role": 5, "parts": [{"type": "text"}]}, [], "x"]',
    '{"messages": [{"role": "user", "content": [{"type": "text", "text": {}}]}]}',
    '{"choices": [{"message": {"content": ["x"]}}]}',
    "Grüße, 世界 🌍 \u202e\u2028 e\u0301 \ufeff \uffff",
    "{service.name}",
    "0" * 32,
    "../../etc/passwd",
    "x" * 251,
    "🌍" * 4097,
    "mlflow.trace.spansLocation",
)
KEYS = (
    *sorted(_TRIGGERS),
    *sorted(_READERS),
    *sorted(SESSION_AND_USER_KEYS),
    "mlflow.spanInputs",
    "mlflow.spanOutputs",
    "mlflow.spanType",
    "mlflow.traceRequestId",
    "mlflow.chat.tokenUsage",
    "mlflow.llm.cost",
    "mlflow.llm.model",
    "mlflow.llm.provider",
    "mlflow.traceName",
    "mlflow.traceTag.a",
    "mlflow.traceTag.mlflow.traceName",
    "mlflow.traceTag.mlflow.trace.spansLocation",
    "mlflow.experiment.id",
    "mlflow.experiment.name",
    "gen_ai.prompt.0.content",
    "gen_ai.prompt.99999999999999999999.role",
    "gen_ai.completion.0.tool_calls.0.name",
    "lk.response.text",
    "service.name",
    "http.request.method",
    "http.route",
    "http.response.status_code",
    "db.operation.name",
    "db.query.summary",
    "exception.type",
    "span.kind",
    "",
    "a.b",
)
_FLOATING = (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT)
_RANGES = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_SINT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_SFIXED32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_ENUM: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_FIXED32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SINT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SFIXED64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.TYPE_FIXED64: (0, 2**64 - 1),
}
_MAX_MESSAGES = 400
"""Of a message's parts as many are looked at, so that a large one is mutated as quickly as a small one."""


def mutate(message: Message, random: Random) -> None:
    """One mutation, in place, of a part that is as likely an attribute as a resource."""
    by_type: dict[str, list[Message]] = {}
    for number, part in enumerate(parts_of(message)):
        by_type.setdefault(part.DESCRIPTOR.name, []).append(part)
        if number > _MAX_MESSAGES:
            break
    part = random.choice(random.choice(list(by_type.values())))
    if isinstance(part, AnyValue) or (isinstance(part, KeyValue) and random.random() < 0.7):
        _mutate_value(part, random)
        return
    field: Any = random.choice(part.DESCRIPTOR.fields)
    if field.is_repeated:
        _mutate_list(getattr(part, field.name), field, random)
    elif random.random() < 0.1:
        part.ClearField(field.name)
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        getattr(part, field.name).SetInParent()
    else:
        setattr(part, field.name, scalar(field, random))


def parts_of(message: Message) -> Iterator[Message]:
    """The message and all messages in it."""
    pending = [message]
    while pending:
        part = pending.pop()
        yield part
        for field, value in part.ListFields():
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                pending.extend(value if field.is_repeated else [value])


def _mutate_value(part: Any, random: Random) -> None:
    """Another key, another value, or the same one deeper down."""
    if isinstance(part, KeyValue):
        if random.random() < 0.5:
            part.key = random.choice(KEYS) if random.random() < 0.8 else text(random)
            return
        part = part.value
    kind = random.randrange(9)
    if kind < 3:
        part.string_value = text(random)
    elif kind == 3:
        part.int_value = random.choice([n for n in INTS if -(2**63) <= n < 2**63])
    elif kind == 4:
        part.double_value = random.choice(FLOATS)
    elif kind == 5:
        part.bytes_value = random.choice((b"", b"\xff\xfe", bytes(8), b"abc"))
    elif kind == 6:
        part.CopyFrom(random.choice((AnyValue(), AnyValue(array_value=ArrayValue()), AnyValue(kvlist_value=KeyValueList()))))
    else:
        for _ in range(random.choice((1, 1, 2, 5, 20, 40, 60))):
            inner = AnyValue.FromString(part.SerializePartialToString())
            as_list = AnyValue(array_value=ArrayValue(values=[inner] * random.choice((1, 1, 1, 2))))
            as_map = AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key=random.choice(KEYS), value=inner)]))
            part.CopyFrom(as_list if kind == 7 else as_map)
            if part.ByteSize() > 8000:
                break


def _mutate_list(items: Any, field: Any, random: Random) -> None:
    """Adds, doubles, removes, turns around."""
    is_message = field.type == FieldDescriptor.TYPE_MESSAGE
    action = random.randrange(5)
    if action == 0 or not items:
        if not is_message:
            items.append(scalar(field, random))
        elif field.message_type.name == "KeyValue":
            items.add(key=random.choice(KEYS), value=random.choice(_values()))
        elif field.message_type.name == "Span":
            items.append(random.choice(_spans()))
        else:
            items.add()
    elif action == 1:
        for _ in range(random.choice((1, 1, 1, 3, 30))):
            items.append(random.choice(items))
    elif action == 2:
        del items[random.randrange(len(items))]
    elif action == 3:
        items.reverse()
    else:
        del items[random.randrange(len(items)) :]


def scalar(field: Any, random: Random) -> Any:
    """A value of this field's type, from its borders or anywhere."""
    if field.type == FieldDescriptor.TYPE_STRING:
        return text(random)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return random.choice((b"", bytes(8), bytes(16), b"\x01", b"\x02" * 8, b"\x03" * 16, b"\x04" * 17, random.randbytes(8)))
    if field.type == FieldDescriptor.TYPE_BOOL:
        return random.random() < 0.5
    if field.type in _FLOATING:
        return random.choice(FLOATS)
    low, high = _RANGES[field.type]
    fitting = [n for n in INTS if low <= n <= high]
    return random.choice(fitting) if random.random() < 0.7 else random.randint(low, high)


def text(random: Random) -> str:
    """An odd text; sometimes a long one that cannot be compressed, which no index of Postgres takes whole."""
    if random.random() < 0.9:
        return random.choice(TEXTS)
    return "".join(map(chr, random.choices(_CHARACTERS, k=random.choice((10, 255, 1000)))))


_CHARACTERS = (*range(32, 0x300), *range(0x4E00, 0x5500), *range(0x1F300, 0x1F600))


@lru_cache
def seeds() -> Sequence[ExportTraceServiceRequest]:
    """The parity corpus' requests of up to 16 KiB: every shape of OTLP, every LLM dialect, and what MLflow breaks on."""
    from parity.corpus import corpus, mlflow_breaks

    requests = [exchange.request for scenario in (*corpus(), *mlflow_breaks()) for exchange in scenario.exchanges]
    return [request for request in requests if request.ByteSize() <= 16 * 1024]


@lru_cache
def _spans() -> list[Span]:
    """Some of their spans."""
    found = [
        span
        for request in seeds()
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    return [span for span in found if span.ByteSize() < 1000]


@lru_cache
def _values() -> list[AnyValue]:
    """Some of their attributes' values."""
    found = [pair.value for span in _spans() for pair in span.attributes]
    return [value for value in found if value.ByteSize() < 1000]
