"""Requests of all kinds for the tests of processors: impossible spans, scopes without any, heavy resources, many of each."""

from functools import cache
from random import Random

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span
from thinned import EACH

import otlp

_COUNT = 100
_TRACE_IDS = (b"a" * 16, b"b" * 16, b"c" * 16, b"d" * 16)
_SPAN_IDS = (b"1" * 8, b"2" * 8)
_BAD_IDS = (b"", bytes(16), bytes(8), b"short", b"x" * 24)
_TIMES = (0, otlp.START, otlp.START, 2**63 - 1)
_BAD_TIMES = (2**63, 2**64 - 1)
_EXPERIMENTS = ("shop", "shop", "forbidden", "unknown", "too many")


@cache
def messages() -> tuple[ExportTraceServiceRequest, ...]:
    """The same requests each time; their spans are called by their number. Fewer than half of the spans are impossible."""
    random = Random(1)
    made = [_message(random, odd=random.choice((0.0, 0.05, 0.3))) for _ in range(_COUNT // EACH)]
    return (ExportTraceServiceRequest(), *made)


def spans_of(message: ExportTraceServiceRequest) -> list[Span]:
    """All of its spans, in order."""
    return [span for resource in message.resource_spans for scope in resource.scope_spans for span in scope.spans]


def _message(random: Random, odd: float) -> ExportTraceServiceRequest:
    """`odd`: how likely each part is one that no exporter should send."""
    message = ExportTraceServiceRequest(resource_spans=[_resource_spans(random, odd) for _ in range(random.randint(1, 4))])
    for number, span in enumerate(spans_of(message)):
        span.name = str(number)
    return message


def _resource_spans(random: Random, odd: float) -> ResourceSpans:
    least = int(random.random() >= odd)
    return ResourceSpans(
        resource=_resource(random) if random.random() >= odd else None,
        scope_spans=[_scope_spans(random, odd) for _ in range(random.randint(least, 3))],
    )


def _resource(random: Random) -> Resource:
    size = random.choice((1, 10, 4000))
    pairs = {f"k{n}": "v" * size for n in range(random.randint(0, 12))}
    return Resource(attributes=otlp.attributes(pairs | {"mlflow.experiment.name": random.choice(_EXPERIMENTS)}))


def _scope_spans(random: Random, odd: float) -> ScopeSpans:
    least = int(random.random() >= odd)
    scope = InstrumentationScope(name="shop", version=random.choice(("", "1.0", "1" * 3000)))
    return ScopeSpans(scope=scope, spans=[_span(random, odd) for _ in range(random.randint(least, 4))])


def _span(random: Random, odd: float) -> Span:
    def one(good: tuple[bytes, ...]) -> bytes:
        return random.choice(good if random.random() >= odd else _BAD_IDS)

    tags = {f"mlflow.traceTag.{n}": "v" for n in range(random.randint(0, 8))}
    span_id = one(_SPAN_IDS)
    parent = span_id if random.random() < odd else one((b"", b"3" * 8))
    start, end = (random.choice(_TIMES if random.random() >= odd else _BAD_TIMES) for _ in range(2))
    return otlp.span("", one(_TRACE_IDS), span_id, parent, start, end, tags | {"password": "secret"})
