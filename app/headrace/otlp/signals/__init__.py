"""OTLP's signals. SDKs that are given only `OTEL_EXPORTER_OTLP_ENDPOINT` send all three.

Headrace stores traces; the others are counted and refused in words, with the answer after which no client sends them
again.
"""

from headrace.otlp.signals.logs import Logs
from headrace.otlp.signals.metrics import Metrics
from headrace.otlp.signals.signal import Decoded, Refused, Signal
from headrace.otlp.signals.traces import Traces

TRACES: Signal = Traces()
METRICS: Signal = Metrics()
LOGS: Signal = Logs()
SIGNALS: tuple[Signal, ...] = (TRACES, METRICS, LOGS)
"""Whatever has a path and a service."""

__all__ = ["LOGS", "METRICS", "SIGNALS", "TRACES", "Decoded", "Refused", "Signal"]
