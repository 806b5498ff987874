"""`POST /v1/traces` against a running `headrace serve`; each test names the rule of the specification it stands for."""

import gzip
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from conftest import Launcher, Running, launcher, rows, wait_until
from google.protobuf import json_format
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

import otlp

PROTOBUF = "application/x-protobuf"
JSON = "application/json"


@pytest.fixture(scope="module")
def running(shared_url: str) -> Iterator[Running]:
    with launcher() as launch:
        yield launch(database_url=shared_url, max_body_bytes=1024 * 1024, default_experiment="Default")


def status_of(answer: httpx.Response) -> Status:
    """The google.rpc.Status of an error, whichever encoding it came in."""
    if answer.headers["content-type"] == JSON:
        return json_format.Parse(answer.content, Status())
    assert answer.headers["content-type"] == PROTOBUF
    return Status.FromString(answer.content)


def body() -> bytes:
    return otlp.request(otlp.span()).SerializeToString()


def json_body() -> bytes:
    span = {"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "name": "x"}
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()


def test_success_leaves_partial_success_unset_in_the_request_s_own_encoding(running: Running) -> None:
    answer = running.post(body())
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, PROTOBUF, b"")
    answer = running.post(json_body(), "application/json; charset=utf-8")
    assert (answer.status_code, answer.headers["content-type"], answer.json()) == (200, JSON, {})


@pytest.mark.parametrize(
    ("content", "content_type"), [(b"", PROTOBUF), (b"{}", JSON), (b'{"resourceSpans":[{"scopeSpans":[{}]}]}', JSON)]
)
def test_an_empty_request_is_a_success(running: Running, content: bytes, content_type: str) -> None:
    assert running.post(content, content_type).status_code == 200


def test_gzip_is_supported(running: Running) -> None:
    assert running.post(gzip.compress(body()), content_encoding="gzip").status_code == 200
    assert running.post(gzip.compress(json_body()), JSON, content_encoding="gzip").status_code == 200


def test_a_chunked_body_is_read(running: Running) -> None:
    content = otlp.request(*[otlp.span() for _ in range(2000)]).SerializeToString()
    parts = (content[i : i + 10_000] for i in range(0, len(content), 10_000))
    answer = httpx.post(f"{running.url}/v1/traces", content=parts, headers={"content-type": PROTOBUF}, timeout=30)
    assert answer.status_code == 200


def test_one_bad_span_among_a_thousand(running: Running, shared_url: str) -> None:
    trace = b"\x77" * 16
    spans = [otlp.span(f"n{n}", trace) for n in range(999)]
    answer = running.post(otlp.request(*spans, otlp.span(span_id=b"short")).SerializeToString())
    assert answer.status_code == 200
    partial = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert partial.rejected_spans == 1
    assert "span_id must be 8 bytes" in partial.error_message
    wait_until(running.drained)
    assert len(rows(shared_url, "SELECT 1 FROM spans WHERE trace_id = %s", f"tr-{trace.hex()}")) == 999


def test_partial_success_in_json(running: Running) -> None:
    data = json.loads(json_body())
    spans = data["resourceSpans"][0]["scopeSpans"][0]["spans"]
    spans += [spans[0] | {"links": 7}, spans[0] | {"traceId": ""}]
    answer = running.post(json.dumps(data).encode(), JSON)
    assert answer.status_code == 200
    assert answer.json()["partialSuccess"]["rejectedSpans"] == "2"


def test_a_request_without_one_good_span_is_a_400(running: Running) -> None:
    answer = running.post(otlp.request(otlp.span(trace_id=b"")).SerializeToString())
    assert answer.status_code == 400
    assert "trace_id must be 16 bytes" in status_of(answer).message


@pytest.mark.parametrize(
    ("content", "content_type", "headers", "status"),
    [
        (b"\xff\xff", PROTOBUF, {}, 400),
        (b"{", JSON, {}, 400),
        (b"no gzip", PROTOBUF, {"content_encoding": "gzip"}, 400),
        (b"", "text/html", {}, 415),
        (b"", PROTOBUF, {"content_encoding": "br"}, 415),
        (b"x" * (1024 * 1024 + 1), PROTOBUF, {}, 413),
        (gzip.compress(bytes(64 * 1024 * 1024)), JSON, {"content_encoding": "gzip"}, 413),
    ],
)
def test_failures_are_a_status_in_the_request_s_encoding(
    running: Running, content: bytes, content_type: str, headers: dict[str, str], status: int
) -> None:
    answer = running.post(content, content_type, **headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == (JSON if content_type == JSON else PROTOBUF)
    assert status_of(answer).message
    assert "retry-after" not in answer.headers


def test_bad_data_says_so_in_bad_request_details(running: Running) -> None:
    (detail,) = status_of(running.post(b"\xff\xff")).details
    bad = BadRequest()
    assert detail.Unpack(bad)
    assert bad.field_violations


def test_a_missing_content_type_is_a_415(running: Running) -> None:
    answer = httpx.post(f"{running.url}/v1/traces", content=b"")
    assert answer.status_code == 415
    assert "application/x-protobuf" in status_of(answer).message


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/v1/traces", 405), ("POST", "/v1/trace", 404), ("GET", "/", 404)]
)
@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
def test_404_and_405_are_a_status_too(running: Running, method: str, path: str, status: int, content_type: str) -> None:
    answer = httpx.request(method, running.url + path, headers={"content-type": content_type})
    assert answer.status_code == status
    assert answer.headers["content-type"] == content_type
    assert "POST /v1/traces" in status_of(answer).message


def test_connections_are_kept_alive(running: Running) -> None:
    with httpx.Client() as client:
        for _ in range(3):
            assert (
                client.post(f"{running.url}/v1/traces", content=body(), headers={"content-type": PROTOBUF}).status_code == 200
            )
        metrics = client.get(f"{running.url}/metrics")
        assert metrics.extensions["network_stream"].get_extra_info("socket").getsockname()


def test_a_client_that_goes_away_is_counted_and_harms_nobody(running: Running) -> None:
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            b"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\n"
            b"content-type: application/x-protobuf\r\ncontent-length: 9\r\n\r\nabc"
        )
    gone = 'headrace_requests_total{code="client_gone",protocol="http",signal="traces"} 1.0'
    wait_until(lambda: gone in httpx.get(f"{running.url}/metrics").text)
    assert running.post(body()).status_code == 200


def test_bodies_in_memory_are_bounded(headrace: Launcher, shared_url: str, tmp_path: Path) -> None:
    running = headrace(database_url=shared_url, max_in_flight_bytes=1024 * 1024)
    answer = running.post(otlp.request(otlp.span("x" * 1024 * 1024)).SerializeToString(), x_mlflow_experiment_id="0")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "2"
    assert running.post(body(), x_mlflow_experiment_id="0").status_code == 200


def test_routes_by_name_by_resource_and_by_run(running: Running, shared_url: str) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    from headrace.config import sqlalchemy_url

    store = SqlAlchemyStore(sqlalchemy_url(shared_url), "mlflow-artifacts:/")  # type: ignore[no-untyped-call]
    run_id = store.create_run("0", "user", 0, [], "a run").info.run_id  # type: ignore[no-untyped-call]
    named, attributed, default = otlp.span(), otlp.span(), otlp.span()
    running.post(
        otlp.request(named).SerializeToString(), x_mlflow_experiment_name="by header", x_mlflow_run_id=run_id
    ).raise_for_status()
    request = otlp.request(attributed, mlflow_experiment_name="by resource")
    request.resource_spans.append(otlp.resource_spans(default))
    running.post(request.SerializeToString()).raise_for_status()
    wait_until(running.drained)
    found = rows(shared_url, "SELECT t.request_id, e.name FROM trace_info t JOIN experiments e USING (experiment_id)")
    names = {row["request_id"]: row["name"] for row in found}
    assert names[otlp.trace_id_of(named)] == "by header"
    assert names[otlp.trace_id_of(attributed)] == "by resource"
    assert names[otlp.trace_id_of(default)] == "Default"
    (link,) = rows(shared_url, "SELECT source_id FROM entity_associations WHERE destination_id = %s", run_id)
    assert link["source_id"] == otlp.trace_id_of(named)
    store._dispose_engine()  # type: ignore[no-untyped-call]


def test_a_resource_without_a_route_costs_only_its_own_spans(headrace: Launcher, shared_url: str) -> None:
    running = headrace(database_url=shared_url)
    routed, lost = otlp.span(), otlp.span()
    request = otlp.request(routed, mlflow_experiment_id="0")
    request.resource_spans.append(otlp.resource_spans(lost))
    answer = running.post(request.SerializeToString())
    assert ExportTraceServiceResponse.FromString(answer.content).partial_success.rejected_spans == 1
    wait_until(running.drained)
    found = {row["trace_id"] for row in rows(shared_url, "SELECT trace_id FROM spans")}
    assert otlp.trace_id_of(routed) in found
    assert otlp.trace_id_of(lost) not in found
    assert running.post(otlp.request(lost).SerializeToString()).status_code == 400


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_a_monitor_may_ask_with_head(running: Running, path: str) -> None:
    answer = httpx.head(f"{running.url}{path}")
    assert (answer.status_code, answer.content) == (200, b"")


def test_an_experiment_s_name_in_utf_8_is_that_name(running: Running, shared_url: str) -> None:
    names = ["h\u00e9ader", "\u65e5\u672c"]
    for name in names:
        headers = {b"content-type": PROTOBUF.encode(), b"x-mlflow-experiment-name": name.encode()}
        assert httpx.post(f"{running.url}/v1/traces", content=body(), headers=headers).status_code == 200
    wait_until(running.drained)
    assert len(rows(shared_url, "SELECT 1 FROM experiments WHERE name = ANY (%s)", names)) == 2


def test_health_says_what_is_going_on(running: Running) -> None:
    assert httpx.get(f"{running.url}/healthz").json() == {"status": "alive"}
    ready = running.ready()
    assert ready["status"] == "ready"
    assert ready["database"]["reachable"] is True
    metrics = httpx.get(f"{running.url}/metrics").text
    for name in (
        "headrace_requests_total",
        "headrace_queue_bytes",
        "headrace_visible_seconds_bucket",
        "headrace_database_up 1.0",
    ):
        assert name in metrics
