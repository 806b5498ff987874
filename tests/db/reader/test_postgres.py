"""What the Postgres reader has beyond its contract: equality with what was sent, MLflow's own traces, limits, no lock."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from conftest import rows
from indexing import write
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from parity.corpus import corpus
from parity.sent import by_span

from headrace.config import Config, load
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.errors import StartError, StatementTimeout
from headrace.mlflow.write.bulk import BulkWriter
from headrace.mlflow.write.statements import transaction
from headrace.otlp.attributes import to_text
from headrace.reader import Query
from headrace.reader.connections import ReadConnections
from headrace.reader.postgres import PostgresReader
from headrace.store.database import Database
from headrace.telemetry.metrics import READS_CUT
from otlp import SECOND, START, attributes, request, span, validate

TRACE = b"\1" * 16
_HOUR = 3_600_000_000_000


@pytest.fixture
def reader(database_url: str) -> Iterator[PostgresReader]:
    """One of this test's database."""
    made = PostgresReader(database_url, load())
    yield made
    made.close()


def limited(url: str, **settings: Any) -> PostgresReader:
    return PostgresReader(url, Config.model_construct(**load().model_dump() | settings))


def cut(what: str) -> float:
    return READS_CUT.labels(what)._value.get()  # type: ignore[no-any-return]


def test_nothing_of_the_corpus_is_lost(database: Database, reader: PostgresReader) -> None:
    """Resources, scopes, events, links, ids, integers: trace by trace, through the reader."""
    everything = TracesData()
    deliveries = []
    for exchange in [exchange for scenario in corpus() for exchange in scenario.exchanges][::5]:
        sent = ExportTraceServiceRequest.FromString(exchange.request.SerializeToString())
        validate(sent)
        everything.resource_spans.extend(sent.resource_spans)
        destinations = tuple(pb.Destination(experiment_id="0") for _ in sent.resource_spans)
        deliveries.append(Delivery(sent, destinations, "", 0, ""))
    writer = BulkWriter(database, enrich=True)
    writer.write(writer.translate(deliveries))
    expected = by_span(everything)
    found = TracesData()
    for trace_id in {trace_id for trace_id, _ in expected}:
        read = reader.trace(trace_id.hex())
        assert read is not None
        assert read.complete
        found.resource_spans.extend(read.data.resource_spans)
    assert by_span(found) == expected
    assert len(expected) > 500


def test_traces_of_mlflow_s_own_making(database: Database, database_url: str, reader: PostgresReader) -> None:
    """As its client and its endpoint write them; and content of which only the columns can be read."""
    from mlflow.entities import Span as MlflowSpan
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    root = span("buy", TRACE, b"\1" * 8, attrs={"n": 2**60, "text": "plain", "json": '{"a": 1}', "list": [1, "x"]})
    child = span("charge", TRACE, b"\2" * 8, b"\1" * 8)
    odd = span("odd", TRACE, b"\3" * 8, b"\1" * 8)
    store = SqlAlchemyStore(str(database.engine.url.render_as_string(hide_password=False)), "mlflow-artifacts:/")  # type: ignore[no-untyped-call]
    store.log_spans("0", [MlflowSpan.from_otel_proto(each) for each in (root, child, odd)])
    store._dispose_engine()  # type: ignore[no-untyped-call]
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE spans SET content = %s WHERE name = 'odd'", ['{"name": [}'])
    read = reader.trace(TRACE.hex())
    assert read is not None
    (resource_spans,) = read.data.resource_spans
    assert resource_spans.resource.attributes[:] == attributes({"service.name": "mlflow"})
    found = {each.name: each for each in resource_spans.scope_spans[0].spans}
    assert {pair.key: pair.value.WhichOneof("value") for pair in found["buy"].attributes} == {
        "n": "int_value",
        "text": "string_value",
        "json": "kvlist_value",  # MLflow stores no difference
        "list": "array_value",
    }
    assert {pair.key: pair.value.int_value for pair in found["buy"].attributes}["n"] == 2**60
    for each in (child, odd):
        assert (found[each.name].span_id, found[each.name].parent_span_id) == (each.span_id, each.parent_span_id)
        assert found[each.name].end_time_unix_nano == each.end_time_unix_nano
    assert [each.trace_id for each in reader.search(Query(operation="charge")).found] == [TRACE.hex()]
    assert reader.search(Query(attributes={"n": str(2**60)})).found


def test_a_long_trace_is_cut_and_says_so(database: Database, database_url: str) -> None:
    write(database, (0, request(*(span(f"{n}", TRACE, start=START + n, attrs={"x": "y" * 1000}) for n in range(300)))))
    before = cut("trace")
    for settings in ({"read_max_rows": 100}, {"read_max_bytes": 200_000}):
        reader = limited(database_url, **settings)
        read = reader.trace(TRACE.hex())
        reader.close()
        assert read is not None
        assert not read.complete
        names = [each.name for each in read.data.resource_spans[0].scope_spans[0].spans]
        assert names == [str(n) for n in range(len(names))]  # the earliest
        assert 50 < len(names) <= 150
    assert cut("trace") == before + 2


@pytest.mark.parametrize("settings", [{"search_max_traces": 120}, {"read_max_bytes": 20_000}], ids=str)
def test_a_search_ends_at_its_limits(database: Database, database_url: str, settings: dict[str, int]) -> None:
    """Fractions are spelled in several ways, so that all spans with the key are read."""
    traces = (span("x", n.to_bytes(16, "big"), start=START + n * SECOND, attrs={"n": n / 2}) for n in range(1, 200))
    write(database, *((0, request(each)) for each in traces))
    reader, before = limited(database_url, **settings), cut("search")
    newest, oldest = (reader.search(Query(attributes={"n": n}, limit=1)) for n in ("99.5", "0.5"))
    reader.close()
    assert [each.start for each in newest.found] == [START + 199 * SECOND]
    assert newest.complete
    assert (oldest.found, oldest.complete) == ([], False)
    assert cut("search") == before + 1


_VALUES: list[Any] = [
    *(
        "plain",
        "a b",
        "/v1/7",
        "true",
        "7",
        "07",
        "7.0",
        "1e3",
        "1000.0",
        "nan",
        "",
        " ",
        "None",
        "[]",
        "{}",
        '"',
        "'",
        "\\",
        "\n",
    ),
    *("é", "\U0001f600", '{"a": 1}', "[1, 2]", '"plain"', '"', "b'x'", "a\\u0041", "x" * 3000),
    *(True, False, 7, -7, 0, 2**60, 7.0, 1e3, 1e-9, 1e22, -0.0, float("inf"), float("nan")),
    *(b"x", b"", b"\xff", [], ["a", 1, 2.5, None, True], {"a": "b"}, {"span": "x"}, None),
]


@pytest.mark.parametrize("place", ["span", "resource", "odd span"])
def test_each_attribute_is_found_by_its_text(database: Database, reader: PostgresReader, place: str) -> None:
    """However its row spells it. A span that has an odd value besides is stored coded."""
    by_text: dict[str, set[str]] = {}
    sent = []
    for number, value in enumerate(_VALUES, 1):
        more = {"odd": float("nan")} if place == "odd span" else {}
        own, shared = ({}, {"k": value}) if place == "resource" else ({"k": value, **more}, {})
        made = request(span("x", number.to_bytes(16, "big"), start=START + number, attrs={"key": "k", **own}))
        made.resource_spans[0].resource.attributes.extend(attributes(shared))
        by_text.setdefault(to_text(value), set()).add(f"{number:032x}")
        sent.append((0, made))
    write(database, *sent)
    for text, expected in by_text.items():
        found = reader.search(Query(attributes={"k": text}, limit=100)).found
        assert {each.trace_id for each in found} == expected, text


def test_hours_and_days_make_the_same_map(database: Database, reader: PostgresReader) -> None:
    """Whatever hours are asked for, the calls of these are counted, of each once."""
    hours = [*range(20, 28), *range(45, 51), 72, 96, 97, 120]
    for number, hour in enumerate(hours, 1):
        trace_id, start = number.to_bytes(16, "big"), (hour + 24 * 20_000) * _HOUR
        web = request(span("buy", trace_id, b"\1" * 8, start=start), service="web")
        write(database, (0, web), (0, request(span("pay", trace_id, b"\2" * 8, b"\1" * 8, start, start + 1), service="pay")))
    for since in range(18, 122, 3):
        for until in range(since - 1, 123, 5):
            found = reader.dependencies((since + 24 * 20_000) * _HOUR, (until + 24 * 20_000) * _HOUR)
            assert sum(each.calls for each in found) == sum(since <= hour <= until for hour in hours), (since, until)


def test_a_service_in_an_experiment_where_it_is_rare(database: Database, database_url: str) -> None:
    """A search by both looks from both sides, and says whether it has seen all."""
    many = [(0, request(span("x", n.to_bytes(16, "big"), start=START + n), service="web")) for n in range(10, 310)]
    rare = [(1, request(span("x", n.to_bytes(16, "big"), start=START - n), service="web")) for n in range(1, 4)]
    with transaction(database) as (_, cursor):
        cursor.execute(
            "INSERT INTO experiments (experiment_id, name, lifecycle_stage, workspace) VALUES (1, 'e', 'active', 'default')"
        )
    write(database, *many, *rare)
    reader = limited(database_url, search_max_traces=20)
    by_both = reader.search(Query(service="web", experiments=[1]))
    of_many = reader.search(Query(service="web", experiments=[0], operation="nothing"))
    reader.close()
    assert [int(each.trace_id, 16) for each in by_both.found] == [1, 2, 3]
    assert by_both.complete
    assert (of_many.found, of_many.complete) == ([], False)


def test_nothing_is_written_and_a_long_question_ends(database_url: str) -> None:
    connections = ReadConnections(database_url, Config.model_construct(**load().model_dump() | {"read_seconds": 0.05}))
    with pytest.raises(Exception, match="read-only"), connections.cursor() as cursor:
        cursor.execute("DELETE FROM spans")
    with pytest.raises(Exception, match="read-only"), connections.cursor() as cursor:
        cursor.execute("SELECT 1 FROM experiments FOR UPDATE")
    with pytest.raises(StatementTimeout), connections.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(20)")
    with connections.cursor() as cursor:  # the pool is none the worse
        cursor.execute("SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()")
        assert cursor.fetchall() == [("headrace reader",)]
    connections.close()


def test_reading_waits_for_no_writer(database: Database, database_url: str, reader: PostgresReader) -> None:
    """Each question is answered while another transaction holds all rows, and holds none itself."""
    write(database, (0, request(span("x", TRACE))))
    with psycopg.connect(database_url) as writing:
        writing.execute("UPDATE spans SET name = 'y'")
        writing.execute("UPDATE trace_info SET trace_name = 'y'")
        writing.execute("UPDATE headrace.operation SET name = 'y'")
        read = reader.trace(TRACE.hex())
        assert read is not None
        assert read.data.resource_spans[0].scope_spans[0].spans[0].name == "x"
        assert reader.search(Query(service="checkout", attributes={"none": "x"})).complete
        assert reader.services() == ["checkout"]
        assert reader.operations("checkout")[0].name == "x"
        assert reader.dependencies(0, START) == []
        held = "SELECT count(*) AS n FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE application_name = 'headrace reader'"
        assert rows(database_url, held) == [{"n": 0}]


def test_a_search_asks_for_what_an_index_answers(database: Database, database_url: str) -> None:
    """With many traces, no statement reads a whole table."""
    from headrace.reader.statements import OF_BOTH, OF_EXPERIMENTS, OF_SERVICE

    write(database, *((0, request(span("x", n.to_bytes(16, "big"), start=START + n))) for n in range(1, 400)))
    with psycopg.connect(database_url) as connection:
        connection.execute("ANALYZE headrace.trace_service; ANALYZE trace_info")
        for statement in (OF_SERVICE, OF_EXPERIMENTS, OF_BOTH):
            asked = {
                "service": "checkout",
                "since": START,
                "until": START + 10**12,
                "experiments": [0],
                "most": 5,
                "walked": 50,
            }
            plan = connection.execute(f"EXPLAIN (FORMAT JSON) {statement}", asked).fetchone()
            assert plan is not None
            text = json.dumps(plan[0])
            for table in ("trace_service", "trace_info"):
                assert f'"Seq Scan", "Parallel Aware": false, "Async Capable": false, "Relation Name": "{table}"' not in text


def test_threads_share_a_reader(database: Database, reader: PostgresReader) -> None:
    write(database, (0, request(span("x", TRACE))))
    failed: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(5):
                assert reader.trace(TRACE.hex()) is not None
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_tables_that_are_not_there_yet_are_named(database_url: str, reader: PostgresReader) -> None:
    """So `headrace console` ends with one sentence, and not at the first question."""
    reader.check()
    with psycopg.connect(database_url) as connection:
        connection.execute("DROP SCHEMA headrace CASCADE")
    with pytest.raises(StartError, match="no tables of this Headrace yet: start `headrace serve`"):
        reader.check()


def test_what_is_found_beyond_the_first_hundred(database: Database, reader: PostgresReader) -> None:
    """Also where some of these are of MLflow's oldest kind, whose ids are not OTLP's."""
    traces = [
        span(
            "old" if number < 2 else "new",
            (number + 1).to_bytes(16, "big"),
            b"\1" * 8,
            start=START + number,
            end=START + number,
        )
        for number in range(130)
    ]
    write(database, (0, request(*traces, service="web")))
    with transaction(database) as (_, cursor):
        cursor.execute("UPDATE trace_info SET timestamp_ms = timestamp_ms + 1 WHERE request_id > %s", [f"tr-{70:032x}"])
        cursor.execute(
            "INSERT INTO trace_info (request_id, experiment_id, timestamp_ms, status) "
            "SELECT 'oldest-' || number, 0, 4e12::bigint, 'OK' FROM generate_series(1, 5) AS number"
        )
    asking: list[dict[str, Any]] = [{}, {"service": "web"}]
    for asked in asking:
        result = reader.search(Query(operation="old", **asked))
        assert {each.trace_id for each in result.found} == {f"{1:032x}", f"{2:032x}"}
        assert result.complete
        assert len({each.trace_id for each in reader.search(Query(limit=130, **asked)).found}) == 130
