"""A trace of very many roots, or of very many spans with token usage, costs a further span little."""

import json
import time
from typing import Any

from conftest import rows
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import otlp
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.mlflow.write.bulk import BulkWriter
from headrace.store.database import Database

ROOTS = 20_000
SECONDS = 1.0
"""Generous: 0.03 s on an idle machine; 1.7 s, and ten times that on a busy one, where each root is read back."""


def write(writer: BulkWriter, *requests: list[Span], **resource: Any) -> float:
    """Writes requests in one batch; returns the seconds."""
    destination = pb.Destination(experiment_id="0", routed_by=pb.ROUTED_BY_DEFAULT)
    deliveries = [Delivery(otlp.request(*spans, **resource), (destination,), "", 0, "") for spans in requests]
    began = time.monotonic()
    writer.write(writer.translate(deliveries))
    return time.monotonic() - began


def test_one_more_span_of_a_trace_of_20_000_roots(database: Database, database_url: str) -> None:
    writer = BulkWriter(database, enrich=True)
    trace_id, first = b"t" * 16, b"\1" * 8
    said = {"session.id": "of the first", "mlflow.traceTag.team": "of the first"}
    others = {"session.id": "of another", "mlflow.traceTag.zone": "of another"}
    roots = [otlp.span("other", trace_id, start=otlp.START + n, attrs=others) for n in range(1, ROOTS)]
    write(writer, [otlp.span("first", trace_id, first, start=otlp.START, attrs=said), *roots])

    def trace() -> tuple[str, str, dict[str, str]]:
        (found,) = rows(database_url, "SELECT trace_name, session_id FROM trace_info")
        tags = {row["key"]: row["value"] for row in rows(database_url, "SELECT key, value FROM trace_tags")}
        return found["trace_name"], found["session_id"], {key: tags[key] for key in ("team", "zone") if key in tags}

    assert write(writer, [otlp.span("child", trace_id, parent=first)]) < SECONDS
    assert trace() == ("first", "of the first", {"team": "of the first", "zone": "of another"})
    assert write(writer, [otlp.span("root", trace_id, start=otlp.START + 5)]) < SECONDS
    assert trace()[0] == "first"
    # An earlier root that says less: what all others have ever said counts again.
    write(writer, [otlp.span("earliest", trace_id, start=otlp.START - 1)])
    assert trace() == ("earliest", "of another", {"team": "of the first", "zone": "of another"})


def test_when_the_root_that_decided_comes_again_as_a_child_the_next_one_decides(database: Database, database_url: str) -> None:
    """However many of the earliest come again at once."""
    writer = BulkWriter(database, enrich=True)
    trace_id = b"t" * 16
    ids = [bytes([n]) * 8 for n in range(1, 9)]
    write(writer, [otlp.span(f"root {n}", trace_id, id_, start=otlp.START + n) for n, id_ in enumerate(ids)])
    write(writer, [otlp.span("now a child", trace_id, id_, ids[7]) for id_ in ids[:5]])
    (found,) = rows(database_url, "SELECT trace_name FROM trace_info")
    assert found["trace_name"] == "root 5"


def test_totals_over_many_spans_are_made_once_for_all_requests_of_a_batch(database: Database, database_url: str) -> None:
    writer = BulkWriter(database, enrich=True)
    trace_id, root = b"t" * 16, b"\1" * 8
    usage = {"mlflow.chat.tokenUsage": json.dumps({"input_tokens": 1, "output_tokens": 2, "total_tokens": 3})}
    write(writer, [otlp.span("llm", trace_id, parent=root, attrs=usage) for _ in range(5000)])
    one = write(writer, [otlp.span("llm", trace_id, parent=root, attrs=usage)])
    many = write(writer, *([otlp.span("llm", trace_id, parent=root, attrs=usage)] for _ in range(100)))
    assert many < 20 * one
    (found,) = rows(database_url, "SELECT input_tokens, output_tokens FROM trace_info")
    assert (found["input_tokens"], found["output_tokens"]) == (5101, 10202)
