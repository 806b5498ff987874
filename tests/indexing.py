"""Writes requests with the bulk writer, which keeps the index beside them."""

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.mlflow.write.bulk import BulkWriter
from headrace.store.database import Database

Sent = tuple[int, ExportTraceServiceRequest]
"""An experiment, and a request for it."""


def write(database: Database, *batch: Sent, writer: BulkWriter | None = None) -> None:
    """One batch. Without `writer`: by a new one, which enriches."""
    writer = writer or BulkWriter(database, enrich=True)
    writer.write(writer.translate([_delivery(sent) for sent in batch]))


def _delivery(sent: Sent) -> Delivery:
    experiment, request = sent
    destinations = tuple(pb.Destination(experiment_id=str(experiment)) for _ in request.resource_spans)
    return Delivery(ExportTraceServiceRequest.FromString(request.SerializeToString()), destinations, "", 0, "")
