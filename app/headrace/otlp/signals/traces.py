"""Spans: stored."""

from google.protobuf.message import Message
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from headrace.otlp import codec, weight
from headrace.otlp.codec import Encoding
from headrace.otlp.notes import Notes
from headrace.otlp.signals.signal import Decoded
from headrace.otlp.spans import count_spans
from headrace.otlp.weight import Charge


class Traces:
    """See `Signal`. What may be stored of a request, `headrace.processor` says."""

    name = "traces"
    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    request: type[Message] = ExportTraceServiceRequest
    response: type[Message] = ExportTraceServiceResponse
    summary = "Store spans as MLflow traces."
    stored = True

    def decode(self, body: bytes, encoding: Encoding, charge: Charge = weight.nothing) -> Decoded:
        """See `Signal`."""
        notes = Notes()
        message, unparsed = codec.decode(body, encoding, charge, notes)
        as_sent = encoding is Encoding.PROTOBUF and not unparsed and not notes.repaired
        return Decoded(message, body if as_sent else None, count_spans(message), unparsed, notes)

    def answer(self, rejected: int, said: str) -> ExportTraceServiceResponse:
        """See `Signal`."""
        if not said:
            return ExportTraceServiceResponse()
        partial = ExportTracePartialSuccess(rejected_spans=rejected, error_message=said)
        return ExportTraceServiceResponse(partial_success=partial)
