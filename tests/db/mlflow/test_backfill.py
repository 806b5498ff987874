"""The index of what was there before: equal to the index that the writer keeps, however often it is begun, and beside whom."""

import random
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from conftest import rows
from indexing import TRACE, Sent, edges, index, shop, write
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from parity.corpus import corpus

from headrace.config import load
from headrace.errors import StartError
from headrace.mlflow.write.backfill import Backfill
from headrace.mlflow.write.bulk import BulkWriter
from headrace.mlflow.write.statements import transaction
from headrace.reader import Operation, Query
from headrace.reader.postgres import PostgresReader
from headrace.store.database import Database
from otlp import SECOND, START, attributes, request, span, validate

NewDatabase = Callable[..., str]


def everything(url: str) -> tuple[Any, ...]:
    """The whole index."""
    return index(url), edges(url)


def kept(url: str, batches: list[list[Sent]], *, index: bool) -> None:
    """Writes batches."""
    database = Database(url)
    writer = BulkWriter(database, enrich=True, index=index)
    for batch in batches:
        write(database, *batch, writer=writer)
    database.close()


def fill(url: str, **choice: Any) -> tuple[int, int]:
    """The whole backfill. How many traces and spans it has covered."""
    with closing(Database(url)) as database:
        steps = list(Backfill(database, **choice).run())
    return sum(step.covered for step in steps), sum(step.spans for step in steps)


def many(traces: int, chance: random.Random) -> list[Sent]:
    """Requests of a span each: calls among services, some of which fail; some spans have no service, no end, or no parent."""
    found: list[Sent] = []
    for number in range(traces):
        trace_id = (number + 1).to_bytes(16, "big")
        at = START + chance.randrange(3) * 3600 * SECOND
        for each in range(chance.randrange(1, 7)):
            parent = bytes([chance.randrange(each + 1)]) * 8 if each else b""
            end = at + chance.randrange(SECOND) if chance.random() < 0.9 else 0
            failed: dict[str, Any] = {"status": Status(code=2)} if chance.random() < 0.2 else {}  # type: ignore[arg-type]
            sent = span(f"op{chance.randrange(4)}", trace_id, bytes([each + 1]) * 8, parent, at, end, kind=each % 6, **failed)
            found.append((0, request(sent, service=chance.choice(["web", "pay", "bank", "é'\"\\", None]))))
    return found


def test_the_corpus_of_parity(new_database: NewDatabase) -> None:
    batches = []
    for scenario in corpus():
        for exchange in scenario.exchanges:
            sent = ExportTraceServiceRequest.FromString(exchange.request.SerializeToString())
            validate(sent)
            batches.append((0, sent))
    live, filled = new_database(), new_database()
    kept(live, [batches], index=True)
    kept(filled, [batches], index=False)
    assert fill(filled)[0] > 300
    assert everything(filled) == everything(live)
    assert len(edges(live)) > 3
    assert fill(filled) == (0, 0)
    assert everything(filled) == everything(live)


@pytest.mark.parametrize("seed", range(2))
def test_broken_off_anywhere_and_begun_again(new_database: NewDatabase, seed: int) -> None:
    chance = random.Random(seed)
    sent = many(40, chance)
    chance.shuffle(sent)
    live, filled = new_database(), new_database()
    kept(live, [sent], index=True)
    kept(filled, [sent], index=False)
    database = Database(filled)
    for _ in range(6):
        steps = Backfill(database, spans=chance.randrange(1, 20)).run()
        for _ in range(chance.randrange(6)):
            next(steps)
    database.close()
    fill(filled)
    assert everything(filled) == everything(live)


def test_an_error_amid_a_transaction_leaves_nothing_half_done(database: Database, database_url: str) -> None:
    kept(database_url, [shop()], index=False)
    with transaction(database) as (_, cursor):
        cursor.execute("ALTER TABLE headrace.operation ADD CONSTRAINT never CHECK (service <> 'bank')")
    with pytest.raises(Exception, match="never"):
        fill(database_url)
    found, calls = everything(database_url)
    assert (set(map(len, found.values())), calls) == ({0}, [])
    with transaction(database) as (_, cursor):
        cursor.execute("ALTER TABLE headrace.operation DROP CONSTRAINT never")
    assert fill(database_url) == (1, 4)
    assert len(edges(database_url)) == 2


@pytest.mark.parametrize("seed", range(2))
def test_beside_writers_nothing_counts_twice(new_database: NewDatabase, seed: int) -> None:
    """Some spans come before the index; the others, of the same traces and of new ones, while it is filled."""
    chance = random.Random(seed)
    sent = many(60, chance)
    chance.shuffle(sent)
    live, filled = new_database(), new_database()
    kept(live, [sent], index=True)
    kept(filled, [sent[: len(sent) // 2]], index=False)
    later = [sent[begin : begin + 5] for begin in range(len(sent) // 3, len(sent), 5)]  # some of them a second time
    failed: list[BaseException] = []

    def run(work: Callable[[], Any]) -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)
            raise

    works: list[Callable[[], Any]] = [
        lambda: kept(filled, later[::2], index=True),
        lambda: kept(filled, later[1::2], index=True),
    ]
    works += [lambda: fill(filled, spans=3)] * 2
    threads = [threading.Thread(target=run, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    fill(filled)
    assert everything(filled) == everything(live)


def test_a_small_trace_is_covered_when_its_next_span_comes(database: Database, database_url: str) -> None:
    parts = shop()
    kept(database_url, [parts[:1] + parts[2:]], index=False)  # the second of four is missing
    assert everything(database_url)[1] == []
    write(database, parts[1])
    assert [edge[:3] for edge in edges(database_url)] == [("pay", "bank", 1), ("web", "pay", 1)]
    before = everything(database_url)
    write(database, *parts)
    assert fill(database_url) == (0, 0)
    assert everything(database_url) == before


def test_a_large_trace_waits_for_the_backfill(new_database: NewDatabase) -> None:
    spans = [span("n", TRACE, (number + 1).to_bytes(8, "big"), bytes(7) + b"\1" if number else b"") for number in range(1001)]
    first = (0, request(*spans, service="web"))
    second = (0, request(span("call", TRACE, b"\7" * 8, (9).to_bytes(8, "big"), START, START + SECOND), service="pay"))
    live, filled = new_database(), new_database()
    kept(live, [[first], [second]], index=True)
    kept(filled, [[first]], index=False)
    kept(filled, [[second]], index=True)
    assert everything(filled)[1] == []
    assert fill(filled) == (1, 1002)
    assert everything(filled) == everything(live)


def test_a_trace_that_somebody_writes_is_left_for_later(database: Database, database_url: str) -> None:
    kept(database_url, [shop(), [(0, request(span("x", b"\2" * 16, b"\1" * 8), service="other"))]], index=False)
    other = Database(database_url)
    with transaction(database) as (_, cursor):
        cursor.execute("SELECT 1 FROM trace_info WHERE request_id = %s FOR UPDATE", [f"tr-{TRACE.hex()}"])
        steps = Backfill(other, spans=1).run()
        while not next(steps).covered:
            pass
        assert [row["service"] for row in rows(database_url, "SELECT service FROM headrace.trace_service")] == ["other"]
    assert sum(step.covered for step in steps) == 1
    other.close()
    assert len(edges(database_url)) == 2


def test_only_an_experiment_or_since_a_time(database: Database, database_url: str) -> None:
    with transaction(database) as (_, cursor):
        cursor.execute(
            "INSERT INTO experiments (experiment_id, name, lifecycle_stage, workspace) VALUES (7, 'seven', 'active', 'default')"
        )
    late = START + 60 * SECOND
    for number, (experiment, at) in enumerate([(0, START), (0, late), (7, START)]):
        one = span("x", bytes([number + 1]) * 16, b"\1" * 8, start=at, end=at)
        kept(database_url, [[(experiment, request(one, service=f"s{number}"))]], index=False)
    choices: list[dict[str, Any]] = [{"since_ms": late // 1_000_000}, {"experiment": "seven"}, {"experiment": "7"}]
    covered = [fill(database_url, **choice)[0] for choice in (*choices, {"experiment": "0"}, {})]
    assert covered == [1, 1, 0, 1, 0]
    with pytest.raises(StartError, match="MLflow has no experiment 'eight'"):
        fill(database_url, experiment="eight")


def test_without_its_tables_it_says_so(new_database: NewDatabase, database: Database, database_url: str) -> None:
    with pytest.raises(StartError, match="no tables of MLflow's traces"):
        fill(new_database("template0"))
    with transaction(database) as (_, cursor):
        cursor.execute("DROP SCHEMA headrace CASCADE")
    with pytest.raises(StartError, match="no tables of the index yet"):
        fill(database_url)


def test_what_mlflow_has_written_is_found_by_service(database: Database, database_url: str) -> None:
    """Its spans name no service: the trace's tag does, or else it is MLflow's own."""
    for number, service in enumerate(["shop", None]):
        sent = request(span("train", bytes([number + 1]) * 16, b"\1" * 8, attrs={"k": number}), service=service)
        writer = BulkWriter(database, enrich=False, index=False)  # byte for byte what MLflow's own endpoint writes
        write(database, (0, sent), writer=writer)
    assert fill(database_url) == (2, 2)
    reader = PostgresReader(database_url, load())
    try:
        assert reader.services() == ["mlflow", "shop"]
        assert reader.operations("shop") == [Operation("train", 0)]
        for number, service in enumerate(["shop", "mlflow"]):
            for asked in ({}, {"operation": "train"}, {"attributes": {"k": str(number)}}):
                found = reader.search(Query(service=service, **asked)).found
                assert [each.trace_id[:2] for each in found] == [f"0{number + 1}"]
            read = reader.trace(f"0{number + 1}" * 16)
            assert read is not None
            assert [each.resource.attributes[:] for each in read.data.resource_spans] == [attributes({"service.name": service})]
        assert reader.dependencies(0, 2**63) == []
    finally:
        reader.close()
