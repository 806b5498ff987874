"""Limits a second, of a running receiver."""

from typing import Any

import grpc
import httpx
import pytest
from conftest import Launcher
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import otlp

PATH = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def test_over_the_limit_is_429_and_unavailable_with_a_delay(headrace: Launcher, database_url: str) -> None:
    running = headrace(
        "serve", database_url=database_url, default_experiment="Default", max_spans_per_second=10, burst_seconds=1
    )
    request = otlp.request(*[otlp.span() for _ in range(100)])
    assert running.post(request.SerializeToString()).status_code == 200
    answer = running.post(request.SerializeToString())
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 5
    assert "HEADRACE_MAX_SPANS_PER_SECOND" in Status.FromString(answer.content).message
    with grpc.insecure_channel(running.grpc_url.removeprefix("http://")) as channel:
        export = channel.unary_unary(PATH, ExportTraceServiceRequest.SerializeToString, bytes)
        with pytest.raises(grpc.RpcError) as caught:
            export(request, timeout=20)
    error: Any = caught.value
    assert error.code() == grpc.StatusCode.UNAVAILABLE
    trailers: dict[str, Any] = dict(error.trailing_metadata())
    assert RetryInfo.FromString(trailers["google.rpc.retryinfo-bin"]).retry_delay.seconds >= 1
    metrics = httpx.get(f"{running.url}/metrics").text
    assert 'headrace_rate_limited_total{scope="all",unit="spans"} 2.0' in metrics
    assert "headrace_spans_received_total 100.0" in metrics


def test_bytes_are_limited_too(headrace: Launcher, database_url: str) -> None:
    running = headrace(
        "serve", database_url=database_url, default_experiment="Default", max_bytes_per_second=100, burst_seconds=1
    )
    body = otlp.request(otlp.span("x" * 5000)).SerializeToString()
    assert [running.post(body).status_code for _ in range(2)] == [200, 429]
