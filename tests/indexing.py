"""Writes requests with the bulk writer, and keeps the index beside it, as a writer does in one transaction."""

from collections.abc import Iterator, Sequence

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.mlflow.keys import to_trace_id
from headrace.mlflow.translate.origin import origin_of
from headrace.mlflow.write.bulk import BulkWriter
from headrace.mlflow.write.index import Index, Seen, look
from headrace.mlflow.write.statements import transaction
from headrace.otlp.attributes import to_dict
from headrace.store.database import Database

Sent = tuple[int, ExportTraceServiceRequest]
"""An experiment, and a request for it."""


def write(database: Database, *batch: Sent, index: Index | None = None) -> None:
    """One batch."""
    writer = BulkWriter(database, enrich=True)
    keeper = index or Index()
    spans = list({span.key: span for span in _better_last(list(_seen(batch)))}.values())
    with transaction(database) as (_, cursor):
        cursor.execute("SELECT request_id FROM trace_info WHERE request_id = ANY (%s)", [[span.trace_id for span in spans]])
        stored = {row[0] for row in cursor}
        plan = look(cursor, spans, created={span.trace_id for span in spans} - stored)
    writer.write(writer.translate([_delivery(sent) for sent in batch]))
    with transaction(database) as (_, cursor):
        kept = keeper.keep(cursor, plan)
    keeper.remember(kept)


def _better_last(spans: Sequence[Seen]) -> Sequence[Seen]:
    return sorted(spans, key=lambda span: not span.unfinished)


def _delivery(sent: Sent) -> Delivery:
    experiment, request = sent
    destinations = tuple(pb.Destination(experiment_id=str(experiment)) for _ in request.resource_spans)
    return Delivery(ExportTraceServiceRequest.FromString(request.SerializeToString()), destinations, "", 0, "")


def _seen(batch: Sequence[Sent]) -> Iterator[Seen]:
    for experiment, request in batch:
        for resource_spans in request.resource_spans:
            service = to_dict(resource_spans.resource.attributes).get("service.name", "")
            for scope in resource_spans.scope_spans:
                origin = origin_of(resource_spans, scope).digest
                for span in scope.spans:
                    unfinished = span.end_time_unix_nano < span.start_time_unix_nano
                    yield Seen(
                        to_trace_id(span.trace_id),
                        span.span_id.hex(),
                        span.parent_span_id.hex() or None,
                        experiment,
                        service,
                        span.name,
                        span.kind,
                        span.start_time_unix_nano,
                        span.end_time_unix_nano,
                        span.status.code == 2,
                        origin,
                        unfinished,
                    )
