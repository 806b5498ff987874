"""OTLP/gRPC against a running `headrace serve`."""

import os
import socket
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from conftest import Launcher, Running, free_port, rows, wait_until
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.metrics.v1.metrics_pb2 import Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics

import otlp
from headrace.otlp.signals import TRACES

ZERO = (("x-mlflow-experiment-id", "0"),)


@pytest.fixture
def running(headrace: Launcher, database_url: str) -> Running:
    return headrace("serve", database_url=database_url, max_body_bytes=1024 * 1024)


@pytest.fixture
def channel(running: Running) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(running.grpc_url.removeprefix("http://")) as channel:
        yield channel


def stub(kind: Any, channel: grpc.Channel) -> Any:
    """A client of a generated kind, none of which has types."""
    return kind(channel)


def refusal(call: Any, request: Any, **options: Any) -> "tuple[grpc.StatusCode, Status]":
    """The code of a call that fails, and its details."""
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=20, **options)
    error: Any = caught.value
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    return error.code(), Status.FromString(details)


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_spans_arrive(running: Running, channel: grpc.Channel, database_url: str, compression: grpc.Compression) -> None:
    trace = os.urandom(16)
    request = otlp.request(otlp.span("over grpc", trace, attrs={"n": 7}))
    answer = stub(TraceServiceStub, channel).Export(request, metadata=ZERO, compression=compression)
    assert answer == ExportTraceServiceResponse()
    assert not answer.HasField("partial_success")
    wait_until(running.drained)
    (row,) = rows(database_url, "SELECT name, experiment_id FROM spans WHERE trace_id = %s", f"tr-{trace.hex()}")
    assert row == {"name": "over grpc", "experiment_id": 0}


def test_an_empty_request_is_a_success(channel: grpc.Channel) -> None:
    assert stub(TraceServiceStub, channel).Export(ExportTraceServiceRequest()) == ExportTraceServiceResponse()


def test_one_bad_span_among_a_thousand(running: Running, channel: grpc.Channel, database_url: str) -> None:
    trace = os.urandom(16)
    spans = [otlp.span(f"n{n}", trace) for n in range(999)]
    answer = stub(TraceServiceStub, channel).Export(otlp.request(*spans, otlp.span(trace_id=bytes(16))), metadata=ZERO)
    assert answer.partial_success.rejected_spans == 1
    assert "trace_id must be 16 bytes" in answer.partial_success.error_message
    wait_until(running.drained)
    assert len(rows(database_url, "SELECT 1 FROM spans WHERE trace_id = %s", f"tr-{trace.hex()}")) == 999


def test_bad_data_is_invalid_argument_with_bad_request(channel: grpc.Channel) -> None:
    code, status = refusal(stub(TraceServiceStub, channel).Export, otlp.request(otlp.span(trace_id=b"short")), metadata=ZERO)
    assert (code, status.code) == (grpc.StatusCode.INVALID_ARGUMENT, 3)
    bad = BadRequest()
    assert status.details[0].Unpack(bad)
    assert "trace_id must be 16 bytes" in bad.field_violations[0].description
    raw = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export", bytes, bytes)
    assert refusal(raw, b"\xff\xff")[0] == grpc.StatusCode.INVALID_ARGUMENT


def test_no_experiment_says_what_to_set(channel: grpc.Channel) -> None:
    code, status = refusal(stub(TraceServiceStub, channel).Export, otlp.request(otlp.span()))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "x-mlflow-experiment-id" in status.message


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_oversize_is_resource_exhausted_without_retry_info(channel: grpc.Channel, compression: grpc.Compression) -> None:
    request = otlp.request(otlp.span("x" * (1024 * 1024)))
    code, status = refusal(stub(TraceServiceStub, channel).Export, request, metadata=ZERO, compression=compression)
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not status.details


def test_a_full_queue_is_unavailable_with_retry_info(headrace: Launcher) -> None:
    nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    running = headrace("serve", database_url=nowhere, queue_max_bytes=1024 * 1024)
    with grpc.insecure_channel(running.grpc_url.removeprefix("http://")) as channel:
        export = stub(TraceServiceStub, channel).Export
        request = otlp.request(otlp.span("x" * 400_000))
        export(request, metadata=ZERO, timeout=20)
        export(request, metadata=ZERO, timeout=20)
        code, status = refusal(export, request, metadata=ZERO)
        assert code == grpc.StatusCode.UNAVAILABLE
        retry = RetryInfo()
        assert status.details[0].Unpack(retry)
        assert 1 <= retry.retry_delay.seconds <= 3


def test_metrics_and_logs_are_refused_in_words(running: Running, channel: grpc.Channel) -> None:
    points = [NumberDataPoint(as_int=n) for n in range(3)]
    metrics = [Metric(name="m", gauge=Gauge(data_points=points))]
    request = ExportMetricsServiceRequest(resource_metrics=[ResourceMetrics(scope_metrics=[ScopeMetrics(metrics=metrics)])])
    answer = stub(MetricsServiceStub, channel).Export(request)
    assert answer.partial_success.rejected_data_points == 3
    assert "OTEL_METRICS_EXPORTER=none" in answer.partial_success.error_message
    logs = ExportLogsServiceRequest(
        resource_logs=[ResourceLogs(scope_logs=[ScopeLogs(log_records=[LogRecord(), LogRecord()])])]
    )
    refused = stub(LogsServiceStub, channel).Export(logs)
    assert refused.partial_success.rejected_log_records == 2
    assert not stub(MetricsServiceStub, channel).Export(ExportMetricsServiceRequest()).HasField("partial_success")


def test_the_health_service_answers(channel: grpc.Channel) -> None:
    healthy = stub(health_pb2_grpc.HealthStub, channel)
    requests = [health_pb2.HealthCheckRequest(service=service) for service in ("", TRACES.service)]
    wait_until(lambda: all(healthy.Check(request).status == health_pb2.HealthCheckResponse.SERVING for request in requests))


def test_a_taken_port_is_named(headrace: Launcher, database_url: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        running = headrace("serve", wait=False, database_url=database_url, grpc_port=port)
        assert running.process.wait(30) == 1
        assert "HEADRACE_GRPC_PORT" in running.log.read_text()
