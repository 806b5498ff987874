"""A span that was sent while it still ran, and comes again whole: the whole one stands, in any order and in any batches."""

import difflib
import itertools
import json
import random
from collections import Counter

import pytest
from conftest import rows
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import otlp
from db.mlflow.groups import cut
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.mlflow.text import Repairs
from headrace.mlflow.write.bulk import BulkWriter
from headrace.store.database import Database

ROOT, CHILD = b"r" * 8, b"c" * 8
USAGE = "gen_ai.usage.input_tokens"
RESOURCE = {"running": {"region": "a"}, "whole": {"region": "a", "zone": "b"}}
Piece = tuple[str, Span]
"""What a service sends at once: whether it is a running span or a whole one, and the span."""


def pieces(trace_id: bytes) -> list[Piece]:
    """A root and a child, each while it runs and whole, and a span that is only sent whole.

    Of session, user and tags a running span says what the whole one says, or less: what only it says may stay.
    """
    begun = {"session.id": "t", USAGE: 900, "mlflow.spanInputs": "half", "mlflow.traceTag.team": "x"}
    ended = begun | {"user.id": "z", USAGE: 5, "mlflow.spanInputs": "question", "mlflow.spanOutputs": "answer"}
    return [
        ("running", otlp.span("root, running", trace_id, ROOT, end=0, attrs=begun)),
        ("whole", otlp.span("root", trace_id, ROOT, attrs=ended)),
        (
            "running",
            otlp.span("child, running", trace_id, CHILD, ROOT, otlp.START + 5, otlp.START, {USAGE: 70}),
        ),
        ("whole", otlp.span("child", trace_id, CHILD, ROOT, otlp.START + 5, otlp.START + 20, {USAGE: 2, "user.id": "a"})),
        ("whole", otlp.span("other", trace_id, b"o" * 8, ROOT)),
    ]


def write(writer: BulkWriter, batches: list[list[list[Piece]]]) -> Repairs:
    """Batches of requests of pieces."""
    repaired: Repairs = Counter()
    for batch in batches:
        deliveries = []
        for request in batch:
            parts = [otlp.resource_spans(span, **RESOURCE[kind]) for kind, span in request]
            message = otlp.request()
            del message.resource_spans[:]
            message.resource_spans.extend(parts)
            destinations = (pb.Destination(experiment_id="0", routed_by=pb.ROUTED_BY_DEFAULT),) * len(parts)
            deliveries.append(Delivery(message, destinations, "", otlp.START, ""))
        repaired += writer.write(writer.translate(deliveries))
    return repaired


def stored(url: str, trace_id: bytes) -> str:
    """Everything that the tables say of the trace, with its id blotted out."""
    id_ = f"tr-{trace_id.hex()}"
    found = [
        rows(url, "SELECT * FROM trace_info WHERE request_id = %s", id_),
        rows(url, "SELECT key, value FROM trace_tags WHERE request_id = %s ORDER BY key", id_),
        rows(url, "SELECT key, value FROM trace_request_metadata WHERE request_id = %s ORDER BY key", id_),
        rows(url, "SELECT * FROM spans WHERE trace_id = %s ORDER BY span_id", id_),
    ]
    del found[0][0]["db_payload_generation"]  # it counts requests
    for span in found[3]:
        content = json.loads(span["content"])
        span["content"] = {key: content[key] for key in ("name", "end_time_unix_nano", "otlp")} | content["attributes"]
    return json.dumps(found, default=str, indent=1).replace(trace_id.hex(), "…")


def test_any_order_in_any_batches_makes_the_same_trace(database: Database, database_url: str) -> None:
    writer = BulkWriter(database, enrich=True)
    chance = random.Random(7)
    results: dict[str, int] = {}
    orders = list(itertools.permutations(range(5)))
    chance.shuffle(orders)
    for number, order in enumerate(orders[:60], start=1):
        trace_id = number.to_bytes(16, "big")
        sent = [pieces(trace_id)[place] for place in order]
        again = chance.sample([piece for piece in sent if piece[0] == "whole"], number % 2)
        write(writer, cut(cut([*sent, *again], chance), chance))
        results.setdefault(stored(database_url, trace_id), number)
    first, last = (sorted(results)[place].splitlines() for place in (0, -1))
    assert len(results) == 1, "\n".join(difflib.unified_diff(first, last, n=1))
    (trace,), _, _, spans = json.loads(results.popitem()[0])
    assert (trace["request_preview"], trace["execution_time_ms"], trace["session_id"]) == ("question", 1000, "t")
    assert [span["name"] for span in spans] == ["child", "other", "root"]
    assert [span["duration_ns"] for span in spans] == [15, otlp.SECOND, otlp.SECOND]
    assert trace["input_tokens"] == 5


@pytest.mark.parametrize("end", [0, otlp.START - 1, 2**64 - 1])
@pytest.mark.parametrize("stored_by", ["us", "MLflow"])
def test_what_is_there_without_an_end_gives_way(database: Database, database_url: str, end: int, stored_by: str) -> None:
    running = otlp.span("running", b"t" * 16, ROOT, end=end)
    if stored_by == "MLflow" and end > 2**63:
        end = 0  # MLflow cannot store it
    write(BulkWriter(database, enrich=stored_by == "us"), [[[("running", running)]]])
    writer = BulkWriter(database, enrich=True)
    write(writer, [[[("running", otlp.span("running still", b"t" * 16, ROOT, end=0))]]])
    write(writer, [[[("whole", otlp.span("whole", b"t" * 16, ROOT))]]])
    repaired = write(writer, [[[("running", running)]], [[("running", running)], [("running", running)]]])
    (span,) = rows(database_url, "SELECT name, duration_ns FROM spans")
    assert (span["name"], span["duration_ns"]) == ("whole", otlp.SECOND)
    assert repaired["unfinished_superseded"] == 3


def test_a_whole_span_of_no_length_stands_too(database: Database, database_url: str) -> None:
    writer = BulkWriter(database, enrich=True)
    write(writer, [[[("whole", otlp.span("whole", b"t" * 16, ROOT, end=otlp.START))]]])
    write(writer, [[[("running", otlp.span("running", b"t" * 16, ROOT, end=0))]]])
    assert [row["name"] for row in rows(database_url, "SELECT name FROM spans")] == ["whole"]


def test_a_killed_process_ruins_no_average(database: Database, database_url: str) -> None:
    writer = BulkWriter(database, enrich=True)
    whole = [("whole", otlp.span("ok", bytes([n]) * 16, end=otlp.START + otlp.SECOND // 5)) for n in range(1, 21)]
    odd = [
        ("running", otlp.span("killed", bytes([n]) * 16, start=start, end=end))
        for n, (start, end) in enumerate(
            ((otlp.START, 0), (otlp.START, otlp.START - otlp.SECOND), (0, otlp.START), (0, 0)), start=30
        )
    ]
    write(writer, [[[piece]] for piece in (*whole, *odd)])
    (figures,) = rows(
        database_url,
        "SELECT min(execution_time_ms) AS shortest, avg(execution_time_ms)::float8 AS mean, min(timestamp_ms) AS earliest, "
        "(SELECT min(duration_ns) FROM spans) AS span FROM trace_info",
    )
    assert (figures["shortest"], figures["span"]) == (0, 0)
    assert 150 < figures["mean"] <= 200
    assert figures["earliest"] == otlp.START // 1_000_000  # nobody has sent it in 1970


def test_without_enrichment_what_comes_last_stands_as_in_mlflow(database: Database, database_url: str) -> None:
    writer = BulkWriter(database, enrich=False)
    write(
        writer,
        [[[("whole", otlp.span("whole", b"t" * 16, ROOT))]], [[("running", otlp.span("running", b"t" * 16, ROOT, end=0))]]],
    )
    (span,) = rows(database_url, "SELECT name, end_time_unix_nano FROM spans")
    assert (span["name"], span["end_time_unix_nano"]) == ("running", 0)


def test_many_pieces_without_an_end_are_no_work_in_the_square_of_their_number(database: Database, database_url: str) -> None:
    spans = [otlp.span(str(n), b"t" * 16, n.to_bytes(8, "big"), ROOT, end=0) for n in range(1, 3001)]
    writer = BulkWriter(database, enrich=True)
    write(writer, [[[("running", span)] for span in spans]])
    write(writer, [[[("running", span)] for span in spans]])
    (count,) = rows(database_url, "SELECT count(*) AS spans FROM spans")
    assert count["spans"] == 3000
