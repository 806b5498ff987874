"""How many bytes a delivery becomes when it is written, told before anything of it is built. Pure; no I/O.

A rather high estimate. What is sent once may be stored many times: what each span of a scope is given, a resource's tags for
each trace, a resource for each of its scopes. And what is short on the wire may be long in JSON: a link of 2 bytes takes 110.
"""

from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

from headrace.envelope import Delivery

MOST_OF_A_BYTE = 64
"""What a byte on the wire can become: more than an empty link does."""
_ESCAPED = 10
"""What a byte of text can become in JSON within JSON, `\\\\u0001`, together with the span in base64."""
_SPAN, _EVENT, _LINK = 1000, 60, 120
"""What a row and its content need beside what was sent; the JSON of an empty event, and of an empty link."""
_MAX_SHARED = 3 * 1024 * 7
"""Of a resource's service, session and user."""
_MAX_TAG = 4 * (8000 + 250)
"""Bytes of a tag's value and key, as MLflow cuts them."""
_LARGE = 64 * 1024
"""Spans of so many bytes are looked at closely: text is seldom all control characters."""
_CONTROLS = [chr(code) for code in range(32)]


def weigh(delivery: Delivery, limit: int) -> int:
    """The bytes of all rows of the delivery. The closer to the truth the more it is over `limit`; never too low by far."""
    quick = delivery.request.ByteSize() * MOST_OF_A_BYTE + sum(map(_copies, delivery.request.resource_spans))
    if quick <= limit:
        return quick
    return sum(map(_closely, delivery.request.resource_spans))


def _copies(resource_spans: ResourceSpans) -> int:
    """What is stored many times, as if each span were a trace of its own."""
    spans = sum(len(scope.spans) for scope in resource_spans.scope_spans)
    return _shared(resource_spans, spans)


def _shared(resource_spans: ResourceSpans, traces: int) -> int:
    size = resource_spans.resource.ByteSize()
    total = traces * min(size, len(resource_spans.resource.attributes) * _MAX_TAG)
    service = min(size * 7, _MAX_SHARED)
    for scope in resource_spans.scope_spans:
        added = service + min((len(scope.scope.name) + len(scope.scope.version)) * 7, _MAX_SHARED)
        total += size + scope.scope.ByteSize() + len(scope.spans) * added
    return total


def _closely(resource_spans: ResourceSpans) -> int:
    spans = [span for scope in resource_spans.scope_spans for span in scope.spans]
    return _shared(resource_spans, len({span.trace_id for span in spans})) + sum(map(_span, spans))


def _span(span: Span) -> int:
    size = span.ByteSize()
    parts = _SPAN + len(span.events) * _EVENT + len(span.links) * _LINK
    if size < _LARGE:
        return parts + size * _ESCAPED
    pairs = [*span.attributes, *(pair for event in span.events for pair in event.attributes)]
    texts = sum(len(pair.key) + _value(pair.value) for pair in pairs)
    rest = size - sum(pair.ByteSize() for pair in pairs)
    return parts + size * 4 // 3 + texts + rest * _ESCAPED


def _value(value: AnyValue) -> int:
    """The JSON of the JSON of a value."""
    kind = value.WhichOneof("value")
    if kind == "string_value":
        text = value.string_value
        marks = text.count('"') + text.count("\\")
        return value.ByteSize() + 3 * marks + 6 * sum(map(text.count, _CONTROLS))
    if kind == "array_value":
        return sum(2 + _value(item) for item in value.array_value.values)
    if kind == "kvlist_value":
        return sum(8 + len(pair.key) * 7 + _value(pair.value) for pair in value.kvlist_value.values)
    return 8 + value.ByteSize() * _ESCAPED
