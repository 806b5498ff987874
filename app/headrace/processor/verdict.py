"""Counts what becomes of a request's records before they are queued, and says it in words."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from headrace.envelope.incoming import AnyRequest
from headrace.otlp.form import SPANS
from headrace.otlp.signals import LOGS, METRICS, TRACES, Signal

REASONS = {
    "malformed_span": "a span could not be parsed",
    "unknown_field": "a span stands in a field that OTLP does not have",
    "invalid_trace_id": "trace_id must be 16 bytes, not all zero",
    "invalid_span_id": "span_id must be 8 bytes, not all zero",
    "invalid_parent_span_id": "parent_span_id must be empty or 8 bytes",
    "time_out_of_range": "start_time_unix_nano must fit a signed 64-bit integer: no start after the year 2262 can be stored",
    "too_many_rows": "the request would become more rows than HEADRACE_MAX_ROWS_PER_REQUEST: send smaller batches",
    "too_large_record": "the span is larger than a record of the Kafka topic may be: send smaller attributes, or raise "
    "max.message.bytes of the topic and its brokers",
    "no_experiment": "no experiment could be told for the span's resource",
    "too_many_experiments": "one request may name HEADRACE_MAX_EXPERIMENTS_PER_REQUEST experiments, and create "
    "HEADRACE_MAX_NEW_EXPERIMENTS_PER_REQUEST: send fewer services a request, or create the experiments in MLflow first",
    "forbidden_experiment": "the API key may not write to the experiment of the span's resource",
}
"""Every reason for which a span is rejected → what its sender is told."""

LOG_REASONS = {
    "malformed_record": "a log record could not be parsed",
    "unknown_field": "a log record stands in a field that OTLP does not have",
    "too_large_record": "the log record is larger than a record of the Kafka topic may be: send smaller ones, or raise "
    "max.message.bytes of the topic and its brokers",
    "no_experiment": "no experiment could be told for the log record's resource",
    "too_many_experiments": REASONS["too_many_experiments"],
    "forbidden_experiment": "the API key may not write to the experiment of the log record's resource",
    "no_span": "a log record has a place in MLflow only as a part of its span: it must have a trace_id and a span_id. If those "
    "of a service have none, set OTEL_LOGS_EXPORTER=none there",
    "below_severity": "HEADRACE_LOGS_SEVERITY leaves out records that are less severe",
    "not_joined": "HEADRACE_ENRICH=false keeps MLflow's own rows, which have no place for log records: set "
    "OTEL_LOGS_EXPORTER=none in the service",
    "too_many_rows": REASONS["too_many_rows"],
}
"""The same for log records."""

METRIC_REASONS = {
    "malformed_record": "a data point could not be parsed",
    "too_large_record": "the data point is larger than a record of the Kafka topic may be: send smaller ones, or raise "
    "max.message.bytes of the topic and its brokers",
    "no_run": "its resource names no MLflow run: set the header x-mlflow-run-id, or the resource attribute mlflow.run_id, or "
    "mlflow.run_name and an experiment; or stop sending metrics with OTEL_METRICS_EXPORTER=none",
    "computed_by_mlflow": "MLflow computes this metric itself from the traces, and nothing else needs it: "
    "OTEL_METRICS_EXPORTER=none stops it",
    "no_value": "a data point has no value",
    "too_many_points": "the request would become more values than HEADRACE_MAX_POINTS_PER_REQUEST: send smaller batches",
    "unknown_run": "MLflow has no such run, or it is deleted",
    "no_experiment": "no experiment could be told for the run of the data point's resource",
    "too_many_experiments": REASONS["too_many_experiments"],
    "forbidden_experiment": "the API key may not write to the run of the data point's resource",
}
"""The same for data points."""

REASONS_OF: Mapping[Signal, Mapping[str, str]] = {TRACES: REASONS, LOGS: LOG_REASONS, METRICS: METRIC_REASONS}

REPAIRS = {
    "self_parent": "a span that named itself as its parent is stored as a root",
    "invalid_bytes_replaced": "bytes of a text that are no UTF-8 became U+FFFD",
    "surrogate_replaced": "half a surrogate pair became U+FFFD",
    "time_beyond_otlp": "a time after the year 2554 became the last one that OTLP has",
    "id_rewritten": "an id in the form of a UUID, or with 0x, was read as hex",
    "old_name_read": "a span under instrumentationLibrarySpans, scopeSpans' old name, was read",
    "go_value_read": "an attribute's value in the form of Go's encoding/json was read",
    "deep_value_as_text": "a value in protobuf that lies deeper than protobuf reads became its JSON as text",
    "json_value_read": "a value in JSON that is not of the type that OTLP wants was read as what it says",
}
"""The repairs that are made before a request is queued. They are counted for the operator; the client is not told."""

WARNINGS = {
    "deleted_experiment": "their experiment is deleted in MLflow, where nobody sees them: restore it, or name another",
    "tags_over_limit": "only some of the resource's attributes became tags of the trace: they are more than "
    "HEADRACE_MAX_TAGS_PER_TRACE, or make more rows than HEADRACE_MAX_ROWS_PER_REQUEST",
}
"""The repairs that the client is told of. The records are accepted."""


@dataclass(slots=True)
class Verdict:
    """How many records came, and what became of those that could not stay as they were."""

    received: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    repaired: Counter[str] = field(default_factory=Counter)
    warned: Counter[str] = field(default_factory=Counter)
    details: dict[str, str] = field(default_factory=dict)
    """Reason → a detail of the first record that was rejected for it. Empty or missing if there is no detail."""
    signal: Signal = TRACES

    @classmethod
    def of(cls, request: AnyRequest) -> "Verdict":
        """The verdict at the start: records that could not be parsed are rejected, and all others are accepted so far."""
        notes, signal = request.notes, request.signal
        came = signal.form.count(request.message) + request.unparsed + notes.unread
        malformed = "malformed_span" if signal.form is SPANS else "malformed_record"
        verdict = cls(came, repaired=+notes.repaired, signal=signal)
        verdict.details = {malformed: notes.why, "unknown_field": notes.where}
        if request.unparsed:
            verdict.reject(malformed, request.unparsed)
        if notes.unread:
            verdict.reject("unknown_field", notes.unread)
        return verdict

    @property
    def accepted(self) -> int:
        """The number of records that are still in the request."""
        return self.received - self.rejected.total()

    def reject(self, reason: str, count: int = 1) -> None:
        """Counts `count` records as rejected for a reason of `REASONS_OF`."""
        self.rejected[reason] += count

    def repair(self, rule: str) -> None:
        """Counts one repair by a rule of `REPAIRS`."""
        self.repaired[rule] += 1

    def warn(self, rule: str, count: int) -> None:
        """Counts `count` records that are accepted, but of which not all is stored, by a rule of `WARNINGS`."""
        self.warned[rule] += count

    def explain(self) -> str:
        """English for `partial_success.error_message`: a sentence on what was rejected, and one on what was not stored."""
        sentences = []
        reasons, records = REASONS_OF[self.signal], f"{self.signal.form.noun}s"
        if self.rejected:
            parts = [f"{reasons[reason]} ({self._detail(reason)}{count})" for reason, count in sorted(self.rejected.items())]
            sentences.append(f"{self.rejected.total()} of {self.received} {records} rejected: {'; '.join(parts)}.")
        for rule, count in sorted(self.warned.items()):
            sentences.append(f"{count} {records} accepted, but {WARNINGS[rule]}.")
        return " ".join(sentences)

    def _detail(self, reason: str) -> str:
        detail = self.details.get(reason)
        return f"{detail}; " if detail else ""
