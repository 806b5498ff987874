"""The main road, end to end: `headrace serve` on a real Postgres."""

import httpx
from conftest import Launcher, rows, wait_until

import otlp


def test_spans_of_three_services_in_three_requests_root_last_are_one_trace(headrace: Launcher, database_url: str) -> None:
    running = headrace(database_url=database_url)
    trace = bytes(range(16))
    root, middle = b"r" * 8, b"m" * 8
    start = otlp.START
    spans = [
        ("model", otlp.span("predict", trace, b"l" * 8, middle, start + 300, start + 1_500_000_000)),
        ("scorer", otlp.span("score", trace, middle, root, start + 200, start + 1_600_000_000)),
        ("checkout", otlp.span("POST /checkout", trace, root, b"", start, start + 2_000_000_000, status={"code": 2})),
    ]
    for service, span in spans:
        answer = running.post(otlp.request(span, service=service).SerializeToString(), x_mlflow_experiment_id="0")
        assert answer.status_code == 200
        assert answer.content == b""
    wait_until(running.drained)
    (info,) = rows(database_url, "SELECT * FROM trace_info")
    assert info["request_id"] == f"tr-{trace.hex()}"
    assert info["status"] == "ERROR"
    assert info["timestamp_ms"] == start // 1_000_000
    assert info["execution_time_ms"] == 2000
    assert info["experiment_id"] == 0
    assert len(rows(database_url, "SELECT 1 FROM spans")) == 3


def test_unknown_experiment_is_a_400_that_says_what_to_do_and_queues_nothing(headrace: Launcher, database_url: str) -> None:
    from google.rpc.status_pb2 import Status

    running = headrace(database_url=database_url)
    answer = running.post(otlp.request(otlp.span()).SerializeToString(), x_mlflow_experiment_id="4711")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/x-protobuf"
    message = Status.FromString(answer.content).message
    for way in ("4711", "x-mlflow-experiment-id", "x-mlflow-experiment-name", "HEADRACE_ROUTES", "HEADRACE_DEFAULT_EXPERIMENT"):
        assert way in message
    assert running.ready()["queue"]["requests"] == 0
    assert "headrace_spans_accepted_total 0.0" in httpx.get(f"{running.url}/metrics").text
