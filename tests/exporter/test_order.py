"""With enrichment on, the same spans make the same trace whatever the order and the batches in which they come."""

import itertools
import json
import random
from typing import Any

import otlp
import psycopg
import pytest
from conftest import rows
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

from app.database import Database
from app.exporter import Delivery
from app.exporter.writer import BulkWriter
from app.queue import envelope_pb2 as pb

Part = tuple[str, pb.Destination, ResourceSpans]
"""The run id of the request, where a rule sends it, its spans."""


def usage(tokens: int, model: str = "gpt-4o-mini") -> dict[str, Any]:
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": model,
        "gen_ai.usage.input_tokens": tokens,
        "gen_ai.usage.output_tokens": tokens // 3,
    }


def parts_of(trace_id: bytes, experiments: dict[str, int]) -> list[Part]:
    """One trace of four services in five requests: each says other things of the trace."""
    root, score, agent = (bytes([n]) * 8 for n in (1, 2, 3))
    start = otlp.START

    def part(service: str, *spans: Span, **resource: Any) -> Part:
        destination = pb.Destination(experiment_id=str(experiments[service]), routed_by=pb.ROUTED_BY_DEFAULT)
        return "", destination, otlp.resource_spans(*spans, service=service, **resource)

    checkout = {"http.request.method": "POST", "url.path": "/checkout", "session.id": "of the root"}
    return [
        part("checkout", otlp.span("POST /checkout", trace_id, root, b"", start, start + 900, checkout), region="eu", tier="1"),
        part("scorer", otlp.span("score", trace_id, score, root, start + 10, start + 800, {"user.id": "zoe"}), region="us",
             zone="b"),
        part("agent", otlp.span("agent", trace_id, agent, score, start + 5, start + 850, usage(300)), region="ap", zone="a"),
        part("agent", otlp.span("llm", trace_id, b"4" * 8, agent, start - 5_000_000, start + 700, usage(100))),
        part("model", otlp.span("llm 2", trace_id, b"5" * 8, score, start, start + 9_000_000_000,
                                usage(77) | {"user.id": "adam", "session.id": "z"}), zone="c"),
    ]  # fmt: skip


def write(writer: BulkWriter, batches: list[list[Part]]) -> None:
    for batch in batches:
        requests = []
        for run_id, destination, resource_spans in batch:
            request = otlp.request()
            request.resource_spans[0].CopyFrom(resource_spans)
            requests.append(Delivery(request, (destination,), run_id, 0, ""))
        writer.write(writer.translate(requests))


def stored(url: str, trace_id: bytes) -> str:
    """Everything that the tables say of the trace, with its id blotted out."""
    id_ = f"tr-{trace_id.hex()}"
    found = [
        rows(url, "SELECT * FROM trace_info WHERE request_id = %s", id_),
        rows(url, "SELECT * FROM trace_tags WHERE request_id = %s ORDER BY key", id_),
        rows(url, "SELECT * FROM trace_request_metadata WHERE request_id = %s ORDER BY key", id_),
        rows(
            url, "SELECT span_id, experiment_id, name, type, status, total_cost FROM spans WHERE trace_id = %s ORDER BY 1", id_
        ),
        rows(url, "SELECT * FROM headrace.movable_trace WHERE trace_id = %s", id_),
    ]
    return json.dumps(found, default=str, indent=1).replace(trace_id.hex(), "…")


@pytest.fixture
def experiments(database_url: str) -> dict[str, int]:
    create = (
        "INSERT INTO experiments (name, artifact_location, lifecycle_stage) VALUES (%s, %s, 'active') RETURNING experiment_id"
    )
    with psycopg.connect(database_url) as connection:
        return {
            name: connection.execute(create, (name, f"mlflow-artifacts:/{name}")).fetchone()[0]  # type: ignore[index]
            for name in ("checkout", "scorer", "agent", "model")
        }


def test_any_order_in_any_batches_makes_the_same_trace(
    database: Database, database_url: str, experiments: dict[str, int]
) -> None:
    writer = BulkWriter(database, enrich=True)
    chance = random.Random(4)
    results = set()
    for number, order in enumerate(chance.sample(list(itertools.permutations(range(5))), 60)):
        trace_id = (number + 1).to_bytes(16, "big")
        parts = [parts_of(trace_id, experiments)[index] for index in order]
        cut = chance.randrange(6)
        write(writer, [[part] for part in parts] if number % 2 else [parts[:cut] or parts, parts[cut:]][: 2 if cut else 1])
        results.add(stored(database_url, trace_id))
    assert len(results) == 1, "\n=====\n".join(sorted(results)[:2])
    (trace,), tags, *_ = json.loads(results.pop())
    assert trace["experiment_id"] == experiments["checkout"]
    assert (trace["trace_name"], trace["request_preview"], trace["status"]) == ("POST /checkout", "POST /checkout", "OK")
    assert trace["session_id"] == "of the root"
    assert trace["input_tokens"] == 377  # the agent's 300 stand for its child's 100
    named = {tag["key"]: tag["value"] for tag in tags}
    assert (named["service.name"], named["region"], named["tier"], named["zone"]) == ("checkout", "eu", "1", "a")
    assert named["mlflow.artifactLocation"].startswith("mlflow-artifacts:/checkout/")


def test_an_experiment_that_the_client_named_is_kept(
    database: Database, database_url: str, experiments: dict[str, int]
) -> None:
    writer = BulkWriter(database, enrich=True)
    trace_id = b"k" * 16
    root, child, *_ = parts_of(trace_id, experiments)
    child[1].routed_by = pb.ROUTED_BY_HEADER
    write(writer, [[child], [root]])
    (trace,) = rows(database_url, "SELECT experiment_id FROM trace_info")
    assert trace["experiment_id"] == experiments["scorer"]


def test_without_enrichment_a_trace_stays_where_it_began(
    database: Database, database_url: str, experiments: dict[str, int]
) -> None:
    writer = BulkWriter(database, enrich=False)
    root, child, *_ = parts_of(b"k" * 16, experiments)
    write(writer, [[child], [root]])
    (trace,) = rows(database_url, "SELECT experiment_id, trace_name FROM trace_info")
    assert trace == {"experiment_id": experiments["scorer"], "trace_name": None}
