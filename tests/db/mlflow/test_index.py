"""The index by which traces are found: the same in any order and any batches, and nothing counts twice."""

import itertools
import random
import threading
from typing import Any

import pytest
from conftest import rows
from indexing import TABLES, TRACE, Sent, edges, index, shop, write
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.mlflow.write.bulk import BulkWriter
from headrace.mlflow.write.prune import prune_index
from headrace.mlflow.write.statements import transaction
from headrace.store.database import Database
from otlp import SECOND, START, attributes, request, resource_spans, span

SHOP = [("pay", "bank", 1, 0, 2 * SECOND), ("web", "pay", 1, 1, 5 * SECOND)]


def test_in_any_order_and_any_batches_the_same(new_database: Any) -> None:
    wanted = None
    chance = random.Random(1)
    for order in chance.sample(list(itertools.permutations(range(4))), 5):
        url = new_database()
        database = Database(url)
        parts = [shop()[number] for number in order]
        cut = chance.randrange(5)
        for batch in (parts[:cut], parts[cut:], parts[:2]):  # the last of them once more
            write(database, *batch)
        database.close()
        assert edges(url) == SHOP
        found = index(url)
        assert wanted in (None, found)
        wanted = found
    assert wanted is not None
    assert wanted["waiting_call"] == []
    assert [row["service"] for row in wanted["trace_service"]] == ["bank", "pay", "web"]


def test_what_is_written_again_counts_nothing_again(database: Database, database_url: str) -> None:
    for _ in range(3):
        write(database, *shop())
    assert edges(database_url) == SHOP


def test_a_call_waits_for_its_caller(database: Database, database_url: str) -> None:
    parts = shop()
    write(database, parts[1])
    assert edges(database_url) == []
    assert [row["service"] for row in rows(database_url, "SELECT * FROM headrace.waiting_call")] == ["pay"]
    write(database, parts[1])  # once more
    write(database, parts[0])
    assert edges(database_url) == [SHOP[1]]
    assert rows(database_url, "SELECT * FROM headrace.waiting_call") == []


def test_a_span_without_an_end_is_counted_once_its_whole_copy_comes(database: Database, database_url: str) -> None:
    whole = span("charge", TRACE, b"\2" * 8, b"\1" * 8, START, START + 5 * SECOND)
    running = span("charge", TRACE, b"\2" * 8, b"\1" * 8, START, 0)
    write(database, shop()[0])
    for sent, expected in ((running, []), (whole, 1), (running, 1), (whole, 1)):
        write(database, (0, request(sent, service="pay")))
        assert edges(database_url) == (expected and [("web", "pay", 1, 0, 5 * SECOND)])


def test_what_an_event_says_in_the_words_of_the_note_makes_no_service(database: Database, database_url: str) -> None:
    write(database, (0, request(span("x"), service="liar")))
    (liar,) = rows(database_url, "SELECT digest FROM headrace.origin_service")
    event = Span.Event(name="e", attributes=attributes({"otlp": {"origin": liar["digest"]}}))
    root = span("buy", TRACE, b"\1" * 8, events=[event])
    write(database, (0, request(root, service="web")))
    write(database, shop()[1])
    assert [edge[:2] for edge in edges(database_url)] == [("web", "pay")]


def test_names_of_any_length_and_kind(database: Database, database_url: str) -> None:
    long = "s" * 10_000
    sent = resource_spans(span("n" * 10_000, TRACE, b"\1" * 8), service=long)
    other = resource_spans(span("%s {x} \U0001f600", TRACE, b"\2" * 8, b"\1" * 8), service="é'\"\\")
    none = resource_spans(span("x", TRACE, b"\3" * 8, b"\1" * 8), service=None)
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    write(database, (0, ExportTraceServiceRequest(resource_spans=[sent, other, none])))
    found = rows(database_url, "SELECT service, name FROM headrace.operation ORDER BY length(service)")
    assert [(row["service"], row["name"]) for row in found] == [("é'\"\\", "%s {x} \U0001f600"), ("s" * 500, "n" * 500)]
    assert [edge[:2] for edge in edges(database_url)] == [("s" * 500, "é'\"\\")]


def test_names_that_are_stored_today_are_not_stored_again(database: Database, database_url: str) -> None:
    writer = BulkWriter(database, enrich=True)
    write(database, *shop(), writer=writer)
    with transaction(database) as (_, cursor):
        cursor.execute("DELETE FROM headrace.operation")
    write(database, *shop(), writer=writer)
    assert rows(database_url, "SELECT * FROM headrace.operation") == []


def test_many_writers_at_once(database: Database, database_url: str) -> None:
    """The same edges from several threads, in any order: no deadlock, and no call is lost."""

    def trace(number: int) -> list[Sent]:
        trace_id = number.to_bytes(16, "big")
        names = ["a", "b", "c", "d"]
        random.Random(number).shuffle(names)
        spans = [
            span("x", trace_id, bytes([each + 1]) * 8, bytes([each]) * 8 if each else b"", START, START + 1)
            for each in range(4)
        ]
        return [(0, request(each, service=name)) for each, name in zip(spans, names, strict=True)]

    failed: list[BaseException] = []

    def work(first: int) -> None:
        try:
            for number in range(first, first + 6):
                write(database, *trace(number))
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=work, args=(1 + 6 * each,)) for each in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert sum(edge[2] for edge in edges(database_url)) == 18 * 3


@pytest.mark.parametrize("limit", [2, 1000])
def test_what_is_old_or_gone_is_deleted(database: Database, database_url: str, limit: int) -> None:
    write(database, *shop())
    write(database, (0, request(span("orphan", b"\2" * 16, b"\1" * 8, b"\7" * 8), service="web")))
    assert prune_index(database, days=36500, limit=limit) == 0
    with transaction(database) as (_, cursor):
        cursor.execute("DELETE FROM trace_info WHERE request_id = %s", [f"tr-{TRACE.hex()}"])
        cursor.execute("UPDATE headrace.waiting_call SET noted_on = current_date - 8")
        cursor.execute("UPDATE headrace.operation SET seen_on = current_date - 31 WHERE service = 'bank'")
        cursor.execute("UPDATE headrace.edge SET hour = hour + 1000000 WHERE callee = 'bank'")  # a clock that goes wrong
        cursor.execute("UPDATE headrace.edge SET hour = 9 WHERE callee = 'pay'")
        cursor.execute("UPDATE headrace.edge_day SET day = CASE callee WHEN 'bank' THEN day + 40000 ELSE 0 END")
    while prune_index(database, days=30, limit=limit):
        pass
    assert edges(database_url) == []
    assert rows(database_url, "SELECT * FROM headrace.waiting_call") == []
    assert {row["service"] for row in rows(database_url, "SELECT service FROM headrace.operation")} == {"web", "pay"}
    assert [row["service"] for row in rows(database_url, "SELECT service FROM headrace.trace_service")] == ["web"]


def test_a_kind_and_a_service_s_name_of_any_sort(database: Database, database_url: str) -> None:
    """No column is too narrow for them: one such span would make the whole batch fail."""
    odd = span("x", TRACE, b"\1" * 8)
    odd.kind = 2**31 - 1  # type: ignore[assignment]
    negative = span("x", TRACE, b"\2" * 8)
    negative.kind = -1  # type: ignore[assignment]
    sent = request(odd, negative, span("x", TRACE, b"\3" * 8, kind=3))
    sent.resource_spans[0].resource.CopyFrom(Resource(attributes=attributes({"service.name": 7})))
    nul = request(span("y", b"\2" * 16, b"\1" * 8, kind=5), service="a\0b")
    write(database, (0, sent), (0, nul))
    found = rows(database_url, "SELECT service, name, kind FROM headrace.operation ORDER BY service, kind")
    assert [tuple(row.values()) for row in found] == [("7", "x", 0), ("7", "x", 3), ("a\ufffdb", "y", 5)]


def test_a_copy_that_does_not_stand_counts_nothing(database: Database, database_url: str) -> None:
    """In one batch, in two requests or in one: the copy without an end leaves neither its service nor its kind."""
    root, whole = span("buy", TRACE, b"\1" * 8), span("charge", TRACE, b"\2" * 8, b"\1" * 8, START, START + SECOND, kind=2)
    running = span("charge", TRACE, b"\2" * 8, b"\1" * 8, START, 0)
    write(database, (0, request(root, service="web")), (0, request(whole, service="pay")), (0, request(running, service="old")))
    write(database, (0, request(running, service="old")))
    assert edges(database_url) == [("web", "pay", 1, 0, SECOND)]
    assert {row["service"] for row in rows(database_url, "SELECT service FROM headrace.operation")} == {"web", "pay"}


def test_without_enrichment_calls_within_a_batch_are_counted(database: Database, database_url: str) -> None:
    for _ in range(2):
        write(database, *shop(), writer=BulkWriter(database, enrich=False))
    assert edges(database_url) == SHOP


def test_a_rehearsal_leaves_no_index_and_remembers_none(database: Database, database_url: str) -> None:
    writer = BulkWriter(database, enrich=True)
    ((_, sent), *_) = shop()
    writer.rehearse(Delivery(sent, (pb.Destination(experiment_id="0"),), "", 0, ""), 0)
    assert rows(database_url, "SELECT * FROM headrace.operation") == []
    write(database, *shop(), writer=writer)
    assert {row["service"] for row in rows(database_url, "SELECT * FROM headrace.operation")} == {"bank", "pay", "web"}
    assert len(rows(database_url, "SELECT * FROM headrace.origin_service")) == 3


def test_turned_off_it_keeps_nothing(database: Database, database_url: str) -> None:
    for _ in range(2):
        write(database, *shop(), writer=BulkWriter(database, enrich=True, index=False))
    assert edges(database_url) == []
    assert index(database_url) == {table: [] for table in TABLES}
    assert len(rows(database_url, "SELECT * FROM spans")) == 4
