"""Many traces, as a fleet of services makes them in a week, written by the bulk writer itself."""

import multiprocessing
import random
import time
from collections.abc import Iterator

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

SERVICES = [f"service-{number:02d}" for number in range(20)]
OPERATIONS = [f"operation {number:02d}" for number in range(50)]
EXPERIMENTS = 5
SPANS = 10
"""Of a trace, of four services."""
WEEK_NS = 7 * 86_400 * 10**9
_BATCH = 100
"""Traces a transaction."""


def request(chance: random.Random, traces: int, now: int) -> ExportTraceServiceRequest:
    """New traces, each of which began at any time of the last week. One span in 50 has failed; one trace in 10,000 has the
    attribute `rare`."""
    by_service: dict[str, list[Span]] = {}
    for _ in range(traces):
        trace_id, start = chance.randbytes(16), now - chance.randrange(WEEK_NS)
        parent, services = b"", chance.sample(SERVICES, 4)
        for number in range(SPANS):
            length = chance.randrange(10**6, 10**9) // (number + 1)
            span = Span(
                trace_id=trace_id,
                span_id=chance.randbytes(8),
                parent_span_id=parent,
                name=OPERATIONS[chance.randrange(50)],
                start_time_unix_nano=start + number,
                end_time_unix_nano=start + number + length,
                kind=number % 6,  # type: ignore[arg-type]
                attributes=[_text("http.route", f"/v1/{chance.randrange(100)}"), _text("user", f"u{chance.randrange(10**6)}")],
            )
            if chance.random() < 0.02:
                span.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR))
            if number == 0 and chance.random() < 0.0001:
                span.attributes.append(_text("rare", "yes"))
            parent = span.span_id if number % 3 == 0 else parent
            by_service.setdefault(services[number * 4 // SPANS], []).append(span)
    return ExportTraceServiceRequest(
        resource_spans=[
            ResourceSpans(resource=Resource(attributes=[_text("service.name", service)]), scope_spans=[ScopeSpans(spans=spans)])
            for service, spans in by_service.items()
        ]
    )


def _text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def build(url: str, experiments: list[str], traces: int, processes: int, there: int = 0) -> Iterator[int]:
    """Writes so many traces, in so many processes, beside those that are `there`. Gives from time to time how many are
    written."""
    context = multiprocessing.get_context("spawn")
    done = context.SimpleQueue()
    shares = [traces // processes + (number < traces % processes) for number in range(processes)]
    workers = [
        context.Process(target=_write, args=(url, experiments, share, there + number, done), daemon=True)
        for number, share in enumerate(shares)
    ]
    for worker in workers:
        worker.start()
    written = 0
    while written < traces:
        if (more := done.get()) < 0:
            raise RuntimeError("a process that writes has ended")
        written += more
        yield written
    for worker in workers:
        worker.join()


def _write(url: str, experiments: list[str], traces: int, seed: int, done: "multiprocessing.SimpleQueue[int]") -> None:
    from headrace.envelope import Delivery
    from headrace.envelope import envelope_pb2 as pb
    from headrace.mlflow.write.bulk import BulkWriter
    from headrace.store.database import Database

    try:
        database, chance = Database(url), random.Random(seed)
        writer = BulkWriter(database, enrich=True)
        for begin in range(0, traces, _BATCH):
            size = min(_BATCH, traces - begin)
            sent = request(chance, size, time.time_ns())
            destination = pb.Destination(experiment_id=experiments[begin // _BATCH % len(experiments)])
            writer.write(writer.translate([Delivery(sent, tuple(destination for _ in sent.resource_spans), "", 0, "")]))
            done.put(size)
        database.close()
    except BaseException:
        done.put(-1)
        raise
