"""Real exports of instrumentations that put messages into log records: spans in `parity/exports`, log records in its `logs`."""

from hashlib import sha256
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from headrace.otlp import codec
from headrace.otlp.codec import Encoding
from headrace.otlp.signals import LOGS, TRACES

EXPORTS = Path(__file__).parent / "parity" / "exports"
NAMES = ("genai_events_in_logs", "genai_inference_details_in_logs", "traceloop_events_in_logs")


def load(name: str, salt: str = "") -> tuple[ExportTraceServiceRequest, ExportLogsServiceRequest]:
    """An export's spans and log records, with a trace id of its own for each `salt`."""
    spans, _ = codec.decode((EXPORTS / f"{name}.json").read_bytes(), Encoding.JSON, form=TRACES.form)
    logs, _ = codec.decode((EXPORTS / "logs" / f"{name}.json").read_bytes(), Encoding.JSON, form=LOGS.form)
    for form, message in ((TRACES.form, spans), (LOGS.form, logs)):
        for place in form.places(message):
            record: Any = place.record
            record.trace_id = sha256(f"{name} {salt}".encode() + record.trace_id).digest()[:16]
    return spans, logs
