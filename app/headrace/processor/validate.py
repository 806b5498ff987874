"""Takes impossible spans out of a request, counted by reason; repairs what can be repaired. Pure; no I/O.

Sources: trace.proto of OTLP ("The ID is a 16-byte array. An ID with all zeroes OR of length other than 16 bytes is
considered invalid"), and the columns of MLflow's tables (times are signed 64-bit nanoseconds).
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

_NO_TRACE_ID = bytes(16)
_NO_SPAN_ID = bytes(8)
_MAX_INT64 = 2**63 - 1

REASONS = {
    "malformed_span": "a span could not be parsed",
    "invalid_trace_id": "trace_id must be 16 bytes, not all zero",
    "invalid_span_id": "span_id must be 8 bytes, not all zero",
    "invalid_parent_span_id": "parent_span_id must be empty or 8 bytes",
    "time_out_of_range": "start_time_unix_nano must fit a signed 64-bit integer",
    "too_many_rows": "the request would become more rows than HEADRACE_MAX_ROWS_PER_REQUEST: send smaller batches",
    "no_experiment": "no experiment could be told for the span's resource",
    "too_many_experiments": "one request may name HEADRACE_MAX_EXPERIMENTS_PER_REQUEST experiments, and create "
    "HEADRACE_MAX_NEW_EXPERIMENTS_PER_REQUEST: send fewer services a request, or create the experiments in MLflow first",
    "forbidden_experiment": "the API key may not write to the experiment of the span's resource",
}
"""Every reason for which a span is rejected → what its sender is told."""

REPAIRS = {
    "self_parent": "a span that named itself as its parent is stored as a root",
    "end_time_out_of_range": "an end after the year 2262, which no column holds, is stored as the span's start",
}
"""The repairs that are made before the queue: silent for the client, counted for the operator."""


WARNINGS = {
    "tags_over_limit": "only some of the resource's attributes became tags of the trace: they are more than "
    "HEADRACE_MAX_TAGS_PER_TRACE, or make more rows than HEADRACE_MAX_ROWS_PER_REQUEST",
}
"""The repairs of which the client is told; the spans are accepted."""


@dataclass(slots=True)
class Verdict:
    """How many spans came, and what became of those that could not stay as they were."""

    received: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    repaired: Counter[str] = field(default_factory=Counter)
    warned: Counter[str] = field(default_factory=Counter)
    reworded: bool = False
    """True where the request no longer says what its bytes said, so that it has to be serialised anew."""

    @property
    def accepted(self) -> int:
        return self.received - self.rejected.total()

    def reject(self, reason: str, count: int = 1) -> None:
        """Counts `count` spans as rejected for a reason of `REASONS`."""
        self.rejected[reason] += count
        self.reworded = True

    def reject_each(self, reasons: Iterable[str]) -> None:
        """Counts one span a reason."""
        self.rejected.update(reasons)
        self.reworded = True

    def repair(self, rule: str) -> None:
        """Counts one repair by a rule of `REPAIRS`."""
        self.repaired[rule] += 1
        self.reworded = True

    def warn(self, rule: str, count: int) -> None:
        """Counts `count` spans that are accepted, but of which not all is stored, by a rule of `WARNINGS`."""
        self.warned[rule] += count

    def explain(self) -> str:
        """English for `partial_success.error_message`: a sentence on what was rejected, and one on what was not stored."""
        sentences = []
        if self.rejected:
            parts = [f"{REASONS[reason]} ({count})" for reason, count in sorted(self.rejected.items())]
            sentences.append(f"{self.rejected.total()} of {self.received} spans rejected: {'; '.join(parts)}.")
        for rule, count in sorted(self.warned.items()):
            sentences.append(f"{count} spans accepted, but {WARNINGS[rule]}.")
        return " ".join(sentences)


def validate(request: ExportTraceServiceRequest) -> Verdict:
    """Removes the impossible spans from `request`, in place, and tells what was done."""
    verdict = Verdict()
    for scope in _scopes(request):
        verdict.received += len(scope.spans)
        reasons = [_reason(span) for span in scope.spans]
        if any(reasons):
            kept = [span for span, reason in zip(scope.spans, reasons, strict=True) if reason is None]
            verdict.reject_each(reason for reason in reasons if reason)
            replace_spans(scope, kept)
        for span in scope.spans:
            if span.parent_span_id and span.parent_span_id == span.span_id:
                span.ClearField("parent_span_id")
                verdict.repair("self_parent")
            if span.end_time_unix_nano > _MAX_INT64:
                span.end_time_unix_nano = span.start_time_unix_nano
                verdict.repair("end_time_out_of_range")
    if not all(_says_something(resource_spans) for resource_spans in request.resource_spans):
        drop_empty(request)
        verdict.reworded = True
    return verdict


def _says_something(resource_spans: ResourceSpans) -> bool:
    return len(resource_spans.scope_spans) > 0 and all(scope.spans for scope in resource_spans.scope_spans)


def drop_empty(request: ExportTraceServiceRequest) -> None:
    """Takes out scopes and resources without spans, which nobody shall have to route. (OTLP: "MAY ignore" them.)"""
    kept = ExportTraceServiceRequest()
    for resource_spans in request.resource_spans:
        if scopes := [scope for scope in resource_spans.scope_spans if scope.spans]:
            copy = kept.resource_spans.add(schema_url=resource_spans.schema_url, scope_spans=scopes)
            if resource_spans.HasField("resource"):
                copy.resource.CopyFrom(resource_spans.resource)
    request.CopyFrom(kept)


def replace_spans(scope: ScopeSpans, spans: list[Span]) -> None:
    """In one pass: deleting from a repeated field one by one costs the square of its length."""
    kept = ScopeSpans(spans=spans)
    scope.ClearField("spans")
    scope.spans.MergeFrom(kept.spans)


def _scopes(request: ExportTraceServiceRequest) -> Iterator[ScopeSpans]:
    for resource_spans in request.resource_spans:
        yield from resource_spans.scope_spans


def _reason(span: Span) -> str | None:
    """The first reason for which this span cannot be stored, or None."""
    if len(span.trace_id) != 16 or span.trace_id == _NO_TRACE_ID:
        return "invalid_trace_id"
    if len(span.span_id) != 8 or span.span_id == _NO_SPAN_ID:
        return "invalid_span_id"
    if span.parent_span_id and len(span.parent_span_id) != 8:
        return "invalid_parent_span_id"
    if span.start_time_unix_nano > _MAX_INT64:
        return "time_out_of_range"
    return None
