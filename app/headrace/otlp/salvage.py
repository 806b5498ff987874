"""Saves what can be parsed of a broken protobuf request: mends texts that are no UTF-8, leaves out what is no span. No I/O.

Protobuf's parser takes a request whole or not at all: one text that is no UTF-8 would cost a thousand spans. So the spans are
first read as plain bytes, and then one by one. Only what is broken is looked at closely.
"""

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from headrace.otlp.notes import Notes
from headrace.otlp.parts import check_parts
from headrace.otlp.texts import RequestOfBytes, SpanOfBytes, mend_texts


def salvage(body: bytes, notes: Notes) -> tuple[ExportTraceServiceRequest, int]:
    """A body → the request without the spans that cannot be parsed, and their number.

    Texts that are no UTF-8 have U+FFFD in the place of what is wrong; `notes` says how many places.

    Raises:
        DecodeError: something else than spans is broken, too. BodyTooLarge: the rest has too many parts.
    """
    request = RequestOfBytes.FromString(body)
    left_out = 0
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            kept = [span for data in scope.spans if (span := _readable(data, notes)) is not None]
            left_out += len(scope.spans) - len(kept)
            scope.ClearField("spans")
            scope.spans.extend(kept)
    rest = request.SerializeToString()
    check_parts(rest)  # it could not count the parts of the broken body
    try:
        return ExportTraceServiceRequest.FromString(rest), left_out
    except DecodeError:  # a text of a resource or a scope
        mend_texts(request, notes)
        return ExportTraceServiceRequest.FromString(request.SerializeToString()), left_out


def _readable(data: bytes, notes: Notes) -> bytes | None:
    """The bytes of a span → bytes that can be parsed; None if there are none."""
    try:
        _check(data)
        return data
    except DecodeError:
        pass
    try:
        span = SpanOfBytes.FromString(data)
        mend_texts(span, mended := Notes())
        data = span.SerializeToString()
        _check(data)
    except DecodeError as error:
        notes.left_out(error)
        return None
    notes.repaired += mended.repaired
    return data


def _check(data: bytes) -> None:
    """Raises DecodeError unless these bytes are a span. It is parsed inside a request, because the levels above it count for
    the greatest depth."""
    request = RequestOfBytes()
    request.resource_spans.add().scope_spans.add().spans.append(data)
    alone = request.SerializeToString()
    check_parts(alone)
    ExportTraceServiceRequest.FromString(alone)
