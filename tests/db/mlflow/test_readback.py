"""OTLP → stored → OTLP gives back what was sent, for the whole parity corpus: nothing of it is lost."""

from conftest import rows
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, TracesData
from parity.corpus import corpus
from parity.sent import by_span

from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.mlflow.translate.readback import digests, to_traces_data
from headrace.mlflow.write.bulk import BulkWriter
from headrace.store.database import Database
from otlp import validate


def test_nothing_of_the_corpus_is_lost(database: Database, database_url: str) -> None:
    writer = BulkWriter(database, enrich=True)
    everything = TracesData()
    deliveries = []
    for scenario in corpus():
        for exchange in scenario.exchanges:
            request = ExportTraceServiceRequest.FromString(exchange.request.SerializeToString())
            validate(request)
            everything.resource_spans.extend(request.resource_spans)
            destinations = tuple(pb.Destination(experiment_id="0") for _ in request.resource_spans)
            deliveries.append(Delivery(request, destinations, "", 0, ""))
    writer.write(writer.translate(deliveries))
    contents = [row["content"] for row in rows(database_url, "SELECT content FROM spans")]
    stored = rows(database_url, "SELECT digest, origin FROM headrace.origin WHERE digest = ANY (%s)", list(digests(contents)))
    read = by_span(to_traces_data(contents, {row["digest"]: row["origin"] for row in stored}))
    sent = by_span(everything)
    assert len(sent) > 5000
    assert read.keys() == sent.keys()
    lost = {key: (Span.FromString(sent[key][1]), Span.FromString(read[key][1])) for key in sent if read[key] != sent[key]}
    assert lost == {}
