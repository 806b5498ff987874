"""What the exporter counts of a batch it counts once, however often the batch is halved or tried again."""

import psycopg
import pytest

import otlp
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.errors import DatabaseUnavailable
from headrace.export.bisect import Export
from headrace.export.exporter import Exporter
from headrace.mlflow.experiments import Experiments
from headrace.mlflow.text import Repairs
from headrace.mlflow.write import Translated
from headrace.mlflow.write.bulk import BulkWriter
from headrace.otlp.signals import TRACES
from headrace.store.database import Database
from headrace.telemetry.metrics import SPANS_REPAIRED, SPANS_WRITTEN


class Interrupted(BulkWriter):
    """The real writer. `fails`: before how many of its next writes Postgres is there; then, once, it is not."""

    fails = -1

    def write(self, translated: Translated) -> Repairs:
        self.fails -= 1
        if self.fails == -1:
            raise DatabaseUnavailable("away")
        return super().write(translated)


@pytest.fixture
def exporter(database: Database) -> Exporter:
    return Exporter(database, Experiments(database, create=False, cache_seconds=60), {TRACES: Interrupted})


@pytest.fixture
def envelope(database_url: str) -> bytes:
    """64 spans, of which one has a NUL and another cannot be written."""
    with psycopg.connect(database_url) as connection:
        connection.execute("ALTER TABLE spans ADD CONSTRAINT no_poison CHECK (name <> 'poison')")
    names = ["a\0b", *(f"good {n}" for n in range(62)), "poison"]
    request = otlp.request(*(otlp.span(name, b"t" * 16, parent=b"p" * 8) for name in names))
    return Delivery(request, (pb.Destination(experiment_id="0", routed_by=pb.ROUTED_BY_HEADER),), "", 0, "").to_envelope()


def counted() -> tuple[float, float]:
    """Spans written, and NULs replaced."""
    found = {
        (sample.name, sample.labels.get("rule")): sample.value
        for metric in (*SPANS_WRITTEN.collect(), *SPANS_REPAIRED.collect())
        for sample in metric.samples
    }
    return found["headrace_spans_written_total", None], found["headrace_spans_repaired_total", "nul_replaced"]


def test_a_batch_that_is_halved_down_to_one_span_is_counted_once(exporter: Exporter, envelope: bytes) -> None:
    written, repaired = counted()
    exporter.open()
    export = Export(exporter, [envelope])
    export.translate()
    (letter,) = export.run()
    assert "no_poison" in letter.reason
    assert counted() == (written + 63, repaired + 1)


@pytest.mark.parametrize("fails", [1, 5, 12])
def test_so_is_a_batch_that_is_interrupted_amid_that_and_tried_again(exporter: Exporter, envelope: bytes, fails: int) -> None:
    written, repaired = counted()
    writer = exporter.open()[TRACES]
    assert isinstance(writer, Interrupted)
    writer.fails = fails
    export = Export(exporter, [envelope])
    with pytest.raises(DatabaseUnavailable):
        export.run()
    assert len(export.run()) == 1
    assert counted() == (written + 63, repaired + 1)
