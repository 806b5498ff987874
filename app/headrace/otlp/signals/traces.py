"""Spans: stored."""

from google.protobuf.message import Message
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from headrace.otlp import weight
from headrace.otlp.codec import Encoding
from headrace.otlp.form import SPANS, Form
from headrace.otlp.signals.signal import Decoded, decoded
from headrace.otlp.weight import Charge


class Traces:
    """See `Signal`. What may be stored of a request, `headrace.processor` says."""

    name = "traces"
    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    form: Form = SPANS
    request: type[Message] = ExportTraceServiceRequest
    response: type[Message] = ExportTraceServiceResponse
    summary = "Store spans as MLflow traces."
    strict = True

    def decode(self, body: bytes, encoding: Encoding, charge: Charge = weight.nothing) -> Decoded:
        """See `Signal`."""
        return decoded(self, body, encoding, charge)

    def answer(self, rejected: int, said: str) -> ExportTraceServiceResponse:
        """See `Signal`."""
        if not said:
            return ExportTraceServiceResponse()
        partial = ExportTracePartialSuccess(rejected_spans=rejected, error_message=said)
        return ExportTraceServiceResponse(partial_success=partial)
