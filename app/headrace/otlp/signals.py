"""Metrics and logs: SDKs that are given only `OTEL_EXPORTER_OTLP_ENDPOINT` send all three signals. Headrace stores traces; the
others are counted and refused in words, with the answer after which no client sends them again. Pure; no I/O.

Source: OTLP specification, "Partial Success"
(https://github.com/open-telemetry/opentelemetry-proto/blob/main/docs/specification.md#partial-success-1).
"""

import enum
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)

from headrace.errors import MalformedBody
from headrace.otlp import weight
from headrace.otlp.codec import Encoding
from headrace.otlp.json_encoding import load_object
from headrace.otlp.parts import Parts, check_small
from headrace.otlp.weight import Charge

_KINDS = {"gauge": 5, "sum": 7, "histogram": 9, "exponential_histogram": 10, "summary": 11}
_DATA_POINTS = Parts({"resource_metrics": 1}, {"scope_metrics": 2}, {"metrics": 2}, _KINDS, {"data_points": 1})
_LOG_RECORDS = Parts({"resource_logs": 1}, {"scope_logs": 2}, {"log_records": 2})
_POINTS_JSON = ("gauge", "sum", "histogram", "exponentialHistogram", "summary")


class Signal(enum.Enum):
    """The signals of OTLP that have a path and a service."""

    TRACES = "traces"
    METRICS = "metrics"
    LOGS = "logs"


def refuse_metrics(
    body: bytes, encoding: Encoding, charge: Charge = weight.nothing
) -> tuple[ExportMetricsServiceResponse, int]:
    """An `ExportMetricsServiceRequest` → the answer that says that none of it is stored, and the number of its data points.

    Raises:
        MalformedBody: the body is none. InFlightFull: by `charge`, which is told of the memory that counting takes.
    """
    if encoding is Encoding.JSON:
        metrics = _walk(load_object(body, charge), "resourceMetrics", "scopeMetrics", "metrics")
        count = sum(len(_list(_dict(metric.get(kind)), "dataPoints")) for metric in metrics for kind in _POINTS_JSON)
    else:
        count = _count(body, _DATA_POINTS, "ExportMetricsServiceRequest", charge)
    answer = ExportMetricsServiceResponse()
    if count:
        said = _explain("metrics", count, "data points", "OTEL_METRICS_EXPORTER")
        answer.partial_success.CopyFrom(ExportMetricsPartialSuccess(rejected_data_points=count, error_message=said))
    return answer, count


def refuse_logs(body: bytes, encoding: Encoding, charge: Charge = weight.nothing) -> tuple[ExportLogsServiceResponse, int]:
    """An `ExportLogsServiceRequest` → the answer that says that none of it is stored, and the number of its records.

    Raises:
        MalformedBody: the body is none. InFlightFull: by `charge`, which is told of the memory that counting takes.
    """
    if encoding is Encoding.JSON:
        count = len(_walk(load_object(body, charge), "resourceLogs", "scopeLogs", "logRecords"))
    else:
        count = _count(body, _LOG_RECORDS, "ExportLogsServiceRequest", charge)
    answer = ExportLogsServiceResponse()
    if count:
        said = _explain("logs", count, "log records", "OTEL_LOGS_EXPORTER")
        answer.partial_success.CopyFrom(ExportLogsPartialSuccess(rejected_log_records=count, error_message=said))
    return answer, count


def _explain(signal: str, count: int, what: str, setting: str) -> str:
    return (
        f"Headrace stores traces, not {signal}: {count} {what} were not stored. Set {setting}=none in the service, or point "
        f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT elsewhere."
    )


def _count(body: bytes, parts: Parts, name: str, charge: Charge) -> int:
    charge(weight.of_protobuf(body, check_small(body)))
    try:
        return sum(parts.count(body).values())
    except DecodeError as error:
        raise MalformedBody(f"The body is not a protobuf {name}: {error}.") from None


def _walk(data: dict[str, Any], *path: str) -> list[dict[str, Any]]:
    """All objects at the end of a path of lists."""
    found = [data]
    for key in path:
        found = [_dict(item) for parent in found for item in _list(parent, key)]
    return found


def _list(holder: dict[str, Any], key: str) -> list[Any]:
    value = holder.get(key) or []
    if not isinstance(value, list):
        raise MalformedBody(f"The body is not OTLP/JSON: {key} is no list.")
    return value


def _dict(value: Any) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise MalformedBody("The body is not OTLP/JSON: an object is missing where one belongs.")
    return value or {}
