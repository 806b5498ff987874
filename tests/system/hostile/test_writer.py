"""Little that becomes much when it is written: values that all spans share, tags, traces of very many roots."""

import gzip
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from conftest import Launcher, Running, rows, wait_until
from hostile import MIB, Memory, assert_serves
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span

import otlp

SECONDS = 60
"""Generous: each of these took the writer 37 s or for ever; they take about two seconds on an idle machine."""
GROWTH = 400 * MIB
"""Each took over 2 GB, or ended the process."""

Send = Callable[[Running, ExportTraceServiceRequest], ExportTraceServiceResponse]


def over_http(running: Running, request: ExportTraceServiceRequest) -> ExportTraceServiceResponse:
    answer = running.post(gzip.compress(request.SerializeToString()), content_encoding="gzip", x_mlflow_experiment_id="0")
    assert answer.status_code == 200, answer.text
    return ExportTraceServiceResponse.FromString(answer.content)


def over_grpc(running: Running, request: ExportTraceServiceRequest) -> ExportTraceServiceResponse:
    options = (("grpc.max_send_message_length", -1),)
    with grpc.insecure_channel(running.grpc_url.removeprefix("http://"), options=options) as channel:
        export: Any = TraceServiceStub(channel).Export  # type: ignore[no-untyped-call]
        metadata = [("x-mlflow-experiment-id", "0")]
        answer: ExportTraceServiceResponse = export(request, metadata=metadata, timeout=60, compression=grpc.Compression.Gzip)
        return answer


both = pytest.mark.parametrize("send", [over_http, over_grpc])


def drain(running: Running) -> None:
    wait_until(running.drained, SECONDS, "an empty queue")


def shared(where: str, spans: list[Span]) -> ExportTraceServiceRequest:
    """A value of 1 MB that all these spans share."""
    value = "x" * 1_000_000
    if where == "service.name":
        return otlp.request(*spans, service=value)
    request = otlp.request(*spans)
    setattr(request.resource_spans[0].scope_spans[0].scope, where, value)
    return request


@both
@pytest.mark.parametrize("where", ["service.name", "name", "version"])
def test_a_long_value_that_all_spans_share(headrace: Launcher, database_url: str, send: Send, where: str) -> None:
    running = headrace(database_url=database_url)
    trace_id = b"t" * 16
    send(running, otlp.request(otlp.span("first", trace_id)))
    drain(running)
    memory = Memory(running)
    send(running, shared(where, [otlp.span("", trace_id, parent=b"p" * 8) for _ in range(1150)]))
    drain(running)
    assert memory.growth() < GROWTH
    (found,) = rows(database_url, "SELECT count(*), max(length(content)) AS longest FROM spans")
    assert found["count"] == 1151
    assert found["longest"] < 3000
    (origin,) = rows(database_url, "SELECT max(length(origin)) AS longest FROM headrace.origin")
    assert origin["longest"] > 1_000_000  # what was sent is kept whole
    assert_serves(running, database_url)
    assert running.stop() == 0
    again = headrace(database_url=database_url)
    send(again, otlp.request(otlp.span("first of this start")))
    drain(again)  # the writer imports MLflow before its first write
    assert_serves(again, database_url)


@both
@pytest.mark.parametrize("enrich", [True, False])
def test_a_resource_of_many_attributes_and_many_traces(headrace: Launcher, database_url: str, send: Send, enrich: bool) -> None:
    running = headrace(database_url=database_url, enrich=enrich)
    memory = Memory(running)
    attributes = {f"attribute.{n}": f"value {n}" for n in range(1500)}
    answer = send(running, otlp.request(*(otlp.span() for _ in range(300)), **attributes))
    assert answer.partial_success.rejected_spans == 0
    assert "HEADRACE_MAX_TAGS_PER_TRACE" in answer.partial_success.error_message
    drain(running)
    assert memory.growth() < GROWTH
    (found,) = rows(database_url, "SELECT count(*), count(DISTINCT request_id) AS traces FROM trace_tags")
    assert found["traces"] == 300
    assert found["count"] <= 300 * (128 + 2)
    assert len(rows(database_url, "SELECT 1 FROM trace_tags WHERE key = 'service.name'")) == 300
    assert_serves(running, database_url)


def test_tags_that_come_with_many_requests(headrace: Launcher, database_url: str) -> None:
    """A trace has no more of them, however many requests bring some."""
    running = headrace(database_url=database_url)
    trace_id = b"t" * 16
    for number in range(20):
        attributes = {f"attribute.{number}.{n}": "value" for n in range(100)}
        tags = {f"mlflow.traceTag.{number}.{n}": "value" for n in range(100)}
        over_http(running, otlp.request(otlp.span(trace_id=trace_id, attrs=tags), **attributes))
    drain(running)
    (found,) = rows(database_url, "SELECT count(*) FROM trace_tags")
    assert found["count"] <= 128 + 2
    assert_serves(running, database_url)


@both
def test_a_large_resource_of_many_scopes(headrace: Launcher, database_url: str, send: Send) -> None:
    running = headrace(database_url=database_url)
    memory = Memory(running)
    request = otlp.request(note="x" * 1_000_000)
    scopes = request.resource_spans[0].scope_spans
    for number in range(5000):
        scope = ScopeSpans(spans=[otlp.span()])
        scope.scope.name = str(number)
        scopes.append(scope)
    answer = send(running, request)
    assert answer.partial_success.rejected_spans > 4800
    assert "HEADRACE_MAX_ROWS_PER_REQUEST" in answer.partial_success.error_message
    drain(running)
    assert memory.growth() < GROWTH
    assert_serves(running, database_url)


@both
def test_more_rows_than_a_request_may_have(headrace: Launcher, database_url: str, send: Send) -> None:
    running = headrace(database_url=database_url, max_rows_per_request=5000)
    answer = send(running, otlp.request(*(otlp.span() for _ in range(2000))))
    refused = answer.partial_success.rejected_spans
    assert 0 < refused < 2000
    assert "HEADRACE_MAX_ROWS_PER_REQUEST" in answer.partial_success.error_message
    drain(running)
    assert len(rows(database_url, "SELECT 1 FROM spans")) == 2000 - refused
    assert_serves(running, database_url)


@both
def test_a_trace_of_20_000_roots(headrace: Launcher, database_url: str, send: Send) -> None:
    running = headrace(database_url=database_url, max_rows_per_request=1_000_000)
    trace_id = b"t" * 16
    send(running, otlp.request(*(otlp.span("root", trace_id, start=otlp.START + n) for n in range(20_000))))
    drain(running)
    memory = Memory(running)
    began = time.monotonic()
    for _ in range(5):
        send(running, otlp.request(otlp.span("child", trace_id, parent=b"p" * 8)))
        drain(running)
    assert time.monotonic() - began < 10  # 35 s at least where each root is read back
    assert memory.growth() < GROWTH
    assert_serves(running, database_url)
