"""Data points: stored as metrics of an MLflow run."""

from google.protobuf.message import Message
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from headrace.otlp import weight
from headrace.otlp.codec import Encoding
from headrace.otlp.form import DATA_POINTS, Form
from headrace.otlp.signals.signal import Decoded, decoded
from headrace.otlp.weight import Charge


class Metrics:
    """See `Signal`. What may be stored of a request, `headrace.processor` says."""

    name = "metrics"
    service = "opentelemetry.proto.collector.metrics.v1.MetricsService"
    form: Form = DATA_POINTS
    request: type[Message] = ExportMetricsServiceRequest
    response: type[Message] = ExportMetricsServiceResponse
    summary = "Store data points as metrics of an MLflow run."
    strict = False

    def decode(self, body: bytes, encoding: Encoding, charge: Charge = weight.nothing) -> Decoded:
        """See `Signal`."""
        return decoded(self, body, encoding, charge)

    def answer(self, rejected: int, said: str) -> ExportMetricsServiceResponse:
        """See `Signal`."""
        if not said:
            return ExportMetricsServiceResponse()
        partial = ExportMetricsPartialSuccess(rejected_data_points=rejected, error_message=said)
        return ExportMetricsServiceResponse(partial_success=partial)
