"""Limits a second: the bucket by itself, then against a running receiver."""

from typing import Any

import grpc
import httpx
import pytest
from conftest import Launcher
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import otlp
from headrace.config import load
from headrace.errors import RateLimited
from headrace.receiver.limits import Bucket, Limits

PATH = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class Clock:
    """Stands still until told otherwise."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_starts_full_and_fills_at_its_rate() -> None:
    clock = Clock()
    bucket = Bucket(rate=10, burst_seconds=2, clock=clock)
    bucket.take(20)
    assert bucket.wait() == pytest.approx(0.1)  # until one is there
    clock.now += 0.5
    assert bucket.wait() == 0
    clock.now += 1000
    assert bucket.wait() == 0
    bucket.take(20)
    assert bucket.wait() > 0  # no more than the burst was saved up


def test_a_batch_larger_than_the_burst_is_taken_whole_and_waited_for_afterwards() -> None:
    clock = Clock()
    bucket = Bucket(rate=10, burst_seconds=1, clock=clock)
    assert bucket.wait() == 0
    bucket.take(60)
    assert bucket.wait() == pytest.approx(5.1)
    clock.now += 5.2
    assert bucket.wait() == 0


def test_a_key_s_limit_is_its_own_and_a_refusal_takes_from_nobody() -> None:
    limits = Limits(load(max_spans_per_second=100, burst_seconds=1))
    limits.charge("spans", 50, "a", 10)
    with pytest.raises(RateLimited, match="the API key's spans a second") as caught:
        limits.charge("spans", 1, "a", 10)
    assert 1 <= (caught.value.retry_after or 0) <= 5
    limits.charge("spans", 60, "b", 1000)
    with pytest.raises(RateLimited, match="HEADRACE_MAX_SPANS_PER_SECOND"):
        limits.charge("spans", 1, "b", 1000)
    limits.charge("bytes", 10**9, "b", None)  # no limit


def test_each_worker_holds_its_share() -> None:
    limits = Limits(load(max_spans_per_second=100, burst_seconds=1, workers=4))
    limits.charge("spans", 26)
    with pytest.raises(RateLimited):
        limits.charge("spans", 1)


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
