"""Request bodies as a fuzz target takes them: one byte that chooses what the headers say, then the body; and mutations of both.

Seeded: the same bodies in every run.
"""

import base64
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any, NamedTuple

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.metrics.v1 import metrics_pb2 as m

from fuzz import messages
from headrace.errors import HeadraceError
from headrace.otlp.codec import Encoding
from headrace.otlp.compression import inflate
from headrace.otlp.signals import LOGS, METRICS, TRACES, Signal
from headrace.otlp.zstd import zstd

MAX_BYTES = 64 * 1024
"""Of a body; what is larger is for test_bombs.py."""

_ID_KEYS = ("traceId", "spanId", "parentSpanId")
PROTOBUF, JSON = Encoding.PROTOBUF.value, Encoding.JSON.value


class Headers(NamedTuple):
    """What a request says beside its body."""

    content_encoding: str = ""
    content_type: str = PROTOBUF
    signal: Signal = TRACES

    @property
    def is_json(self) -> bool:
        return self.content_type != PROTOBUF


@dataclass(frozen=True)
class Target:
    """One encoding of the fuzz test. An input is `bytes([i]) + body`, with `headers[i % len(headers)]`."""

    name: str
    headers: tuple[Headers, ...]

    def split(self, data: bytes) -> tuple[Headers, bytes]:
        """An input → its headers and its body."""
        return self.headers[data[0] % len(self.headers) if data else 0], data[1:]

    def seeds(self, longest: int = MAX_BYTES) -> Iterator[bytes]:
        """Inputs as exporters send them, of bodies of up to so many bytes before they are compressed."""
        random = Random(self.name)
        for number, headers in enumerate(self.headers):
            for body in _bodies(headers.signal, headers.is_json):
                if len(body) <= longest:
                    yield bytes([number]) + _wrap(body, headers.content_encoding, random)

    def mutate(self, data: bytes, random: Random) -> bytes:
        """An input → another, seldom of other headers."""
        number = data[0] % len(self.headers) if data else 0
        body = data[1:]
        if random.random() < 0.03:
            number = random.randrange(256) % len(self.headers)
        headers = self.headers[number]
        try:
            plain = inflate(body, headers.content_encoding, MAX_BYTES)
        except HeadraceError:
            plain = None
        if plain is None or (headers.content_encoding and random.random() < 0.3):
            body = mutate_bytes(body, random)
        else:
            body = _wrap(_mutate_plain(plain, headers, random), headers.content_encoding, random)
        return bytes([number]) + body[:MAX_BYTES]


def _target(name: str, *encodings: str) -> Target:
    """Traces in protobuf and in JSON, and the other signals, in each of these content encodings."""
    headers = [Headers(encoding, type_) for encoding in encodings for type_ in (PROTOBUF, JSON)]
    others = [Headers(encodings[0], type_, signal) for signal in (METRICS, LOGS) for type_ in (PROTOBUF, JSON)]
    return Target(name, (*headers, *others))


TARGETS = {
    target.name: target
    for target in (
        Target("protobuf", (Headers(), Headers(signal=METRICS), Headers(signal=LOGS))),
        Target("json", (Headers("", JSON), Headers("", JSON, METRICS), Headers("", JSON, LOGS))),
        _target("gzip", "gzip"),
        _target("deflate", "deflate"),
        _target("zstd", "zstd"),
        _target("stacked", "gzip, gzip", "deflate, zstd", "gzip, identity, zstd, deflate"),
    )
}


@lru_cache
def _seeds(signal: Signal) -> Sequence[Message]:
    """Requests of a signal."""
    if signal is TRACES:
        return messages.seeds()
    if signal is LOGS:
        records = [LogRecord(time_unix_nano=1, body=AnyValue(string_value="hello"), trace_id=bytes(16)), LogRecord()]
        return [ExportLogsServiceRequest(resource_logs=[ResourceLogs(scope_logs=[ScopeLogs(log_records=records)])])]
    point = m.NumberDataPoint(as_int=1, time_unix_nano=2)
    kinds = [
        m.Metric(name="gauge", gauge=m.Gauge(data_points=[point])),
        m.Metric(name="sum", sum=m.Sum(data_points=[point, point])),
        m.Metric(name="h", histogram=m.Histogram(data_points=[m.HistogramDataPoint(bucket_counts=[1], explicit_bounds=[0.5])])),
        m.Metric(exponential_histogram=m.ExponentialHistogram(data_points=[m.ExponentialHistogramDataPoint(scale=1)])),
        m.Metric(summary=m.Summary(data_points=[m.SummaryDataPoint(count=3)])),
    ]
    return [ExportMetricsServiceRequest(resource_metrics=[m.ResourceMetrics(scope_metrics=[m.ScopeMetrics(metrics=kinds)])])]


@lru_cache
def _bodies(signal: Signal, is_json: bool) -> Sequence[bytes]:
    return [encode_json(message) if is_json else message.SerializeToString() for message in _seeds(signal)]


def encode_json(message: Message) -> bytes:
    """A message as OTLP/JSON: ids are hex."""
    data = json_format.MessageToDict(message, use_integers_for_enums=True)
    return json.dumps(_hex_ids(data)).encode()


def _hex_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: base64.b64decode(item).hex() if key in _ID_KEYS and isinstance(item, str) else _hex_ids(item)
            for key, item in value.items()
        }
    return [_hex_ids(item) for item in value] if isinstance(value, list) else value


def _mutate_plain(body: bytes, headers: Headers, random: Random) -> bytes:
    """By its structure, or byte by byte."""
    if random.random() < 0.75:
        try:
            if headers.is_json and random.random() < 0.7:
                return json.dumps(_mutate_json(json.loads(body), random), ensure_ascii=random.random() < 0.9).encode(
                    errors="surrogatepass"
                )
            message = headers.signal.request()
            if headers.is_json:
                json_format.Parse(body, message, ignore_unknown_fields=True)
            else:
                message.ParseFromString(body)
            messages.mutate(message, random)
            return encode_json(message) if headers.is_json else message.SerializeToString()
        except (DecodeError, json_format.Error, ValueError, RecursionError, OverflowError, TypeError):
            pass  # no structure left
    return mutate_bytes(body, random)


_JSON_VALUES: tuple[Any, ...] = (
    *(None, True, False, "", [], {}, [[]], [{}], {"": {}}, [None], ["x"], "0" * 32, "zz", "AAAAAAAAAAA="),
    *messages.INTS,
    *messages.FLOATS,
    *messages.TEXTS[:20],
    *("\ud800", "a\udc00b", "\udbff\ud800"),
    *({"low": 5, "high": 6}, {"low": -1, "high": 2**31, "unsigned": True}, {"low": "x", "high": []}, {"low": 1e300, "high": 1}),
    *("1e3", "1.0", " 1", "1_000", "٣", "-0", "0x10", "Infinity", "-Infinity", "NaN", "9" * 25),
)


def _mutate_json(root: Any, random: Random) -> Any:
    """One mutation of one node: another value, another key, twice, away, deeper."""
    holders = [node for node in _nodes(root) if node]
    if not holders:
        return random.choice(_JSON_VALUES)
    holder: Any = random.choice(holders)
    key: Any = random.choice(list(holder)) if isinstance(holder, dict) else random.randrange(len(holder))
    action = random.randrange(8)
    if action < 3:
        holder[key] = random.choice(_JSON_VALUES)
    elif action == 3:
        del holder[key]
    elif action == 4 and isinstance(holder, dict):
        name = random.choice((_snake_case(key), key.upper(), key + "\ud800", *_FIELDS))
        holder[name] = holder[key] if random.random() < 0.5 else holder.pop(key)
    elif action == 5:
        for _ in range(random.choice((1, 1, 3, 30, 120, 900))):
            holder[key] = [holder[key]] if random.random() < 0.5 else {random.choice(_FIELDS): holder[key]}
    elif action == 6:
        holder[key] = random.choice(holders) if random.random() < 0.1 else json.loads(json.dumps(random.choice(holders)))
        if _is_cyclic(holder):
            holder[key] = None
    elif isinstance(holder, list):
        holder.extend([holder[key]] * random.choice((1, 2, 50)))
    return root


def _nodes(root: Any) -> Iterator[Any]:
    pending = [root]
    while pending:
        node = pending.pop()
        if isinstance(node, dict | list):
            yield node
            pending.extend(node.values() if isinstance(node, dict) else node)


def _is_cyclic(node: Any) -> bool:
    try:
        json.dumps(node)
    except (ValueError, RecursionError):
        return True
    return False


def _snake_case(key: str) -> str:
    return re.sub(r"(?<=[a-z])([A-Z])", lambda found: f"_{found[1].lower()}", key)


_FIELDS = (
    *("resourceSpans", "resource_spans", "scopeSpans", "spans", "links", "events", "attributes", "traceId", "span_id", "kind"),
    *("stringValue", "intValue", "doubleValue", "boolValue", "bytesValue", "arrayValue", "kvlistValue", "values", "value"),
    *("startTimeUnixNano", "endTimeUnixNano", "flags", "status", "code", "key", "name", "resource", "scope", "@type", ""),
)
_SNIPPETS = (
    *(b"\x00", b"\xff" * 10, b"\x80" * 9 + b"\x01", b"\x0a\x00" * 50, b"\x0b", b"\x0c", b"\x7f\xff\xff\xff\x07"),
    *(b"NaN", b"1e999", b"-", b'"\\ud800"', b"[" * 300, b'{"a":' * 300, b"\xef\xbb\xbf", b"\\u0000", b"9" * 5000, b"//", b",,"),
)


def mutate_bytes(body: bytes, random: Random) -> bytes:
    """One mutation that knows nothing of structure."""
    data = bytearray(body)
    at = random.randrange(len(data) + 1)
    length = random.choice((1, 1, 2, 4, 8, 32, 256))
    action = random.randrange(7)
    if action == 0 and data:
        data[at % len(data)] ^= 1 << random.randrange(8)
    elif action == 1:
        data[at : at + length] = random.randbytes(length)
    elif action == 2:
        del data[at : at + length]
    elif action == 3:
        data[at:at] = random.choice(_SNIPPETS)
    elif action == 4:
        start = random.randrange(len(data) + 1)
        data[at:at] = data[start : start + length] * random.choice((1, 1, 2, 20))
    elif action == 5:
        del data[at:]
    else:
        data[at : at + length] = random.choice(_SNIPPETS)
    return bytes(data)


def _wrap(body: bytes, content_encoding: str, random: Random) -> bytes:
    """As Content-Encoding says, in one of the ways in which that can be done."""
    for name in content_encoding.split(", "):
        body = random.choice(_COMPRESSORS[name])(body)
    return body


def _raw_deflate(body: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush()


def _halves(compress: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """In two members."""
    return lambda body: compress(body[: len(body) // 2]) + compress(body[len(body) // 2 :])


_SKIPPED_FRAME = b"\x50\x2a\x4d\x18\x04\x00\x00\x00skip"
_COMPRESSORS: dict[str, Sequence[Callable[[bytes], bytes]]] = {
    "": (bytes,),
    "identity": (bytes,),
    "gzip": (lambda body: gzip.compress(body, 1), lambda body: gzip.compress(body, 0), _halves(gzip.compress)),
    "deflate": (zlib.compress, _raw_deflate, lambda body: zlib.compress(body, 0), _halves(zlib.compress)),
    "zstd": (zstd.compress, _halves(zstd.compress), lambda body: _SKIPPED_FRAME + zstd.compress(body, 1)),
}
