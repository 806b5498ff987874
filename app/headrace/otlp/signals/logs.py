"""Log records: counted and refused in words."""

from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

from headrace.otlp import weight
from headrace.otlp.codec import Encoding
from headrace.otlp.json_encoding import load_object
from headrace.otlp.parts import Parts
from headrace.otlp.signals.counting import count_protobuf, objects, refused
from headrace.otlp.signals.signal import Refused
from headrace.otlp.weight import Charge

_LOG_RECORDS = Parts({"resource_logs": 1}, {"scope_logs": 2}, {"log_records": 2})


class Logs:
    """See `Signal`."""

    name = "logs"
    service = "opentelemetry.proto.collector.logs.v1.LogsService"
    request: type[Message] = ExportLogsServiceRequest
    response: type[Message] = ExportLogsServiceResponse
    summary = "Refuse logs in words."
    stored = False

    def decode(self, body: bytes, encoding: Encoding, charge: Charge = weight.nothing) -> Refused:
        """See `Signal`."""
        if encoding is Encoding.JSON:
            count = len(objects(load_object(body, charge), "resourceLogs", "scopeLogs", "logRecords"))
        else:
            count = count_protobuf(body, _LOG_RECORDS, self.request, charge)
        return refused(self.name, count, "log records")

    def answer(self, rejected: int, said: str) -> ExportLogsServiceResponse:
        """See `Signal`."""
        if not said:
            return ExportLogsServiceResponse()
        partial = ExportLogsPartialSuccess(rejected_log_records=rejected, error_message=said)
        return ExportLogsServiceResponse(partial_success=partial)
