"""Requests as SDKs export them, serialized once; before each use the ids and times in them are overwritten."""

import os
import random
import re
import struct
import time
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import groupby

from bench.content import Sent, attributes_of, trace
from bench.shapes import Shape
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs, SeverityNumber
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

_ID_TAGS = {
    "traces": {16: [rb"\x0a\x10"], 8: [rb"\x12\x08", rb"\x22\x08"]},
    "logs": {16: [rb"\x4a\x10"], 8: [rb"\x52\x08"]},
}
"""Fields of Span, and the bytes in them: 1, trace id; 2 and 4, its own id and its parent's. Of LogRecord: 9 and 10."""
_LEAST, _SPANS = 4, 512
"""So many templates of a shape at least, and as many as have so many spans together."""
_TIME_TAGS = {"traces": [rb"\x39", rb"\x41"], "logs": [rb"\x09", rb"\x59"]}  # 7 and 8 of Span, 1 and 11 of LogRecord


class Template:
    """The requests of one group of traces, in the order in which they are sent. `fill()` gives a copy of them with ids that
    nobody had before, ending now.

    Ids are random, as real ones are: ids in sequence would make the indexes cheaper to maintain than they are in life.
    """

    def __init__(self, shape: Shape, rng: random.Random, *, logs_first: bool = False) -> None:
        base = time.time_ns()
        trace_ids = [rng.randbytes(16) for _ in range(shape.traces)]
        traces = [trace(shape, rng, trace_id, base) for trace_id in trace_ids]
        parts = list(_parts(shape, traces))
        spans = [each.span for sent in traces for each in sent]
        messages = [
            ("traces", len(sent), _request(sent), {time for _, span in sent for time in _times(span)}) for sent in parts
        ]
        if shape.logs:
            times = {span.end_time_unix_nano - 1 for span in spans}
            messages.insert(0 if logs_first else len(parts), ("logs", 0, _logs(traces), times))
        self.signals = [signal for signal, *_ in messages]
        self.spans = [count for _, count, *_ in messages]
        self._bodies = [bytearray(body) for _, _, body, _ in messages]
        roots_first = sorted(spans, key=lambda span: bool(span.parent_span_id))
        self._random, sources = _laid_out([*trace_ids, *(span.span_id for span in roots_first)])
        self._ids = list[tuple[int, int, int, int, int]]()  # bodies[n][a:b] = random[c:d]
        self._times = list[tuple[int, int, int]]()  # bodies[n][a : a + 8] = now + offset
        for number, (signal, _, body, times) in enumerate(messages):
            for size, tags in _ID_TAGS[signal].items():
                for at, id_ in _fields(body, tags, size):
                    if source := sources.get(id_):
                        self._ids.append((number, at, at + size, *source))
            own = {time.to_bytes(8, "little") for time in times}
            found = [(at, value) for at, value in _fields(body, _TIME_TAGS[signal], 8) if value in own]
            self._times += [(number, at, int.from_bytes(value, "little") - base) for at, value in found]
        extra = 2 * len(spans) * shape.logs
        if (len(self._ids), len(self._times)) != (3 * len(spans) - shape.traces + extra, 2 * len(spans) + extra):
            # Trace id, span id, two times and, but for the roots, parent id; the same without a parent for each log record.
            raise ValueError("an id or a time occurs by chance elsewhere in the body: take another seed")
        self.pins = shape.traces * (16 + 8)
        """Bytes that say which traces these are: their ids, then those of their roots."""

    def fill(self, pins: bytes = b"") -> list[bytes]:
        """The bodies of the group's requests; with `pins` for these traces, and else for new ones."""
        bodies, ids, now = self._bodies, pins + os.urandom(self._random - len(pins)), time.time_ns()
        for number, start, end, source, source_end in self._ids:
            bodies[number][start:end] = ids[source:source_end]
        for number, at, offset in self._times:
            struct.pack_into("<Q", bodies[number], at, now + offset)
        return [bytes(body) for body in bodies]


@cache
def templates(shape: Shape) -> list[Template]:
    """Templates with differing values, the same ones in every run; more of them where a group is small."""
    rng = random.Random(20)
    return [
        Template(shape, rng, logs_first=number % 2 == 1)
        for number in range(max(_LEAST, _SPANS // (shape.traces * shape.spans)))
    ]


def _laid_out(ids: Sequence[bytes]) -> tuple[int, dict[bytes, tuple[int, int]]]:
    """How many random bytes they need, and which of them each gets."""
    places, end = {}, 0
    for id_ in ids:
        places[id_] = end, end + len(id_)
        end += len(id_)
    return end, places


def _fields(body: bytes | bytearray, tags: Sequence[bytes], size: int) -> Iterator[tuple[int, bytes]]:
    """Where there may be a field with one of these tags, and its bytes; also what only looks like one."""
    for found in re.finditer(rb"(?s)(?=(?:%b)(.{%d}))" % (b"|".join(tags), size), body):
        yield found.start(1), found[1]


def _times(span: Span) -> tuple[int, int]:
    return span.start_time_unix_nano, span.end_time_unix_nano


def _parts(shape: Shape, traces: list[list[Sent]]) -> Iterator[list[Sent]]:
    """What each request of the group has, of all its traces: for a long trace the children, and the roots; for others as many
    spans as in each other request or one less, and no two services' unless the trace comes whole."""
    if shape.long:
        yield [each for sent in traces for each in sent[:-1]]
        yield [sent[-1] for sent in traces]
    else:
        for cut in _cuts(shape):
            yield [each for sent in traces for each in sent[cut]]


def _cuts(shape: Shape) -> list[slice]:
    if (shape.work, shape.parts) == ("services", 4):  # stock, payment, and orders in two
        return [slice(0, 3), slice(3, 6), slice(6, 8), slice(8, 10)]
    size = shape.spans // shape.parts
    return [slice(start, start + size) for start in range(0, shape.spans, size)]


def _request(sent: Sequence[Sent]) -> bytes:
    """Spans of one service stand together, as in a Collector's batch."""
    together = groupby(sorted(sent, key=lambda each: each.service != "orders"), key=lambda each: each.service)
    resource_spans = [_resource_spans(service, list(spans)) for service, spans in together]
    return ExportTraceServiceRequest(resource_spans=resource_spans).SerializeToString()


def _logs(traces: Sequence[Sequence[Sent]]) -> bytes:
    """A log record of each span, as logging frameworks write them."""
    records = [_log(span) for sent in traces for _, span in sent]
    scope_logs = [ScopeLogs(scope=InstrumentationScope(name="com.example.orders.OrderService"), log_records=records)]
    return ExportLogsServiceRequest(
        resource_logs=[ResourceLogs(resource=_resource("orders"), scope_logs=scope_logs)]
    ).SerializeToString()


def _log(span: Span) -> LogRecord:
    return LogRecord(
        time_unix_nano=span.end_time_unix_nano - 1,
        observed_time_unix_nano=span.end_time_unix_nano - 1,
        severity_number=SeverityNumber.SEVERITY_NUMBER_INFO,
        severity_text="INFO",
        body=AnyValue(string_value=f"{span.name} took {span.end_time_unix_nano - span.start_time_unix_nano} ns"),
        attributes=attributes_of({"thread.name": "http-nio-8080-exec-7", "code.function.name": "OrderService.handle"}),
        flags=1,
        trace_id=span.trace_id,
        span_id=span.span_id,
    )


def _resource_spans(service: str, sent: list[Sent]) -> ResourceSpans:
    scope = InstrumentationScope(name="io.opentelemetry.okhttp-3.0", version="2.10.0")
    scope_spans = ScopeSpans(scope=scope, spans=[span for _, span in sent])
    return ResourceSpans(resource=_resource(service), scope_spans=[scope_spans])


def _resource(service: str) -> Resource:
    resource = {
        "service.name": service, "service.namespace": "shop", "service.version": "2.14.1", "host.name": "node-7",
        "service.instance.id": f"{service}-6f7d9c-x2x9p", "deployment.environment.name": "production",
        "telemetry.sdk.name": "opentelemetry", "telemetry.sdk.language": "java", "telemetry.sdk.version": "1.44.1",
    }  # fmt: skip
    return Resource(attributes=attributes_of(resource))
