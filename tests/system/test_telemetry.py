"""/metrics tells the truth: after a known load each number is the one that was sent."""

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc
import httpx
import psycopg
from conftest import Launcher, Running, wait_until
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from scrape import DASHBOARD, RULES, Scrape, grouping, queries, selectors

import headrace
import otlp
from headrace.telemetry.families import LABELS


def send_grpc(running: Running, body: bytes) -> None:
    path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
    with grpc.insecure_channel(running.grpc_url.rpartition("/")[2]) as channel:
        channel.unary_unary(path, None, ExportTraceServiceResponse.FromString)(body, timeout=30)


@contextmanager
def without_spans(url: str) -> Iterator[None]:
    """Inside it, Postgres answers, but takes no spans; as while somebody changes MLflow's schema."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER TABLE spans RENAME TO spans_elsewhere")
        yield
        connection.execute("ALTER TABLE spans_elsewhere RENAME TO spans")


def assert_all_stands_at_zero(now: Scrape) -> None:
    """Whatever can be counted is there before it happens, so that an alert on its increase sees the first."""
    for name, labels in LABELS.items():
        for label, values in labels.items():
            for value in values:
                assert now(f"{name}_total", **{label: value}) == 0
    for protocol, code in (("http/protobuf", "503"), ("http/json", "500"), ("grpc", "UNAVAILABLE"), ("grpc", "OK")):
        assert now("headrace_requests_total", protocol=protocol, signal="traces", code=code) == 0


def assert_says_what_process_it_is(now: Scrape, workers: set[str | None]) -> None:
    assert now("headrace_build_info", version=headrace.__version__) == 1
    starts = {s.labels.get("worker"): s.value for s in now.samples if s.name == "process_start_time_seconds"}
    assert starts.keys() == workers
    assert all(-1 <= time.time() - started < 120 for started in starts.values())
    for name in ("process_open_fds", "process_max_fds", "process_resident_memory_bytes", "process_cpu_seconds_total"):
        assert now(name) > 0


def assert_rules_and_dashboard_ask_for_what_there_is(now: Scrape) -> None:
    labels: dict[str, set[str]] = {}
    for sample in now.samples:
        labels.setdefault(sample.name, {"job", "instance"}).update(sample.labels)  # these two are Prometheus' own
    for query in [*queries(RULES), *queries(DASHBOARD)]:
        asked = dict(selectors(query))
        assert asked or "up{" in query, query
        for name, selected in asked.items():
            assert name in labels, query
            assert selected <= labels[name], query
        known = set[str]().union(*(labels[name] for name in asked), {"worker"} if "process_" in query else ())
        assert grouping(query) <= known, query


def assert_prometheus_has_nothing_to_blame(running: Running) -> None:
    """By promtool, where it is; the parser of OpenMetrics has read all that every `Scrape` saw."""
    answer = httpx.get(f"{running.url}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    if shutil.which("promtool"):
        command = ["promtool", "check", "metrics"]
        done = subprocess.run(command, input=answer.text, check=False, capture_output=True, text=True)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_after_a_known_load_every_counter_says_the_number(headrace: Launcher, database_url: str) -> None:
    running = headrace(database_url=database_url, default_experiment="Default", max_body_bytes=4096)
    assert_all_stands_at_zero(Scrape(running))
    good = otlp.request(otlp.span(), otlp.span(), otlp.span()).SerializeToString()
    lonely = otlp.span()
    mixed = otlp.request(
        otlp.span(trace_id=bytes(16)), otlp.span(span_id=b"short"), otlp.span(parent=b"bad"), lonely, otlp.span()
    )
    lonely.parent_span_id = lonely.span_id
    mixed.resource_spans[0].scope_spans[0].spans[3].CopyFrom(lonely)
    as_json = MessageToDict(otlp.request(otlp.span()))
    for scope in as_json["resourceSpans"][0]["scopeSpans"]:
        for span in scope["spans"]:
            span |= {"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331"}
    bodies = [good, mixed.SerializeToString(), json.dumps(as_json).encode()]
    answers = [
        running.post(bodies[0]),
        running.post(bodies[1]),
        running.post(bodies[2], "application/json"),
        running.post(b"\x01nonsense"),
        running.post(good, x_mlflow_experiment_id="999999"),
        running.post(otlp.request(otlp.span(trace_id=b"")).SerializeToString()),
        running.post(good, "text/csv"),
        running.post(bytes(5000)),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 400, 400, 400, 415, 413]
    send_grpc(running, good)
    wait_until(running.drained)

    now = Scrape(running)
    assert_says_what_process_it_is(now, {None})
    assert_rules_and_dashboard_ask_for_what_there_is(now)
    assert_prometheus_has_nothing_to_blame(running)
    assert now.counted("headrace_requests_total", "code") == {"200": 3, "400": 3, "413": 1, "415": 1, "OK": 1}
    assert now.counted("headrace_requests_total", "protocol") == {"http/protobuf": 7, "http/json": 1, "grpc": 1}
    assert now.counted("headrace_requests_refused_total", "reason") == {
        "malformed_body": 1,
        "unroutable": 1,
        "request_error": 1,
        "unsupported_media_type": 1,
        "body_too_large": 1,
    }
    assert now("headrace_spans_received_total") == 3 + 5 + 1 + 3 + 1 + 3
    assert now.counted("headrace_spans_rejected_total", "reason") == {
        "invalid_trace_id": 2,
        "invalid_span_id": 1,
        "invalid_parent_span_id": 1,
        "no_experiment": 3,
    }
    assert now.counted("headrace_spans_repaired_total", "rule") == {"self_parent": 1}
    assert now("headrace_spans_accepted_total") == now("headrace_spans_written_total") == 3 + 2 + 1 + 3
    for histogram in ("ack", "visible"):
        assert now(f"headrace_{histogram}_seconds_count") == 4
    assert now("headrace_request_bytes_count") == 7  # the two others were refused before their bodies were read
    read = [good, *bodies, b"\x01nonsense", good, otlp.request(otlp.span(trace_id=b"")).SerializeToString()]
    assert now("headrace_request_bytes_sum") == sum(map(len, read))
    assert now("headrace_in_flight_bytes") == now("headrace_queue_bytes") == now("headrace_queue_items") == 0
    assert now("headrace_batch_spans_sum") == 9
    assert now("headrace_batch_requests_sum") == 4
    batches = now("headrace_write_seconds_count")
    assert 1 <= batches == now("headrace_batch_spans_count") == now("headrace_batch_requests_count") <= 4
    assert now("headrace_translate_seconds_count") == batches
    assert 4 <= now("headrace_queue_commit_seconds_count") <= 8  # each accepted request's, and each batch's settling
    assert 0 < now("headrace_queue_commit_seconds_sum") < now("headrace_ack_seconds_sum") + 4


def test_what_stands_in_the_way_of_writing_is_seen(headrace: Launcher, new_database: Callable[[], str]) -> None:
    url, maintenance = new_database(), new_database()
    running = headrace(database_url=url, default_experiment="Default")
    spans = [otlp.span(name) for name in ("a", "b", "poison", "d")]
    body = otlp.request(*spans).SerializeToString()
    with psycopg.connect(url) as connection:
        connection.execute("ALTER TABLE spans ADD CONSTRAINT no_poison CHECK (name <> 'poison')")

    with without_spans(url):  # tried again and again
        assert running.post(body).status_code == 200
        waiting = wait_until(lambda: (now := Scrape(running))("headrace_write_retries_total") >= 2 and now)
        assert waiting("headrace_export_retrying") == waiting("headrace_queue_items") == 1
        assert waiting("headrace_queue_bytes") >= len(body)
        assert waiting("headrace_spans_written_total") == waiting("headrace_visible_seconds_count") == 0
        older = wait_until(lambda: (now := Scrape(running))("headrace_queue_oldest_age_seconds") > 0.5 and now)
        assert older("headrace_ready") == 1
    wait_until(running.drained)
    now = Scrape(running)
    assert now("headrace_export_retrying") == now("headrace_queue_oldest_age_seconds") == 0
    assert f'"attempts": {int(now("headrace_write_retries_total")) + 1}' in running.log.read_text()
    assert now("headrace_visible_seconds_sum") > 0.5
    assert abs(time.time() - now("headrace_export_loop_timestamp_seconds")) < 5

    assert now("headrace_spans_dead_lettered_total") == 1
    assert now("headrace_spans_written_total") == now("headrace_batch_spans_sum") == 3
    assert now("headrace_batches_split_total") == 2  # four into two and two, two into one and one
    assert now("headrace_batch_spans_count") == now("headrace_write_seconds_count") == 2

    (name,) = re.findall(r"/(test_\d+)\?", url)
    with psycopg.connect(maintenance, autocommit=True) as connection:  # away, while nobody sends
        assert now("headrace_database_up") == 1
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        away = wait_until(lambda: (now := Scrape(running))("headrace_database_up") == 0 and now)
        assert away("headrace_ready") == 1  # requests are accepted all the same
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        wait_until(lambda: Scrape(running)("headrace_database_up") == 1)


def test_a_full_queue_and_bytes_in_flight(headrace: Launcher, database_url: str) -> None:
    limit = 1024 * 1024
    running = headrace(
        database_url=database_url, default_experiment="Default", queue_max_bytes=limit, max_in_flight_bytes=limit
    )
    half = b"x" * 600_000
    head = "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    head += f"content-length: {2 * len(half)}\r\n\r\n"
    host, _, port = running.url.rpartition("/")[2].partition(":")
    with socket.create_connection((host, int(port))) as slow:
        slow.sendall(head.encode() + half)
        wait_until(lambda: Scrape(running)("headrace_in_flight_bytes") == len(half))
        assert running.post(half).status_code == 503
    wait_until(lambda: Scrape(running)("headrace_in_flight_bytes") == 0)
    with without_spans(database_url):
        span = otlp.span(attrs={"filling": "x" * 600_000})
        codes = [running.post(otlp.request(span).SerializeToString()).status_code for _ in range(2)]
        assert codes == [200, 503]
        now = Scrape(running)
        assert now("headrace_queue_max_bytes") == now("headrace_in_flight_max_bytes") == limit
        assert 600_000 < now("headrace_queue_bytes") < limit
        assert now.counted("headrace_requests_refused_total", "reason") == {"in_flight_full": 1, "queue_full": 1}
        assert now.counted("headrace_requests_total", "code") == {"200": 1, "503": 2, "client_gone": 1}


def test_the_numbers_of_several_workers_add_up(headrace: Launcher, database_url: str) -> None:
    limit = 64 * 1024 * 1024
    running = headrace(database_url=database_url, default_experiment="Default", workers=2, max_in_flight_bytes=limit)
    wait_until(lambda: '"ready"' in running.log.read_text())
    now = Scrape(running)
    assert_all_stands_at_zero(now)
    assert_says_what_process_it_is(now, {"0", "1"})
    assert_rules_and_dashboard_ask_for_what_there_is(now)
    body = otlp.request(otlp.span(), otlp.span()).SerializeToString()
    for _ in range(20):
        assert running.post(body).status_code == 200
    wait_until(running.drained)
    now = Scrape(running)
    assert now("headrace_requests_total", code="200") == now("headrace_request_bytes_count") == 20
    assert now("headrace_batch_spans_sum") == now("headrace_spans_written_total") == 40
    assert now("headrace_request_bytes_sum") == 20 * len(body)
    assert now("headrace_in_flight_bytes") == now("headrace_export_retrying") == 0
    assert now("headrace_in_flight_max_bytes") >= limit
    assert abs(time.time() - now("headrace_export_loop_timestamp_seconds")) < 5
    assert_prometheus_has_nothing_to_blame(running)
