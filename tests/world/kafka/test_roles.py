"""`headrace receive` and `headrace write`, with a real broker between them."""

import json
import os
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Iterable, Iterator
from typing import Any

import httpx
import pytest
from brokers import Cluster
from conftest import Launcher, Running, launcher, rows, wait_until
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import otlp

HEADERS = {"x_mlflow_experiment_id": "0"}


def trace(number: int, spans: int = 2) -> ExportTraceServiceRequest:
    """One trace: a root, and its children."""
    trace_id = number.to_bytes(16, "big")
    root = otlp.span(f"root {number}", trace_id, b"r" * 8)
    children = [otlp.span(f"child {n}", trace_id, n.to_bytes(8, "big"), b"r" * 8) for n in range(1, spans)]
    return otlp.request(root, *children)


def many(first: int, count: int) -> bytes:
    """A request of so many traces."""
    request = ExportTraceServiceRequest()
    for number in range(first, first + count):
        request.resource_spans.extend(trace(number).resource_spans)
    return request.SerializeToString()


def many_of(request: ExportTraceServiceRequest, text: str) -> ExportTraceServiceRequest:
    """The request, with this text in each of its spans."""
    for span in all_spans(request):
        span.attributes.extend(otlp.attributes({"text": text}))
    return request


def all_spans(request: ExportTraceServiceRequest) -> list[Span]:
    return [span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]


def written(url: str, numbers: Iterable[int]) -> int:
    """How many spans of these traces are stored."""
    ids = [f"tr-{number:032x}" for number in numbers]
    return int(rows(url, "SELECT count(*) AS n FROM spans WHERE trace_id = ANY(%s)", ids)[0]["n"])


def records_of(broker: Cluster, topic: str, count: int) -> list[Any]:
    """The first records of a topic."""
    from confluent_kafka import Consumer

    consumer = Consumer(
        {"bootstrap.servers": broker.addresses, "group.id": f"test-{time.time_ns()}", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    found: list[Any] = []

    def enough() -> bool:
        found.extend(consumer.consume(500, 0.5))
        return len(found) >= count

    wait_until(enough, 60, f"{count} records")
    consumer.close()
    return found


def as_json(request: ExportTraceServiceRequest) -> bytes:
    """As OTLP's JSON has it: ids in hex."""
    found = MessageToDict(request)
    for span in [span for r in found["resourceSpans"] for s in r["scopeSpans"] for span in s["spans"]]:
        span |= {name: b64decode(span[name]).hex() for name in ("traceId", "spanId", "parentSpanId") if name in span}
    return json.dumps(found).encode()


def send(broker: Cluster, topic: str, value: bytes, headers: dict[str, str] | None = None, key: bytes | None = None) -> None:
    """Writes a record as another program does."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": broker.addresses})
    producer.produce(topic, value, key, headers=[(name, text.encode()) for name, text in (headers or {}).items()])
    assert producer.flush(30) == 0


@pytest.fixture(scope="module")
def topic(broker: Cluster) -> str:
    return broker.new_topic(4)


@pytest.fixture(scope="module")
def sides(broker: Cluster, topic: str, shared_url: str) -> Iterator[tuple[Running, Running]]:
    """A receiver and a writer."""
    with launcher() as launch:
        settings: dict[str, Any] = {"queue_url": broker.url(topic), "database_url": shared_url}
        receiver = launch("receive", **settings, data_dir=launch.directory / "receiver")
        yield receiver, launch("write", **settings, data_dir=launch.directory / "writer")


def test_what_is_received_is_written(sides: tuple[Running, Running], broker: Cluster, topic: str, shared_url: str) -> None:
    receiver, writer = sides
    response = receiver.post(many(1, 50), **HEADERS)
    assert response.status_code == 200
    assert response.content == b""
    wait_until(lambda: written(shared_url, range(1, 51)) == 100, 60)
    wait_until(lambda: "headrace_kafka_lag_records 0.0" in httpx.get(f"{writer.url}/metrics", timeout=30).text, 60, "no lag")
    records = records_of(broker, topic, 50)
    assert sorted(record.key() for record in records) == sorted(n.to_bytes(16, "big").hex().encode() for n in range(1, 51))
    assert len({record.partition() for record in records}) > 1
    for record in records:
        headers = dict(record.headers())
        assert headers["x-mlflow-experiment-id"] == b"0"
        assert headers["headrace-signal"] == b"traces"
        request = ExportTraceServiceRequest.FromString(record.value())
        assert {span.trace_id.hex() for span in all_spans(request)} == {record.key().decode()}
    assert rows(shared_url, "SELECT * FROM headrace.dead_letter") == []


def test_a_writer_has_no_otlp_and_both_are_ready(sides: tuple[Running, Running]) -> None:
    receiver, writer = sides
    assert writer.post(b"").status_code == 404
    assert receiver.ready()["status"] == writer.ready()["status"] == "ready"


def test_what_a_collector_wrote_is_read(sides: tuple[Running, Running], broker: Cluster, topic: str, shared_url: str) -> None:
    """Any shape: many traces in a record without a key, JSON, a header that says where; what is bad costs itself alone."""
    by_id, by_name = {"x-mlflow-experiment-id": "0"}, {"x-mlflow-experiment-name": "Default"}
    bad = trace(113, spans=3)
    bad.resource_spans[0].scope_spans[0].spans[1].span_id = b"short"
    send(broker, topic, many(101, 10), by_id)
    send(broker, topic, as_json(trace(111)), by_name, b"some key")
    send(broker, topic, b"\x0a\xff\xff\xff", by_id)
    send(broker, topic, b"", by_id)
    send(broker, topic, b"{}", by_id | {"otelcol.signal": "profiles"})
    send(broker, topic, trace(112).SerializeToString())  # says not where
    send(broker, topic, bad.SerializeToString(), by_id)
    send(broker, topic, trace(114).SerializeToString(), by_id)
    wait_until(lambda: written(shared_url, range(101, 115)) == 20 + 2 + 2 + 2, 60)
    query = "SELECT reason, trace_id FROM headrace.dead_letter ORDER BY trace_id NULLS FIRST, reason"
    letters = wait_until(lambda: len(found := rows(shared_url, query)) >= 5 and found, 30)
    assert [letter["trace_id"] and int(letter["trace_id"], 16) for letter in letters] == [None, None, 112, 112, 113]
    for letter, word in zip(letters, ("The body", "profiles", "experiment", "experiment", "span_id"), strict=True):
        assert word in letter["reason"], letter


def test_the_status_says_what_waits(sides: tuple[Running, Running], broker: Cluster, topic: str) -> None:
    environment = {**os.environ, "HEADRACE_QUEUE_URL": broker.url(topic)}

    def status(*options: str) -> str:
        command = [sys.executable, "-m", "headrace", "queue", "status", *options]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout

    wait_until(lambda: "0 records wait" in status(), 60)
    lines = [json.loads(line) for line in status("--json").splitlines()]
    assert [line["partition"] for line in lines] == [0, 1, 2, 3]
    assert sum(line["end"] for line in lines) > 0
    assert all(line["committed"] == line["end"] for line in lines)


def test_a_span_that_fits_into_no_record_costs_only_itself(headrace: Launcher, broker: Cluster, database_url: str) -> None:
    topic = broker.new_topic(1, max_message_bytes=100_000)
    both = headrace("serve", queue_url=broker.url(topic), database_url=database_url)
    request = many_of(trace(1, spans=40), "x" * 10_000)
    request.resource_spans[0].scope_spans[0].spans[3].attributes.extend(otlp.attributes({"large": "x" * 200_000}))
    response = both.post(request.SerializeToString(), **HEADERS)
    answer = ExportTraceServiceResponse.FromString(response.content)
    assert response.status_code == 200
    assert answer.partial_success.rejected_spans == 1
    assert "max.message.bytes" in answer.partial_success.error_message
    wait_until(lambda: written(database_url, [1]) == 39, 60)
    assert len(records_of(broker, topic, 4)) >= 4


@pytest.mark.parametrize(
    ("topic", "said"),
    [("missing", "kafka-topics.sh"), ("compacted", "cleanup.policy=compact")],
)
def test_a_topic_that_cannot_be_the_queue_ends_the_start(headrace: Launcher, broker: Cluster, topic: str, said: str) -> None:
    name = broker.new_topic(1, cleanup_policy="compact") if topic == "compacted" else "missing"
    running = headrace("write", queue_url=broker.url(name), database_url="postgresql://nobody@127.0.0.1:1/x", wait=False)
    assert running.process.wait(60) == 1
    assert said in running.log.read_text()
    assert "missing" not in broker.admin().list_topics(timeout=30).topics


def test_what_is_not_safe_is_said_at_the_start(sides: tuple[Running, Running]) -> None:
    log = sides[0].log.read_text()
    assert "KAFKA'S TOPIC IS NOT SAFE" in log
    assert "flush.messages=1" in log
