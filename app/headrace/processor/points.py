"""Takes data points out of a request that cannot become metrics of a run, counted by reason. No I/O."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from headrace.envelope.incoming import RUN_HEADER, AnyRequest, said_once
from headrace.otlp.attributes import to_text
from headrace.otlp.form import DATA_POINTS
from headrace.processor.edit import drop_empty, has_empty
from headrace.processor.verdict import Verdict

RUN_ID = "mlflow.run_id"
RUN_NAME = "mlflow.run_name"
"""The resource attributes that name the run."""

COMPUTED = frozenset({"mlflow.trace.span.duration", "gen_ai.client.token.usage", "gen_ai.client.operation.duration"})
"""Metrics that MLflow computes itself from the traces."""

_ROWS = {"gauge": 1, "sum": 1, "histogram": 7, "exponential_histogram": 7}
_NO_VALUE = 1
"""The flag of a data point that has no value."""


@dataclass(frozen=True, slots=True)
class Points:
    """The processor of metrics. Each data point that it lets pass names a run, has a value, and fits into `max_points`."""

    max_points: int
    """Most values that a request may become. A histogram becomes seven."""
    forwards: bool = False
    """Whether those that name no run pass, too: they are passed on to another endpoint."""

    def process(self, request: AnyRequest, verdict: Verdict) -> AnyRequest:
        """See `Processor`."""
        reasons = list(self._reasons(request))
        if any(reasons):
            form, message = request.signal.form, request.for_change()
            kept = [place for place, reason in zip(form.places(message), reasons, strict=True) if reason is None]
            verdict.rejected.update(reason for reason in reasons if reason)
            message.CopyFrom(form.gather(message, kept)[0])
        elif has_empty(request.message, DATA_POINTS):
            drop_empty(request.for_change(), DATA_POINTS)
        return request

    def _reasons(self, request: AnyRequest) -> Iterator[str | None]:
        """For each data point the first reason for which it cannot be stored, or None."""
        by_header = bool(said_once(request.sender.headers.get(RUN_HEADER, "")))
        room = self.max_points
        for resource in request.resources:
            passes = self.forwards or by_header or names_run(resource)
            for metric in DATA_POINTS.items_of(resource):
                kind = metric.WhichOneof("data")
                for point in DATA_POINTS.records_of(metric):
                    reason = _reason(metric.name, kind, point, passes)
                    rows = _ROWS.get(kind) or 2 + len(point.quantile_values)
                    if reason is None and rows > room:
                        reason = "too_many_points"
                    room -= 0 if reason else rows
                    yield reason


def _reason(name: str, kind: str, point: Any, passes: bool) -> str | None:
    if not passes:
        return "computed_by_mlflow" if name in COMPUTED else "no_run"
    if kind in ("gauge", "sum") and point.WhichOneof("value") is None and not point.flags & _NO_VALUE:
        return "no_value"
    return None


def names_run(resource: Any) -> bool:
    """Whether the attributes of a resource name a run."""
    named = run_of(resource)
    return bool(named.get(RUN_ID) or named.get(RUN_NAME))


def run_of(holder: Any) -> Mapping[str, str]:
    """What the attributes of a resource say about its run, as texts."""
    return {
        pair.key: to_text(getattr(pair.value, pair.value.WhichOneof("value") or "string_value"))
        for pair in holder.resource.attributes
        if pair.key in (RUN_ID, RUN_NAME)
    }
