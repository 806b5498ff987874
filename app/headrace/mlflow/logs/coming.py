"""A log record on its way to its span, and what its sender may change. No I/O."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import NamedTuple

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from headrace.envelope import envelope_pb2 as pb
from headrace.envelope.limit import Limit
from headrace.mlflow.keys import to_trace_id
from headrace.mlflow.logs.record import Record, records_of
from headrace.otlp.order import positions_of


class Coming(NamedTuple):
    """A record that names its span."""

    trace_id: str
    """As MLflow has it, and the span id as hex."""
    span_id: str
    record: Record
    experiment_id: int
    """Where its sender's own traces go."""
    limit: Limit | None = None
    """The experiments whose traces its sender may change. None: all."""
    delivery: int = 0
    """The index, in its batch, of the delivery that it comes from."""


def coming(
    request: ExportLogsServiceRequest,
    destinations: Iterable[pb.Destination],
    limit: Limit | None,
    delivery: int = 0,
    positions: Sequence[int] = (),
) -> Iterator[Coming]:
    """The records of one request that name a span; `destinations`: one for each resource. `positions`: see `Delivery`."""
    found = [
        (log, record, destination)
        for resource, destination in zip(request.resource_logs, destinations, strict=True)
        for log, record in records_of(resource)
    ]
    known = positions or positions_of(log for log, _, _ in found) or repeat(0)
    for (log, record, destination), position in zip(found, known, strict=False):
        if names_a_span(log):
            key = (to_trace_id(log.trace_id), log.span_id.hex())
            yield Coming(*key, record.at(position), int(destination.experiment_id), limit, delivery)


def names_a_span(log: LogRecord) -> bool:
    """Whether a record says to which span it belongs."""
    return len(log.trace_id) == 16 and any(log.trace_id) and len(log.span_id) == 8 and any(log.span_id)
