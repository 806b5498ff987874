"""A scenario is a sequence of OTLP requests. `Draft` builds one, with ids and times that are the same in every run."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

import otlp

MS = 1_000_000
EPOCH = 1_750_000_000_123_456_789
"""When every scenario begins, in nanoseconds: long past, so that MLflow's daily sums are due, and no whole millisecond."""

EXPERIMENT_HEADER = "x-mlflow-experiment-id"
RUN_HEADER = "x-mlflow-run-id"

DEFAULT_EXPERIMENT, SECOND_EXPERIMENT, DELETED_EXPERIMENT = "0", "1", "2"
RUN, DELETED_RUN, MISSING_RUN = "a" * 32, "d" * 32, "f" * 32
"""What `databases.seed` puts into every database, save for the missing run."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request, and the headers that say where it goes."""

    request: ExportTraceServiceRequest
    headers: Mapping[str, str]

    @property
    def spans(self) -> list[Span]:
        """All of its spans, in order."""
        return [span for resource in self.request.resource_spans for scope in resource.scope_spans for span in scope.spans]


@dataclass(frozen=True, slots=True)
class Scenario:
    """Exchanges whose order matters, on traces that no other scenario has."""

    name: str
    exchanges: Sequence[Exchange] = field(repr=False)
    spins: bool = False
    """Whether MLflow never answers: it must not be sent to an MLflow that is still needed."""

    @property
    def trace_ids(self) -> set[str]:
        """Its traces, as MLflow names them."""
        return {f"tr-{span.trace_id.hex()}" for exchange in self.exchanges for span in exchange.spans}


class Draft:
    """A scenario in the making: `draft.send(draft.span("root"), draft.span("child", "root"))`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.exchanges: list[Exchange] = []

    def trace_id(self, label: str = "") -> bytes:
        """The scenario's trace of this name."""
        return hashlib.sha256(f"{self.name}/trace/{label}".encode()).digest()[:16]

    def span_id(self, label: str) -> bytes:
        """The scenario's span of this name."""
        return hashlib.sha256(f"{self.name}/span/{label}".encode()).digest()[:8]

    def span(
        self,
        label: str,
        parent: str = "",
        attrs: Mapping[str, Any] | Sequence[KeyValue] = (),
        *,
        trace: str = "",
        at: int = 0,
        ms: int = 100,
        **fields: Any,
    ) -> Span:
        """A span that starts `at` milliseconds after the beginning and takes `ms`; `fields` are protobuf's and win."""
        given: dict[str, Any] = {
            "trace_id": self.trace_id(trace),
            "span_id": self.span_id(label),
            "parent_span_id": self.span_id(parent) if parent else b"",
            "name": label,
            "start_time_unix_nano": EPOCH + at * MS,
            "end_time_unix_nano": EPOCH + (at + ms) * MS,
            "attributes": otlp.attributes(dict(attrs)) if isinstance(attrs, Mapping) else attrs,
        }
        return Span(**(given | fields))

    def send(self, *parts: ResourceSpans | Span, experiment: str = DEFAULT_EXPERIMENT, run: str = "") -> None:
        """One more request. Spans that come without their resource share one, of the service `checkout`."""
        resources = [part for part in parts if isinstance(part, ResourceSpans)]
        if spans := [part for part in parts if isinstance(part, Span)]:
            resources.append(of({"service.name": "checkout"}, *spans))
        headers = {EXPERIMENT_HEADER: experiment} | ({RUN_HEADER: run} if run else {})
        self.exchanges.append(Exchange(ExportTraceServiceRequest(resource_spans=resources), headers))

    def done(self, *, spins: bool = False) -> Scenario:
        """The scenario."""
        return Scenario(self.name, self.exchanges, spins)


def of(
    resource: Mapping[str, Any] | Sequence[KeyValue] | None, *spans: Span, scope: InstrumentationScope | None = None
) -> ResourceSpans:
    """Spans of one resource (None: the field is not set) and one scope."""
    scopes = [ScopeSpans(scope=scope, spans=spans)]
    if resource is None:
        return ResourceSpans(scope_spans=scopes)
    attributes = otlp.attributes(dict(resource)) if isinstance(resource, Mapping) else resource
    return ResourceSpans(resource=Resource(attributes=attributes), scope_spans=scopes)
