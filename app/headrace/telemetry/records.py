"""Counts the records of each signal on their road: received, accepted, rejected, repaired, written, dead-lettered.

Spans have metrics of their own (`metrics.py`). Log records and data points share metrics with a label `signal`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import Counter

from headrace.telemetry import metrics as m
from headrace.telemetry.families import LABELS, counter
from headrace.telemetry.metrics import RECORD_SIGNALS

REJECTED: Mapping[str, Sequence[str]] = {
    "metrics": (
        *("malformed_record", "too_large_record", "no_run", "computed_by_mlflow", "no_value", "too_many_points"),
        *("unknown_run", "no_experiment", "too_many_experiments", "forbidden_experiment"),
    ),
    "logs": (
        *(
            "malformed_record",
            "unknown_field",
            "too_large_record",
            "no_experiment",
            "too_many_experiments",
            "forbidden_experiment",
        ),
        *("no_span", "below_severity", "not_joined", "too_many_rows"),
    ),
}
"""Each signal's reasons for which a record is rejected."""
_REPAIRED = (
    *("invalid_bytes_replaced", "surrogate_replaced", "time_beyond_otlp"),
    *("id_rewritten", "old_name_read", "go_value_read", "json_value_read", "deep_value_as_text"),
)
REPAIRED: Mapping[str, Sequence[str]] = {
    "metrics": (
        *(*_REPAIRED, "deleted_experiment", "nul_replaced", "metric_name_cut"),
        *("no_recorded_value", "delta_not_finite", "point_time_missing"),
    ),
    "logs": (*_REPAIRED, "deleted_experiment"),
}
"""Each signal's rules by which a record is changed, or its sender warned."""


def _of_signals(name: str, meaning: str, label: str, values: Mapping[str, Sequence[str]]) -> Counter:
    """A counter by signal and another label, which starts at 0 for each signal's own values."""
    made = Counter(name, meaning, ["signal", label])
    LABELS[name] = {"signal": RECORD_SIGNALS, label: sorted({value for of in values.values() for value in of})}
    for signal, own in values.items():
        for value in own:
            made.labels(signal, value)
    return made


RECORDS_RECEIVED = counter(
    "headrace_records_received", "Log records and data points in requests that could be decoded.", signal=RECORD_SIGNALS
)
RECORDS_ACCEPTED = counter(
    "headrace_records_accepted", "Log records and data points answered with success: they are on disk.", signal=RECORD_SIGNALS
)
RECORDS_WRITTEN = counter("headrace_records_written", "Log records and data points written to Postgres.", signal=RECORD_SIGNALS)
RECORDS_DEAD_LETTERED = counter(
    "headrace_records_dead_lettered",
    "Log records and data points that could not be written, and were kept in `headrace.dead_letter`.",
    signal=RECORD_SIGNALS,
)
RECORDS_REJECTED = _of_signals(
    "headrace_records_rejected", "Log records and data points rejected; their client was told.", "reason", REJECTED
)
RECORDS_REPAIRED = _of_signals(
    "headrace_records_repaired", "Changes that made a log record or data point storable, by rule.", "rule", REPAIRED
)


@dataclass(frozen=True, slots=True)
class RecordCounters:
    """The counters of one signal's records."""

    received: Counter
    accepted: Counter
    written: Counter
    dead_lettered: Counter
    rejected: Callable[[str], Counter]
    """The counter of a reason."""
    repaired: Callable[[str], Counter]
    """The counter of a rule."""


def _labelled(signal: str) -> RecordCounters:
    return RecordCounters(
        RECORDS_RECEIVED.labels(signal),
        RECORDS_ACCEPTED.labels(signal),
        RECORDS_WRITTEN.labels(signal),
        RECORDS_DEAD_LETTERED.labels(signal),
        lambda reason: RECORDS_REJECTED.labels(signal, reason),
        lambda rule: RECORDS_REPAIRED.labels(signal, rule),
    )


COUNTERS = {
    "traces": RecordCounters(
        m.SPANS_RECEIVED,
        m.SPANS_ACCEPTED,
        m.SPANS_WRITTEN,
        m.SPANS_DEAD_LETTERED,
        m.SPANS_REJECTED.labels,
        m.SPANS_REPAIRED.labels,
    )
} | {signal: _labelled(signal) for signal in RECORD_SIGNALS}
"""The name of a signal → the counters of its records."""
