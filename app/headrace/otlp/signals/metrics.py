"""Metric points: counted and refused in words."""

from google.protobuf.message import Message
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from headrace.otlp import weight
from headrace.otlp.codec import Encoding
from headrace.otlp.json_encoding import load_object
from headrace.otlp.parts import Parts
from headrace.otlp.signals.counting import count_protobuf, list_of, object_of, objects, refused
from headrace.otlp.signals.signal import Refused
from headrace.otlp.weight import Charge

_KINDS = {"gauge": 5, "sum": 7, "histogram": 9, "exponential_histogram": 10, "summary": 11}
_DATA_POINTS = Parts({"resource_metrics": 1}, {"scope_metrics": 2}, {"metrics": 2}, _KINDS, {"data_points": 1})
_KINDS_JSON = ("gauge", "sum", "histogram", "exponentialHistogram", "summary")


class Metrics:
    """See `Signal`."""

    name = "metrics"
    service = "opentelemetry.proto.collector.metrics.v1.MetricsService"
    request: type[Message] = ExportMetricsServiceRequest
    response: type[Message] = ExportMetricsServiceResponse
    summary = "Refuse metrics in words."
    stored = False

    def decode(self, body: bytes, encoding: Encoding, charge: Charge = weight.nothing) -> Refused:
        """See `Signal`."""
        if encoding is Encoding.JSON:
            metrics = objects(load_object(body, charge), "resourceMetrics", "scopeMetrics", "metrics")
            count = sum(len(list_of(object_of(metric.get(kind)), "dataPoints")) for metric in metrics for kind in _KINDS_JSON)
        else:
            count = count_protobuf(body, _DATA_POINTS, self.request, charge)
        return refused(self.name, count, "data points")

    def answer(self, rejected: int, said: str) -> ExportMetricsServiceResponse:
        """See `Signal`."""
        if not said:
            return ExportMetricsServiceResponse()
        partial = ExportMetricsPartialSuccess(rejected_data_points=rejected, error_message=said)
        return ExportMetricsServiceResponse(partial_success=partial)
