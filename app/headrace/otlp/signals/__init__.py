"""OTLP's signals. SDKs that are given only `OTEL_EXPORTER_OTLP_ENDPOINT` send all three.

Headrace stores spans, log records that name their span, and data points of a run.
"""

from headrace.otlp.signals.logs import Logs
from headrace.otlp.signals.metrics import Metrics
from headrace.otlp.signals.signal import Decoded, Signal
from headrace.otlp.signals.traces import Traces

TRACES: Signal = Traces()
METRICS: Signal = Metrics()
LOGS: Signal = Logs()
SIGNALS: tuple[Signal, ...] = (TRACES, METRICS, LOGS)
"""Whatever has a path and a service."""

__all__ = ["LOGS", "METRICS", "SIGNALS", "TRACES", "Decoded", "Signal"]
