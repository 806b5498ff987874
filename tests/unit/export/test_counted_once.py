"""Accepted = written + dead-lettered + waiting: a batch is interrupted at each of its steps, and each span counts once."""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from counters import count
from fakes import MemoryQueue, ReadyExperiments

import otlp
from headrace.config import load
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.errors import DatabaseUnavailable, PermanentExportError, StatementTimeout, WriteBroke
from headrace.export.bisect import Export
from headrace.export.exporter import Exporter
from headrace.export.worker import Worker
from headrace.mlflow.write import Translated
from headrace.otlp.signals import TRACES
from headrace.otlp.spans import count_spans, spans_of
from headrace.queue import Item
from headrace.rejected import RejectedSpans
from headrace.store.database import Database

WRITTEN = "headrace_spans_written_total"
OUTAGE = DatabaseUnavailable("Postgres is away")


@dataclass
class OneRefuses:
    """A `Writer` that refuses some spans by name, and before whose n-th write Postgres goes away."""

    poison: tuple[str, ...] = ("poison",)
    fails_at: int = 0
    most_spans: int = 1000
    """A write of more takes longer than Postgres waits."""
    error: Exception = OUTAGE
    writes: int = 0
    written: list[str] = field(default_factory=list)

    def translate(self, deliveries: Sequence[Delivery], most: int | None = None) -> Translated[None]:
        return Translated(deliveries, None, Counter())

    def write(self, translated: Translated[None]) -> Counter[str]:
        self.writes += 1
        if self.writes == self.fails_at:
            raise self.error
        names = [span.name for delivery in translated.deliveries for span in spans_of(delivery.request)]
        if len(names) > self.most_spans:
            raise StatementTimeout("too slow")
        if found := set(names) & set(self.poison):
            raise PermanentExportError(f"refused: {found}")
        self.written += names
        return Counter()

    def look_again(self) -> None:
        """The tables are as they were."""

    def rehearse(self, delivery: Delivery, seconds: float) -> None:
        raise DatabaseUnavailable("Postgres is away")


def envelope(*names: str) -> bytes:
    return pb.Envelope(
        destinations=[pb.Destination(experiment_id="0")],
        request=otlp.request(*(otlp.span(name) for name in names)).SerializeToString(),
    ).SerializeToString()


BATCH = [
    envelope("a", "b", "poison", "c"),
    b"\xff no envelope",
    envelope("d"),
    envelope("poison", "e", "f", "g", "h"),
]
GOOD = sorted("abcdefgh")


def exporter_of(writer: OneRefuses) -> Exporter:
    database = Database("postgresql://nobody@127.0.0.1:1/none")  # never connected to
    exporter = Exporter(database, ReadyExperiments(), {TRACES: lambda _: writer})
    exporter.open()
    return exporter


def run_to_the_end(export: Export, waiting: int, before: float) -> list[str]:
    """Tries again until it is done. Returns the letters' reasons. At each stop every span is written or waits."""
    for _ in range(1000):
        try:
            letters = export.run()
        except DatabaseUnavailable:
            assert count(WRITTEN) - before <= waiting
        else:
            return [letter.reason for letter in letters]
    pytest.fail("it never ends")


@pytest.mark.parametrize("ahead", [False, True], ids=["translated later", "translated ahead"])
@pytest.mark.parametrize("most_spans", [1000, 3], ids=["no timeouts", "timeouts"])
@pytest.mark.parametrize(
    "error", [OUTAGE, WriteBroke("broke"), StatementTimeout("slow")], ids=lambda error: type(error).__name__
)
def test_an_interruption_at_any_step_counts_no_span_twice(ahead: bool, most_spans: int, error: Exception) -> None:
    step = 0
    while True:
        step += 1
        writer = OneRefuses(fails_at=step, most_spans=most_spans, error=error)
        export = Export(exporter_of(writer), BATCH)
        if ahead:
            export.translate()
        before = count(WRITTEN)
        reasons = run_to_the_end(export, len(GOOD), before)
        assert sorted(writer.written) == GOOD, f"interrupted at step {step}"
        assert count(WRITTEN) - before == len(GOOD)
        assert [reason[:7] for reason in reasons] == ["refused", "unreada", "refused"]
        if writer.writes < step:  # it never came to that step
            break
    assert step > 8


def test_a_finished_export_writes_nothing_more() -> None:
    """The letters could not be stored, say, and the worker comes again."""
    writer = OneRefuses()
    export = Export(exporter_of(writer), BATCH)
    letters, writes = export.run(), writer.writes
    assert export.run() == letters
    assert writer.writes == writes


def test_what_the_writer_explains_is_set_apart_once() -> None:
    """It names the trace: no halving, and an outage amid the rest of the batch finds its letters kept."""
    bad, good = otlp.span("bad", b"b" * 16), otlp.span("good", b"g" * 16)

    class Explains(OneRefuses):
        def write(self, translated: Translated[None]) -> Counter[str]:
            super().write(translated)
            if any(span.name == "bad" for delivery in translated.deliveries for span in spans_of(delivery.request)):
                self.written.clear()
                raise PermanentExportError("archived", [RejectedSpans(bad.trace_id, "0", "archived")])
            return Counter()

    data = pb.Envelope(
        destinations=[pb.Destination(experiment_id="0")], request=otlp.request(bad, good).SerializeToString()
    ).SerializeToString()
    writer = Explains(fails_at=2)
    export = Export(exporter_of(writer), [data])
    before = count(WRITTEN)
    assert run_to_the_end(export, 1, before) == ["archived"]
    assert writer.written == ["good"]
    assert writer.writes == 3
    assert count(WRITTEN) - before == 1


def test_accepted_is_written_and_waiting_under_an_outage() -> None:
    """The worker over the fake queue: after each attempt, what is written and what waits are all that was accepted."""
    queue = MemoryQueue()
    batch = [envelope("a", "b"), envelope("c", "d", "e"), envelope("f")]
    for data in batch:
        queue.offer(data).result(0)
    writer = OneRefuses(most_spans=2)  # so that it is written in parts
    exporter = exporter_of(writer)
    worker = Worker(load(), queue, Database("postgresql://nobody@127.0.0.1:1/none"), exporter)
    writer.fails_at = 3
    before = count(WRITTEN)
    assert worker.export_once(0) == 3
    assert queue.drain(0)
    assert sorted(writer.written) == list("abcdef")
    assert count(WRITTEN) - before == sum(count_spans(Delivery.from_envelope(data).request) for data in batch)


def test_a_worker_that_is_to_stop_asks_for_nothing_more() -> None:
    """A stop would wait for each claim, as long as a claim waits for an item."""

    class Idle(MemoryQueue):
        claims_after = 0
        claimed = threading.Event()

        def claim(self, max_bytes: int, timeout: float) -> list[Item]:
            self.claims_after += worker._stop.is_set()
            self.claimed.set()
            return super().claim(max_bytes, timeout)

    queue = Idle()
    worker = Worker(load(), queue, Database("postgresql://nobody@127.0.0.1:1/none"), exporter_of(OneRefuses()))
    worker.start()
    assert queue.claimed.wait(10)
    worker.stop()
    assert queue.claims_after == 0


def test_a_batch_that_cannot_be_settled_is_not_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue fails at the last step; the worker's next life finds the batch in hand, and written."""
    monkeypatch.setattr("headrace.export.worker._CLAIM_SECONDS", 0.01)

    class Unsettled(MemoryQueue):
        fails = True

        def settle(self, items: Sequence[Any]) -> None:
            if self.fails:
                self.fails = False
                raise MemoryError
            super().settle(items)

    queue = Unsettled()
    queue.offer(envelope("a")).result(0)
    writer = OneRefuses()
    worker = Worker(load(), queue, Database("postgresql://nobody@127.0.0.1:1/none"), exporter_of(writer))
    before = count(WRITTEN)
    worker.start()
    assert queue.drain(10)
    worker.stop()
    assert writer.written == ["a"]
    assert count(WRITTEN) - before == 1
