"""Log records over OTLP: with the spans that they name they become one, whichever comes first."""

import json
from functools import partial
from typing import Any

import grpc
import httpx
import log_exports
from conftest import Launcher, Running, rows, wait_until
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs, SeverityNumber

from headrace.mlflow.translate.readback import to_logs_data

HEADERS = {"content-type": "application/x-protobuf", "x-mlflow-experiment-id": "0"}


def send(running: Running, signal: str, message: Message) -> httpx.Response:
    answer = httpx.post(f"{running.url}/v1/{signal}", content=message.SerializeToString(), headers=HEADERS, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer


def said(answer: httpx.Response) -> tuple[int, str]:
    partial = ExportLogsServiceResponse.FromString(answer.content).partial_success
    return partial.rejected_log_records, partial.error_message


def contents(url: str, trace_id: bytes) -> list[dict[str, Any]]:
    found = rows(url, "SELECT content FROM spans WHERE trace_id = %s ORDER BY span_id", f"tr-{trace_id.hex()}")
    return [json.loads(row["content"]) for row in found]


def chats(url: str, trace_id: bytes) -> list[tuple[Any, Any]]:
    """Inputs and outputs of all spans that have some."""
    found = [content["attributes"] for content in contents(url, trace_id)]
    return [
        (json.loads(each["mlflow.spanInputs"]), json.loads(each["mlflow.spanOutputs"]))
        for each in found
        if "mlflow.spanInputs" in each and "mlflow.spanOutputs" in each
    ]


def record(trace_id: bytes = b"", span_id: bytes = b"", name: str = "", severity: int = 9) -> LogRecord:
    return LogRecord(
        trace_id=trace_id,
        span_id=span_id,
        event_name=name,
        severity_number=SeverityNumber.ValueType(severity),
        time_unix_nano=7,
    )


def logs(*records: LogRecord) -> ExportLogsServiceRequest:
    return ExportLogsServiceRequest(resource_logs=[ResourceLogs(scope_logs=[ScopeLogs(log_records=records)])])


def test_exports_of_instrumentations_become_chats_whichever_signal_comes_first(headrace: Launcher, database_url: str) -> None:
    running = headrace(database_url=database_url)
    for name in log_exports.NAMES:
        found = []
        for first in ("logs", "spans", "logs twice"):
            spans, records = log_exports.load(name, first)
            trace_id = spans.resource_spans[0].scope_spans[0].spans[0].trace_id
            steps: list[tuple[str, Message]] = [("traces", spans), ("logs", records)]
            for signal, message in steps if first == "spans" else reversed(steps):
                assert said(send(running, signal, message)) == (0, "")
                wait_until(running.drained)
            if first == "logs twice":
                send(running, "logs", records)
                send(running, "traces", spans)
                wait_until(running.drained)
            wait_until(partial(chats, database_url, trace_id))
            found.append(chats(database_url, trace_id))
            kept = to_logs_data(json.dumps(content) for content in contents(database_url, trace_id))
            sent = [log for resource in records.resource_logs for scope in resource.scope_logs for log in scope.log_records]
            back = [log for resource in kept.resource_logs for scope in resource.scope_logs for log in scope.log_records]
            assert sorted(map(str, back)) == sorted(map(str, sent))
        assert found[0] == found[1] == found[2]
        inputs, outputs = found[0][-1]
        assert [message["role"] for message in inputs][:2] == ["system", "user"]
        assert inputs[1]["parts"][0]["content"] == "What is the weather in Paris?"
        assert outputs[0]["parts"][0]["content"] == "The weather in Paris is sunny, 21 degrees."
    metrics = httpx.get(f"{running.url}/metrics").text
    assert 'headrace_records_accepted_total{signal="logs"}' in metrics
    assert "headrace_logs_waiting " in metrics


def test_what_has_no_place_is_told_and_counted(headrace: Launcher, database_url: str) -> None:
    running = headrace(database_url=database_url, logs_severity="warn")
    ids = b"t" * 16, b"s" * 8
    message = logs(
        record(),
        record(trace_id=b"t" * 16),
        record(span_id=b"s" * 8, trace_id=bytes(16)),
        record(*ids, severity=9),
        record(*ids, severity=9, name="gen_ai.choice"),
        record(*ids, severity=17),
        record(*ids, severity=0),
    )
    rejected, words = said(send(running, "logs", message))
    assert rejected == 4
    assert "must have a trace_id and a span_id (3)" in words
    assert "HEADRACE_LOGS_SEVERITY leaves out records that are less severe (1)" in words
    with grpc.insecure_channel(running.grpc_url.removeprefix("http://")) as channel:
        stub = LogsServiceStub(channel)  # type: ignore[no-untyped-call]
        answer = stub.Export(message, metadata=[("x-mlflow-experiment-id", "0")], timeout=30)
    assert answer.partial_success.rejected_log_records == 4
    text = httpx.get(f"{running.url}/metrics").text
    assert 'headrace_records_rejected_total{reason="no_span",signal="logs"} 6.0' in text
    assert 'headrace_records_rejected_total{reason="below_severity",signal="logs"} 2.0' in text


def test_without_enrichment_they_are_refused_in_words(headrace: Launcher, database_url: str) -> None:
    running = headrace(database_url=database_url, enrich="false")
    _, records = log_exports.load(log_exports.NAMES[0])
    rejected, words = said(send(running, "logs", records))
    assert rejected == 8
    assert "HEADRACE_ENRICH=false" in words
    assert "OTEL_LOGS_EXPORTER=none" in words
