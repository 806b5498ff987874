"""A `TraceReader` in memory, for unit tests of what reads. It keeps the contract of tests/contracts/trace_reader.py."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, TracesData

from headrace.analysis.otlp import traces_of
from headrace.analysis.services import dependencies
from headrace.reader import (
    Activity,
    Edge,
    Experiment,
    Experiments,
    Found,
    Operation,
    Query,
    ReadTrace,
    Run,
    Runs,
    RunTrace,
    SearchResult,
)
from headrace.reader.matching import has_attributes, service_of, wanted_attributes, wanted_error

_MS = 1_000_000
_HOUR = 3_600_000_000_000


@dataclass(frozen=True)
class _Stored:
    experiment_id: int
    trace_id: str
    resource_spans: ResourceSpans
    span: Span

    @property
    def service(self) -> str:
        return service_of(self.resource_spans)


class MemoryReader:
    """See `TraceReader`. It reads what it is made of: requests, each with its experiment."""

    def __init__(
        self,
        sent: Sequence[tuple[int, TracesData]],
        names: dict[int, str] | None = None,
        runs: "Sequence[tuple[int, Run, Sequence[RunTrace]]]" = (),
    ) -> None:
        self._spans = [
            _Stored(experiment, span.trace_id.hex(), resource_spans, span)
            for experiment, data in sent
            for resource_spans in data.resource_spans
            for scope in resource_spans.scope_spans
            for span in scope.spans
        ]
        self._names = names or {0: "Default"}
        self._runs = runs

    def _visible(self, experiments: Experiments) -> Iterator[_Stored]:
        return (stored for stored in self._spans if experiments is None or stored.experiment_id in experiments)

    def trace(self, trace_id: str, experiments: Experiments = None) -> ReadTrace | None:
        """See `TraceReader.trace`."""
        data, experiment = TracesData(), 0
        for stored in self._visible(experiments):
            if stored.trace_id == trace_id:
                part = data.resource_spans.add(resource=stored.resource_spans.resource)
                part.scope_spans.add().spans.append(stored.span)
                experiment = stored.experiment_id
        return ReadTrace(experiment, data, complete=True) if data.resource_spans else None

    def search(self, query: Query) -> SearchResult:
        """See `TraceReader.search`."""
        traces: dict[str, list[_Stored]] = {}
        for stored in self._visible(query.experiments):
            traces.setdefault(stored.trace_id, []).append(stored)
        begins = {
            trace_id: min(each.span.start_time_unix_nano for each in spans if query.service in ("", each.service))
            for trace_id, spans in traces.items()
            if any(_matches(query, each) for each in spans)
        }
        inside = [
            trace_id for trace_id, begin in begins.items() if query.since <= begin and (not query.until or begin < query.until)
        ]
        newest = sorted(inside, key=lambda trace_id: (-begins[trace_id], trace_id))
        return SearchResult([_found(trace_id, traces[trace_id]) for trace_id in newest[: query.limit]], complete=True)

    def services(self, experiments: Experiments = None) -> list[str]:
        """See `TraceReader.services`."""
        return sorted({stored.service for stored in self._visible(experiments)} - {""})

    def operations(self, service: str, experiments: Experiments = None) -> list[Operation]:
        """See `TraceReader.operations`."""
        visible = (stored for stored in self._visible(experiments) if stored.service == service)
        return sorted({Operation(stored.span.name, stored.span.kind) for stored in visible})

    def dependencies(self, since: int, until: int, experiments: Experiments = None) -> list[Edge]:
        """See `TraceReader.dependencies`."""
        data = TracesData()
        for stored in self._visible(experiments):
            part = data.resource_spans.add(resource=stored.resource_spans.resource)
            span = part.scope_spans.add().spans.add()
            span.CopyFrom(stored.span)
            del span.links[:]
            span.ClearField("attributes")
            if not since // _HOUR <= span.start_time_unix_nano // _HOUR <= until // _HOUR:
                span.ClearField("parent_span_id")
        return dependencies(traces_of(data))

    def experiments(self) -> list[Experiment]:
        """See `TraceReader.experiments`."""
        return [Experiment(*pair) for pair in sorted(self._names.items())]

    def activity(self, experiments: Experiments = None) -> list[Activity]:
        """See `TraceReader.activity`."""
        last: dict[int, int] = {}
        for found in self.search(Query(experiments=experiments, limit=len(self._spans))).found:
            last.setdefault(found.experiment_id, found.start)
        seen = [each for each in self.experiments() if experiments is None or each.id in experiments]
        known = [Activity(each, last.get(each.id, 0)) for each in seen]
        return sorted(known, key=lambda each: (-each.last, each.experiment.id))

    def runs(self, experiment_id: int) -> Runs:
        """See `TraceReader.runs`."""
        mine = [(run, traces) for experiment, run, traces in self._runs if experiment == experiment_id and traces]
        newest = sorted((each for _, traces in mine for each in traces), key=lambda each: (-each.start, each.trace_id))
        return Runs(sorted((run for run, _ in mine), key=lambda run: (run.start, run.run_id)), newest, complete=True)


def _matches(query: Query, stored: _Stored) -> bool:
    span = stored.span
    duration = span.end_time_unix_nano - span.start_time_unix_nano
    failed = span.status.code == 2
    return (
        query.service in ("", stored.service)
        and query.operation in ("", span.name)
        and query.min_duration <= duration <= (query.max_duration or duration)
        and wanted_error(query) in (None, failed)
        and has_attributes(wanted_attributes(query), span, stored.resource_spans)
    )


def _found(trace_id: str, spans: Sequence[_Stored]) -> Found:
    begin = min(each.span.start_time_unix_nano for each in spans) // _MS
    end = max(each.span.end_time_unix_nano for each in spans) // _MS
    roots = (each.span for each in spans if not each.span.parent_span_id)
    root = min(roots, key=lambda each: each.start_time_unix_nano, default=Span())
    return Found(trace_id, spans[0].experiment_id, root.name, begin * _MS, (end - begin) * _MS, root.status.code == 2)
