"""What every `Writer` keeps: run over the bulk writer, with and without enrichment, and over MLflow's own store."""

from collections import Counter
from collections.abc import Callable

import pytest
from conftest import rows

import otlp
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.errors import PermanentExportError
from headrace.mlflow.fallback import MlflowStoreWriter
from headrace.mlflow.write import Writer
from headrace.mlflow.write.bulk import BulkWriter
from headrace.rejected import RejectedSpans
from headrace.store.database import Database
from headrace.telemetry.metrics import SPANS_REPAIRED

WRITERS: dict[str, Callable[[Database], Writer]] = {
    "bulk": lambda database: BulkWriter(database, enrich=False),
    "bulk, enriching": lambda database: BulkWriter(database, enrich=True),
    "MLflow's store": MlflowStoreWriter,
}
TABLES = ("trace_info", "spans", "trace_tags", "trace_request_metadata")
RESERVED = "mlflow.traceTag.mlflow.trace.spansLocation"


@pytest.fixture(params=WRITERS)
def writer(request: pytest.FixtureRequest, database: Database) -> Writer:
    return WRITERS[request.param](database)


def delivery(*names: str, experiment: str = "0", trace_id: bytes = b"t" * 16) -> Delivery:
    """A root and its children of these names, all in one trace."""
    spans = [
        otlp.span(name, trace_id, bytes([n + 1]) * 8, b"\1" * 8 if n else b"", attrs={} if n else {RESERVED: "elsewhere"})
        for n, name in enumerate(names)
    ]
    destination = pb.Destination(experiment_id=experiment, routed_by=pb.ROUTED_BY_HEADER)
    return Delivery(otlp.request(*spans), (destination,), "", otlp.START, "")


def stored(url: str) -> dict[str, list[str]]:
    """All rows, without the column in which MLflow counts writes."""
    found = {table: rows(url, f"SELECT * FROM {table}") for table in TABLES}
    for row in found["trace_info"]:
        del row["db_payload_generation"]
    return {table: sorted(map(repr, kept)) for table, kept in found.items()}


def counted() -> float:
    return sum(sample.value for metric in SPANS_REPAIRED.collect() for sample in metric.samples if sample.name[-5:] == "total")


def test_what_is_written_is_there_when_write_returns(writer: Writer, database_url: str) -> None:
    writer.write(writer.translate([delivery("root", "child"), delivery("other", trace_id=b"o" * 16)]))
    assert {row["name"] for row in rows(database_url, "SELECT name FROM spans")} == {"root", "child", "other"}
    assert len(rows(database_url, "SELECT 1 FROM trace_info")) == 2


def test_one_translation_may_be_written_again_and_changes_nothing(writer: Writer, database_url: str) -> None:
    translated = writer.translate([delivery("root", "child")])
    writer.write(translated)
    before = stored(database_url)
    writer.write(translated)
    assert stored(database_url) == before


def test_translating_and_rehearsing_leave_no_trace(writer: Writer, database_url: str) -> None:
    before = stored(database_url), counted()
    writer.translate([delivery("root")])
    writer.rehearse(delivery("root"), 0)
    assert (stored(database_url), counted()) == before


def test_repairs_are_returned_each_time_and_counted_by_the_caller(writer: Writer) -> None:
    before = counted()
    translated = writer.translate([delivery("root", "child")])
    assert writer.write(translated) == writer.write(translated) == {"reserved_tag_dropped": 1}
    assert counted() == before


def test_a_batch_without_requests_is_written(writer: Writer) -> None:
    assert writer.write(writer.translate([])) == Counter()


def test_translated_keeps_its_deliveries(writer: Writer) -> None:
    deliveries = [delivery("root")]
    assert writer.translate(deliveries).deliveries == deliveries


def test_what_can_never_be_written_is_permanent(writer: Writer, database_url: str) -> None:
    """An experiment that is not there. Who knows which spans are at fault names them."""
    given = delivery("root", experiment="4711")
    with pytest.raises(PermanentExportError) as raised:
        writer.write(writer.translate([given]))
    for rejected in raised.value.rejected:
        assert isinstance(rejected, RejectedSpans)
        assert (rejected.trace_id, rejected.experiment_id) == (b"t" * 16, "4711")
        assert rejected.reason
    assert rows(database_url, "SELECT 1 FROM spans") == []
