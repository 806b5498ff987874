"""Where MLflow refuses the whole request, or never returns, Headrace stores the span, repaired by a named rule."""

import pytest
from conftest import rows
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from parity.corpus import Scenario, mlflow_breaks

from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.mlflow.write.bulk import BulkWriter
from headrace.otlp.spans import spans_of
from headrace.store.database import Database
from otlp import validate

REFUSED = {"start over int64"}
"""No column can hold its start: its sender is told."""

DEAD = {"begun: archived", "a tag that moves the spans"}
"""Their traces' spans are not in the database any more: tested where dead letters are."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("enrich", [False, True])
def test_every_span_is_stored(database: Database, database_url: str, enrich: bool) -> None:
    writer = BulkWriter(database, enrich)
    scenarios = [scenario for scenario in mlflow_breaks() if scenario.name not in DEAD]
    for scenario in scenarios:
        for request in requests_of(scenario):
            verdict = validate(request)
            assert bool(verdict.rejected) == (scenario.name in REFUSED)
            destinations = tuple(pb.Destination(experiment_id="0") for _ in request.resource_spans)
            writer.write(writer.translate([Delivery(request, destinations, "", 0, "")]))
            stored = {row["span_id"] for row in rows(database_url, "SELECT span_id FROM spans")}
            assert {span.span_id.hex() for span in spans_of(request)} <= stored, scenario.name
    assert len(scenarios) > 25


def requests_of(scenario: Scenario) -> list[ExportTraceServiceRequest]:
    """Copies of its requests: validation changes them."""
    return [ExportTraceServiceRequest.FromString(exchange.request.SerializeToString()) for exchange in scenario.exchanges]
