"""claim → write → settle, and what cannot be written."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from conftest import rows
from counters import count
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import otlp
from headrace.config import Config
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.errors import DatabaseUnavailable, PermanentExportError
from headrace.export.bisect import Export
from headrace.export.exporter import Exporter
from headrace.export.worker import Worker
from headrace.mlflow.experiments import Experiments
from headrace.mlflow.schema import open_writer
from headrace.mlflow.text import Repairs
from headrace.mlflow.write import Translated, Writer
from headrace.otlp.signals import TRACES
from headrace.otlp.spans import spans_of
from headrace.queue.disk.queue import DiskQueue
from headrace.store.database import Database


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[DiskQueue]:
    queue = DiskQueue(tmp_path / "queue", 1 << 24)
    yield queue
    queue.close()


MakeWorker = Callable[..., Worker]


@pytest.fixture
def make_worker(config: Config, queue: DiskQueue, database: Database) -> MakeWorker:
    def make(opener: Callable[[Database], Writer] = open_writer) -> Worker:
        experiments = Experiments(database, create=False, cache_seconds=60)
        return Worker(config, queue, database, Exporter(database, experiments, {TRACES: opener}))

    return make


def offer(queue: DiskQueue, *spans: Span, experiment: str = "0", name: str = "") -> None:
    envelope = pb.Envelope(
        received_unix_nano=otlp.START,
        destinations=[pb.Destination(experiment_id=experiment, experiment_name=name)],
        user_agent="test/1",
        request=otlp.request(*spans).SerializeToString(),
    )
    queue.offer(envelope.SerializeToString()).result(5)


def refuse(url: str, name: str) -> None:
    """Makes Postgres itself refuse spans of this name."""
    with psycopg.connect(url) as connection:
        connection.execute(f"ALTER TABLE spans ADD CONSTRAINT no_poison CHECK (name <> '{name}')")


class FailingWriter:
    """A writer of our own seam: refuses spans of one name for ever, and everything while it is `away`."""

    def __init__(self) -> None:
        self.away = 0
        self.written: list[str] = []
        self.calls = 0

    def translate(self, deliveries: Sequence[Delivery], most: int | None = None) -> Translated[None]:
        return Translated(deliveries, None, Counter())

    def write(self, translated: Translated[None]) -> Repairs:
        self.calls += 1
        if self.away:
            self.away -= 1
            raise DatabaseUnavailable("away")
        names = [span.name for delivery in translated.deliveries for span in spans_of(delivery.request)]
        if "poison" in names:
            raise PermanentExportError("cannot be written")
        if "bug" in names:
            raise KeyError("bug")
        self.written += names
        return translated.repairs

    def look_again(self) -> None:
        """The tables are as they were."""

    def rehearse(self, delivery: Delivery, seconds: float) -> None:
        """Never asked for: it says plainly that Postgres is away."""


def test_a_batch_goes_all_the_way(queue: DiskQueue, make_worker: MakeWorker, database_url: str) -> None:
    offer(queue, otlp.span("one"))
    offer(queue, otlp.span("two"))
    assert make_worker().export_once() == 2
    assert queue.drain(5)
    assert {row["name"] for row in rows(database_url, "SELECT name FROM spans")} == {"one", "two"}


def test_poison_costs_one_span_and_keeps_its_bytes(queue: DiskQueue, make_worker: MakeWorker, database_url: str) -> None:
    spans = [otlp.span(f"good{n}") for n in range(50)]
    poison = otlp.span("poison")
    refuse(database_url, "poison")
    offer(queue, *spans[:25])
    offer(queue, *spans[25:40], poison, *spans[40:])
    worker = make_worker()
    worker.export_once()
    assert queue.drain(5)
    assert len(rows(database_url, "SELECT 1 FROM spans")) == 50
    (letter,) = rows(database_url, "SELECT * FROM headrace.dead_letter")
    assert letter["trace_id"] == poison.trace_id.hex()
    assert letter["span_id"] == poison.span_id.hex()
    assert letter["user_agent"] == "test/1"
    assert letter["experiment_id"] == "0"
    assert letter["reason"]
    delivery = Delivery.from_envelope(letter["envelope"])
    assert spans_of(delivery.request) == [poison]
    assert delivery.request.resource_spans[0].resource == otlp.resource_spans().resource


def test_the_same_failure_twice_is_one_letter(queue: DiskQueue, make_worker: MakeWorker, database_url: str) -> None:
    poison = otlp.span("poison")
    refuse(database_url, "poison")
    counted = count("headrace_spans_dead_lettered_total")
    for _ in range(2):
        offer(queue, poison)
        make_worker().export_once()
    assert len(rows(database_url, "SELECT 1 FROM headrace.dead_letter")) == 1
    assert count("headrace_spans_dead_lettered_total") - counted == 1


@pytest.mark.parametrize("name", ["poison", "bug"])
def test_bisection_writes_every_other_span(queue: DiskQueue, make_worker: MakeWorker, database_url: str, name: str) -> None:
    writer = FailingWriter()
    offer(queue, *[otlp.span(f"g{n}") for n in range(500)], otlp.span(name), *[otlp.span(f"h{n}") for n in range(499)])
    make_worker(lambda _: writer).export_once()
    assert len(writer.written) == 999
    assert writer.calls <= 2 * 10 + 1  # log2(1000) halvings
    assert len(rows(database_url, "SELECT 1 FROM headrace.dead_letter")) == 1


def test_an_experiment_that_is_gone_is_a_dead_letter(queue: DiskQueue, make_worker: MakeWorker, database_url: str) -> None:
    offer(queue, otlp.span(), experiment="4711")
    offer(queue, otlp.span(), experiment="", name="never made")
    make_worker().export_once()
    letters = rows(database_url, "SELECT * FROM headrace.dead_letter ORDER BY id")
    assert [(letter["experiment_id"], letter["experiment_name"]) for letter in letters] == [("4711", ""), ("", "never made")]
    assert "4711" in letters[0]["reason"]
    assert "never made" in letters[1]["reason"]


def test_what_a_trigger_refuses_costs_one_span(queue: DiskQueue, make_worker: MakeWorker, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN IF NEW.name = 'poison' THEN RAISE EXCEPTION 'not here'; END IF; RETURN NEW; END $$"
        )
        connection.execute("CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON spans FOR EACH ROW EXECUTE FUNCTION refuse()")
    trace_id = b"t" * 16
    offer(queue, otlp.span("a", trace_id), otlp.span("poison", trace_id), otlp.span("b", trace_id))
    make_worker().export_once()
    assert queue.drain(5)
    assert {row["name"] for row in rows(database_url, "SELECT name FROM spans")} == {"a", "b"}
    (letter,) = rows(database_url, "SELECT reason FROM headrace.dead_letter")
    assert "not here" in letter["reason"]


def test_a_trace_whose_spans_were_archived_costs_its_own_spans_only(
    queue: DiskQueue, make_worker: MakeWorker, database_url: str
) -> None:
    archived, live = b"a" * 16, b"l" * 16
    worker = make_worker()
    offer(queue, otlp.span("first", archived), otlp.span("first", live))
    worker.export_once()
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "UPDATE trace_tags SET value = 'ARTIFACT_REPO' WHERE key = 'mlflow.trace.spansLocation' AND request_id = %s",
            (f"tr-{archived.hex()}",),
        )
    offer(queue, otlp.span("late", archived), otlp.span("late", live), otlp.span("later", archived), otlp.span("new"))
    worker.export_once()
    assert queue.drain(5)
    assert len(rows(database_url, "SELECT 1 FROM spans")) == 4
    letters = rows(database_url, "SELECT trace_id, reason FROM headrace.dead_letter")
    assert [letter["trace_id"] for letter in letters] == [archived.hex()] * 2
    assert "not in the tracking store any more" in letters[0]["reason"]


def test_an_experiment_deleted_while_the_writer_knows_it(queue: DiskQueue, make_worker: MakeWorker, database_url: str) -> None:
    """As `mlflow gc` leaves it: the caches still have it, Postgres refuses its rows."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        made = connection.execute(
            "INSERT INTO experiments (name, artifact_location, lifecycle_stage) VALUES ('gone', 'x:/1', 'active')"
            " RETURNING experiment_id"
        ).fetchone()
        assert made is not None
        worker = make_worker()
        offer(queue, otlp.span("before"), experiment="", name="gone")
        worker.export_once()
        for statement in ("DELETE FROM spans", "DELETE FROM trace_tags", "DELETE FROM trace_info"):
            connection.execute(statement)
        connection.execute("DELETE FROM experiments WHERE name = 'gone'")
    offer(queue, otlp.span("good"))
    for _ in range(3):
        offer(queue, otlp.span("lost"), experiment="", name="gone")
    offer(queue, otlp.span("lost"), experiment=str(made[0]))
    assert worker.export_once() == 5
    assert [row["name"] for row in rows(database_url, "SELECT name FROM spans")] == ["good"]
    assert len(rows(database_url, "SELECT 1 FROM headrace.dead_letter")) == 4


def test_a_resource_without_spans_costs_nothing(queue: DiskQueue, make_worker: MakeWorker, database_url: str) -> None:
    """It may be meant for an experiment that does not exist; nothing of it would be stored there."""
    request = otlp.request()
    request.resource_spans.append(otlp.resource_spans(otlp.span("good")))
    envelope = pb.Envelope(
        destinations=[pb.Destination(experiment_name="never made"), pb.Destination(experiment_id="0")],
        request=request.SerializeToString(),
    )
    queue.offer(envelope.SerializeToString()).result(5)
    queue.offer(b"").result(5)  # an envelope of nothing
    assert make_worker().export_once() == 2
    assert rows(database_url, "SELECT name FROM spans") == [{"name": "good"}]
    assert rows(database_url, "SELECT 1 FROM headrace.dead_letter") == []


def test_a_run_that_cannot_be_linked_costs_no_span(queue: DiskQueue, make_worker: MakeWorker, database_url: str) -> None:
    for run_id in ("r" * 32, "too long for its column" * 3):
        envelope = pb.Envelope(
            destinations=[pb.Destination(experiment_id="0")],
            run_id=run_id,
            request=otlp.request(otlp.span()).SerializeToString(),
        )
        queue.offer(envelope.SerializeToString()).result(5)
    assert make_worker().export_once() == 2
    assert len(rows(database_url, "SELECT 1 FROM spans")) == 2
    assert rows(database_url, "SELECT destination_id FROM entity_associations") == [{"destination_id": "r" * 32}]
    assert rows(database_url, "SELECT 1 FROM headrace.dead_letter") == []


def test_an_experiment_that_is_gone_does_not_hold_up_the_queue(
    queue: DiskQueue, make_worker: MakeWorker, database_url: str
) -> None:
    """Its spans are set apart at once: looking for each of them by halving takes two writes a span."""
    offer(queue, *[otlp.span(f"lost{n}", bytes([n]) * 16) for n in range(100)], experiment="4711")
    offer(queue, otlp.span("good", bytes([7]) * 16), otlp.span("good"))
    offer(queue, *[otlp.span("lost") for n in range(100)], experiment="4712")
    writers: list[Interrupted] = []

    def opener(database: Database) -> Writer:
        writers.append(Interrupted(database, fails=0))
        return writers[0]

    assert make_worker(opener).export_once() == 3
    assert writers[0].calls <= 3
    assert [row["name"] for row in rows(database_url, "SELECT name FROM spans")] == ["good", "good"]
    found = rows(database_url, "SELECT reason, count(*) FROM headrace.dead_letter GROUP BY 1 ORDER BY 1")
    assert [row["count"] for row in found] == [100, 100]
    assert [row["reason"][-6:] for row in found] == [" 4711.", " 4712."]


class Interrupted:
    """The real writer, before whose n-th write Postgres goes away for a moment."""

    def __init__(self, database: Database, fails: int) -> None:
        self._writer = open_writer(database)
        self._fails = fails
        self.calls = 0

    def translate(self, deliveries: Sequence[Delivery], most: int | None = None) -> Translated[Any]:
        return self._writer.translate(deliveries, most)

    def write(self, translated: Translated[Any]) -> Repairs:
        self.calls += 1
        if self.calls == self._fails:
            raise DatabaseUnavailable("away")
        return self._writer.write(translated)

    def look_again(self) -> None:
        """The tables are as they were."""

    def rehearse(self, delivery: Delivery, seconds: float) -> None:
        self._writer.rehearse(delivery, seconds)


def test_postgres_away_in_the_middle_of_a_bisection(queue: DiskQueue, make_worker: MakeWorker, database_url: str) -> None:
    """At each of its steps once: nothing is lost, nothing is there twice, and nothing is counted twice."""
    refuse(database_url, "poison")
    lettered, written = count("headrace_spans_dead_lettered_total"), count("headrace_spans_written_total")
    fails, letters, spans = 1, 0, 0
    while True:
        good = [otlp.span(f"good{n}", trace_id=bytes([fails, n // 3]) * 8) for n in range(9)]
        offer(queue, *good[:4], otlp.span("poison"))
        offer(queue, *good[4:], otlp.span("poison"))
        writers: list[Interrupted] = []

        def opener(database: Database, writers: list[Interrupted] = writers, fails: int = fails) -> Writer:
            writers.append(Interrupted(database, fails))
            return writers[0]

        assert make_worker(opener).export_once() == 2
        letters, spans = letters + 2, spans + 9
        assert len(rows(database_url, "SELECT 1 FROM headrace.dead_letter")) == letters
        assert len(rows(database_url, "SELECT 1 FROM spans")) == spans
        if writers[0].calls < fails:  # it never came to that step
            break
        fails += 1
    assert fails > 8
    assert count("headrace_spans_dead_lettered_total") - lettered == letters
    assert count("headrace_spans_written_total") - written == spans


def test_an_unreadable_envelope_is_a_dead_letter(queue: DiskQueue, make_worker: MakeWorker, database_url: str) -> None:
    queue.offer(b"\xff\xff").result(5)
    offer(queue, otlp.span())
    make_worker().export_once()
    assert queue.drain(5)
    (letter,) = rows(database_url, "SELECT * FROM headrace.dead_letter")
    assert letter["envelope"] == b"\xff\xff"
    assert len(rows(database_url, "SELECT 1 FROM spans")) == 1


def test_while_postgres_is_away_the_batch_is_kept(queue: DiskQueue, make_worker: MakeWorker) -> None:
    writer = FailingWriter()
    writer.away = 2
    offer(queue, otlp.span("patient"))
    assert make_worker(lambda _: writer).export_once() == 1
    assert writer.calls == 3
    assert writer.written == ["patient"]


def test_a_stop_gives_the_batch_back(queue: DiskQueue, make_worker: MakeWorker) -> None:
    writer = FailingWriter()
    writer.away = 1_000_000
    offer(queue, otlp.span())
    worker = make_worker(lambda _: writer)
    worker.start()
    worker.stop()
    assert queue.size().items == 1


def test_writing_twice_changes_nothing(queue: DiskQueue, make_worker: MakeWorker, database_url: str) -> None:
    span = otlp.span(attrs={"user.id": "u", "session.id": "s"})
    tables = ("trace_info", "spans", "trace_tags", "trace_request_metadata")
    worker = make_worker()
    seen = []
    for _ in range(2):
        offer(queue, span)
        worker.export_once()
        content = {table: rows(database_url, f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables}
        for row in content["trace_info"]:
            row.pop("db_payload_generation")  # MLflow counts writes here
        seen.append(content)
    assert seen[0] == seen[1]


def slow(url: str, milliseconds: int) -> None:
    """Makes each span take so long, and Postgres lose its patience after 300 ms a statement."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            f"CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep({milliseconds / 1000});"
            " RETURN NEW; END $$"
        )
        connection.execute("CREATE TRIGGER wait BEFORE INSERT ON spans FOR EACH ROW EXECUTE FUNCTION wait()")
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET statement_timeout = 300")


def test_what_takes_longer_than_the_statement_timeout_is_written_in_halves(
    queue: DiskQueue, make_worker: MakeWorker, database_url: str
) -> None:
    slow(database_url, 20)
    offer(queue, *(otlp.span(f"one {n}") for n in range(20)))
    offer(queue, *(otlp.span(f"two {n}") for n in range(20)))
    assert make_worker().export_once() == 2
    assert len(rows(database_url, "SELECT 1 FROM spans")) == 40
    assert rows(database_url, "SELECT 1 FROM headrace.dead_letter") == []


def test_what_no_half_of_it_can_meet_waits(database: Database, database_url: str) -> None:
    slow(database_url, 400)
    exporter = Exporter(database, Experiments(database, create=False, cache_seconds=60), {TRACES: open_writer})
    envelope = pb.Envelope(
        destinations=[pb.Destination(experiment_id="0")], request=otlp.request(otlp.span()).SerializeToString()
    )
    with pytest.raises(DatabaseUnavailable, match="57014"):
        Export(exporter, [envelope.SerializeToString()]).run()


def test_a_span_that_breaks_its_connection_costs_one_span(queue: DiskQueue, make_worker: MakeWorker, database_url: str) -> None:
    """Whatever it does to Postgres: here a trigger ends the backend that writes it."""
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "CREATE FUNCTION break() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.name = 'poison' THEN"
            " PERFORM pg_terminate_backend(pg_backend_pid()); END IF; RETURN NEW; END $$"
        )
        connection.execute("CREATE TRIGGER break BEFORE INSERT OR UPDATE ON spans FOR EACH ROW EXECUTE FUNCTION break()")
    offer(queue, *(otlp.span(f"good{n}") for n in range(9)), otlp.span("poison"))
    offer(queue, otlp.span("good9"))
    assert make_worker().export_once() == 2
    assert len(rows(database_url, "SELECT 1 FROM spans")) == 10
    assert rows(database_url, "SELECT 1 FROM trace_info WHERE request_preview = 'rehearsal'") == []
    (letter,) = rows(database_url, "SELECT reason, envelope FROM headrace.dead_letter")
    assert "12 times in a row" in letter["reason"]
    assert [span.name for span in spans_of(Delivery.from_envelope(letter["envelope"]).request)] == ["poison"]


def test_a_span_that_no_row_can_hold_is_known_by_its_size(queue: DiskQueue, database: Database, config: Config) -> None:
    """Nothing of it is built or sent; the others of its request are written."""
    experiments = Experiments(database, create=False, cache_seconds=60)
    worker = Worker(config, queue, database, Exporter(database, experiments, {TRACES: open_writer}, max_write_bytes=1 << 20))
    offer(queue, otlp.span("small"), otlp.span("large", attrs={"a": "x" * (3 << 20)}), otlp.span("also small"))
    assert worker.export_once() == 1
    with database.begin() as connection:
        names = connection.exec_driver_sql("SELECT name FROM spans ORDER BY name").scalars().all()
        (reason,) = connection.exec_driver_sql("SELECT reason FROM headrace.dead_letter").scalars().all()
    assert names == ["also small", "small"]
    assert "HEADRACE_MAX_WRITE_BYTES" in reason


def test_a_batch_that_would_be_too_large_is_written_in_parts(queue: DiskQueue, database: Database, config: Config) -> None:
    experiments = Experiments(database, create=False, cache_seconds=60)
    worker = Worker(config, queue, database, Exporter(database, experiments, {TRACES: open_writer}, max_write_bytes=1 << 20))
    offer(queue, *(otlp.span(attrs={"a": "x" * 400_000}) for _ in range(8)))
    split = count("headrace_batches_split_total")
    assert worker.export_once() == 1
    assert count("headrace_batches_split_total") - split == 7
    with database.begin() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM spans").scalar() == 8


def test_what_a_client_sent_is_not_in_the_reason(queue: DiskQueue, make_worker: MakeWorker, database_url: str) -> None:
    refuse(database_url, "poison")
    offer(queue, otlp.span("poison", attrs={"card": "4111 1111 1111 1111"}))
    make_worker().export_once()
    (letter,) = rows(database_url, "SELECT reason FROM headrace.dead_letter")
    assert "no_poison" in letter["reason"]
    assert "4111" not in letter["reason"]
