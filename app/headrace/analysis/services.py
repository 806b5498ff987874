"""The dependency map: which service calls which, how often, with how many errors, and how long it takes."""

from collections.abc import Iterable, Iterator, Mapping

from headrace.analysis.trace import CLIENT, PRODUCER, Span, Trace
from headrace.reader import Edge


def dependencies(traces: Iterable[Trace]) -> list[Edge]:
    """The edges of these traces, ordered by names. An edge from a service to itself is none.

    A call is a span whose parent belongs to another service. Two more kinds of calls count once each: a span that calls
    `peer.service`, where nothing below it was recorded; and a span that links to a span of another service.
    """
    known = list(traces)
    linked = {trace.trace_id: trace for trace in known}
    sums: dict[tuple[str, str], list[int]] = {}
    for trace in known:
        for span in trace.spans.values():
            for caller, callee in _calls(trace, span, linked):
                edge = sums.setdefault((caller, callee), [0, 0, 0])
                edge[0] += 1
                edge[1] += span.error
                edge[2] += span.duration
    return [Edge(*names, *edge) for names, edge in sorted(sums.items())]


def _calls(trace: Trace, span: Span, linked: Mapping[str, Trace]) -> Iterator[tuple[str, str]]:
    """The edges that a span adds to."""
    parent = trace.spans.get(span.parent_id)
    callers = {parent.service} if parent else set()
    for trace_id, span_id in span.links:
        if trace_id in linked and (other := linked[trace_id].spans.get(span_id)):
            callers.add(other.service)
    yield from ((caller, span.service) for caller in sorted(callers - {span.service, ""}) if span.service)
    called = span.peer if span.kind in (CLIENT, PRODUCER) and not trace.children(span) else ""
    if called and span.service and called != span.service:
        yield span.service, called
