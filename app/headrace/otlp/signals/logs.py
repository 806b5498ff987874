"""Log records: joined with the spans that they name."""

from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

from headrace.otlp import weight
from headrace.otlp.codec import Encoding
from headrace.otlp.form import LOG_RECORDS, Form
from headrace.otlp.signals.signal import Decoded, decoded
from headrace.otlp.weight import Charge


class Logs:
    """See `Signal`. What may be stored of a request, `headrace.processor` says."""

    name = "logs"
    service = "opentelemetry.proto.collector.logs.v1.LogsService"
    form: Form = LOG_RECORDS
    request: type[Message] = ExportLogsServiceRequest
    response: type[Message] = ExportLogsServiceResponse
    summary = "Join log records with the spans that they name."
    strict = False

    def decode(self, body: bytes, encoding: Encoding, charge: Charge = weight.nothing) -> Decoded:
        """See `Signal`."""
        return decoded(self, body, encoding, charge)

    def answer(self, rejected: int, said: str) -> ExportLogsServiceResponse:
        """See `Signal`."""
        if not said:
            return ExportLogsServiceResponse()
        partial = ExportLogsPartialSuccess(rejected_log_records=rejected, error_message=said)
        return ExportLogsServiceResponse(partial_success=partial)
