"""Headrace's own traces: they arrive, they go nowhere else, and they never get in the way."""

import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from conftest import Launcher, free_port, rows, wait_until
from opentelemetry import trace
from scrape import Scrape

import otlp
from headrace.config import load
from system.test_telemetry import send_grpc


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's own pause between two exports is 5 s."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")


def own_spans(url: str) -> list[dict[str, Any]]:
    return [json.loads(row["content"]) for row in rows(url, "SELECT content FROM spans ORDER BY start_time_unix_nano")]


def attributes(span: dict[str, Any]) -> dict[str, Any]:
    """Those that Headrace gave it; MLflow keeps them as JSON."""
    return {key[9:]: json.loads(value) for key, value in span["attributes"].items() if key.startswith("headrace.")}


@contextmanager
def detour(to: int) -> Iterator[int]:
    """A port whose connections end at the port `to`: what a load balancer is to those behind it."""

    def copy(source: socket.socket, target: socket.socket) -> None:
        with closing(source), closing(target):
            try:
                while data := source.recv(65536):
                    target.sendall(data)
            except OSError:
                pass  # the other direction has closed them

    def accept(listener: socket.socket) -> None:
        while True:
            try:
                incoming = listener.accept()[0]
            except OSError:
                return  # the test is over
            try:
                outgoing = socket.create_connection(("127.0.0.1", to))
            except OSError:  # it has stopped
                incoming.close()
                continue
            for pair in ((incoming, outgoing), (outgoing, incoming)):
                threading.Thread(target=copy, args=pair, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, args=[listener])
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_own_traces_arrive_at_a_second_headrace(headrace: Launcher, new_database: Callable[[], str]) -> None:
    url, other = new_database(), new_database()
    second = headrace(database_url=other, data_dir=headrace.directory / "second")
    first = headrace(
        database_url=url,
        default_experiment="Default",
        workers=2,
        traces_endpoint=f"{second.url}/v1/traces",
        traces_headers="x-mlflow-experiment-id=0,x-note=a%20b",
        traces_sample_ratio=1,
    )
    wait_until(lambda: '"ready"' in first.log.read_text())
    body = otlp.request(otlp.span("a"), otlp.span("b")).SerializeToString()
    assert first.post(body).status_code == 200
    send_grpc(first, body)
    assert first.post(b"nonsense", "application/json").status_code == 400
    wait_until(lambda: Scrape(first)("headrace_spans_written_total") == 4)
    batches = int(Scrape(first)("headrace_write_seconds_count"))
    expected = 3 + batches * 4
    wait_until(lambda: Scrape(first).counted("headrace_own_spans_total", "outcome") == {"sent": expected})
    wait_until(lambda: Scrape(second)("headrace_spans_written_total") == expected)

    spans = own_spans(other)
    requests = [span for span in spans if span["name"] == "receive traces"]
    assert sorted((attributes(s)["protocol"], attributes(s)["outcome"]) for s in requests) == [
        ("grpc", "OK"),
        ("http/json", "400"),
        ("http/protobuf", "200"),
    ]
    stored = [span for span in requests if attributes(span)["outcome"] != "400"]
    assert [(attributes(span)["spans"], attributes(span)["bytes"]) for span in stored] == [(2, len(body))] * 2
    linked = set()
    for batch in (span for span in spans if span["name"] == "write batch"):
        assert attributes(batch)["attempts"] == 1
        linked |= {(link["trace_id"], link["span_id"]) for link in batch["links"]}
        within = [span for span in spans if span["parent_span_id"] == batch["span_id"]]
        assert [span["name"] for span in within] == ["claim", "translate", "write"]
        times = [batch["start_time_unix_nano"], *(span["end_time_unix_nano"] for span in within)]
        assert times == sorted(times)
        assert times[-1] == batch["end_time_unix_nano"]
    assert len(linked) == len(stored)
    assert {json.loads(span["attributes"]["service.name"]) for span in spans} == {"headrace"}
    assert {span["name"] for span in own_spans(url)} == {"a", "b"}


def test_what_comes_back_on_a_detour_is_not_traced(headrace: Launcher, database_url: str) -> None:
    port = free_port()
    with detour(port) as endpoint:
        running = headrace(
            database_url=database_url,
            http_port=port,
            default_experiment="Default",
            traces_endpoint=f"http://127.0.0.1:{endpoint}",
            traces_sample_ratio=1,
        )
        for number in (1, 2):
            assert running.post(otlp.request(otlp.span()).SerializeToString()).status_code == 200
            # The request, its batch and three stages; nothing of the requests that brought these back.
            wait_until(lambda number=number: Scrape(running)("headrace_own_spans_total", outcome="sent") >= 5 * number)  # type: ignore[misc]
            wait_until(lambda number=number: Scrape(running)("headrace_spans_written_total") >= 6 * number)  # type: ignore[misc]
        now = Scrape(running)
        assert now("headrace_own_spans_total") == 10
        assert now("headrace_spans_written_total") == 12
        assert now("headrace_requests_total") >= 4
        running.stop()


@pytest.mark.parametrize("workers", [1, 2])
def test_the_start_refuses_an_endpoint_that_is_itself(headrace: Launcher, database_url: str, workers: int) -> None:
    port = free_port()
    running = headrace(
        database_url=database_url,
        wait=False,
        http_port=port,
        workers=workers,
        traces_endpoint=f"http://localhost:{port}/v1/traces",
    )
    assert running.process.wait(60) == 1
    assert f"HEADRACE_TRACES_ENDPOINT, localhost:{port}, is this Headrace itself" in running.log.read_text()


def test_a_dead_endpoint_costs_nothing_but_a_line_in_the_log(headrace: Launcher, database_url: str) -> None:
    running = headrace(
        database_url=database_url,
        default_experiment="Default",
        traces_endpoint=f"http://127.0.0.1:{free_port()}/v1/traces",
        traces_sample_ratio=1,
    )
    for _ in range(20):
        assert running.post(otlp.request(otlp.span()).SerializeToString()).status_code == 200
    wait_until(running.drained)
    now = Scrape(running)
    assert now("headrace_ack_seconds_count") == 20
    assert now("headrace_own_spans_total", outcome="sent") == 0
    started = time.monotonic()
    assert running.stop() == 0
    assert time.monotonic() - started < 10
    said = [json.loads(line) for line in running.log.read_text().splitlines()]
    assert len([line for line in said if line["event"] == "own traces cannot be sent"]) <= 1
    assert not [line for line in said if line["level"] == "error" or "logger" in line]


def test_what_has_no_room_is_dropped_and_counted() -> None:
    from headrace.telemetry.metrics import OWN_SPANS
    from headrace.tracing.export import MAX_WAITING, Traces

    def counted() -> dict[str, float]:
        return {sample.labels["outcome"]: sample.value for metric in OWN_SPANS.collect() for sample in metric.samples}

    before, provider = counted(), trace.get_tracer_provider()
    traces = Traces(load(traces_endpoint=f"http://127.0.0.1:{free_port()}"))
    started = time.monotonic()
    for _ in range(MAX_WAITING + 1000):
        traces.begin("receive traces").end()
    assert time.monotonic() - started < 2
    assert counted()["dropped"] == before["dropped"] + 1000
    started = time.monotonic()
    traces.stop()
    assert time.monotonic() - started < 4
    assert trace.get_tracer_provider() is provider  # MLflow's
    assert not logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter").propagate


def test_off_the_sdk_is_not_even_loaded() -> None:
    code = "import sys, headrace.host.build; sys.exit('opentelemetry.sdk' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
