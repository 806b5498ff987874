"""What others wrote into Kafka: of which signal a record is, and where it goes."""

import re
from base64 import b64decode
from functools import cache

import pytest
from google.protobuf.json_format import MessageToJson
from metrics import gauge, request
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

import otlp
from headrace.config import load
from headrace.envelope import Delivery
from headrace.export.adopt import Adopter
from headrace.otlp.signals import LOGS, METRICS, TRACES, Signal
from headrace.pipeline import processors

HEADERS = {"x-mlflow-experiment-id": b"0"}


@cache
def adopter(signal: str) -> Adopter:
    """Of a topic whose URL says so."""
    config = load(queue_url=f"kafka://a:1/t?signal={signal}")
    return Adopter(config, processors(config))


def adopted(value: bytes, headers: dict[str, bytes] | None = None, signal: str = "traces") -> Delivery:
    """The one envelope that a record becomes."""
    ((envelope, refused),) = adopter(signal)(headers or HEADERS, value, 7)
    assert refused == ""
    return Delivery.from_envelope(envelope)


def logs() -> ExportLogsServiceRequest:
    span = otlp.span()
    record = logs_pb2.LogRecord(
        time_unix_nano=otlp.START, trace_id=span.trace_id, span_id=span.span_id, severity_text="ERROR", body=otlp.value("text")
    )
    scope = logs_pb2.ScopeLogs(log_records=[record])
    return ExportLogsServiceRequest(resource_logs=[logs_pb2.ResourceLogs(scope_logs=[scope])])


EACH = {TRACES: otlp.request(otlp.span()), LOGS: logs(), METRICS: request(gauge("loss", 0.5), mlflow_run_name="night")}


@pytest.mark.parametrize("signal", EACH, ids=lambda signal: signal.name)
def test_protobuf_is_what_a_header_says_or_else_the_url(signal: Signal) -> None:
    value = EACH[signal].SerializeToString()
    assert adopted(value, signal=signal.name).signal is signal
    for header in ("headrace-signal", "otelcol.signal"):
        other = "logs" if signal is not LOGS else "metrics"
        assert adopted(value, HEADERS | {header: signal.name.encode()}, other).signal is signal


@pytest.mark.parametrize("signal", EACH, ids=lambda signal: signal.name)
def test_json_says_it_by_its_first_key(signal: Signal) -> None:
    text = re.sub(r'(Id"): "(.*?)"', lambda id_: f'{id_[1]}: "{b64decode(id_[2]).hex()}"', MessageToJson(EACH[signal]))
    other = "logs" if signal is not LOGS else "metrics"
    assert adopted(f"\n {text}".encode(), signal=other).signal is signal


def test_protobuf_of_any_length_is_not_taken_for_json() -> None:
    """A resource of 123 bytes begins with a line feed and `{`, and one in it of 34 bytes goes on as a key would begin."""
    for length in range(140):
        message = otlp.request(otlp.span(), service="x" * length)
        assert adopted(message.SerializeToString()).request == message
    resource = Resource(attributes=otlp.attributes({"service.name": "x" * 14}))
    span = otlp.span("x")
    del span.attributes[:]
    message = ExportTraceServiceRequest()
    message.resource_spans.add(resource=resource).scope_spans.add(spans=[span])
    message.resource_spans[0].scope_spans[0].spans[0].name += "x" * (123 - message.resource_spans[0].ByteSize())
    assert message.SerializeToString().startswith(b'\n{\n"'), message.SerializeToString()
    assert adopted(message.SerializeToString()).request == message


def test_an_unknown_signal_is_a_dead_letter() -> None:
    config = load(queue_url="kafka://a:1/t")
    ((_, refused),) = Adopter(config, processors(config))({"otelcol.signal": b"profiles"}, b"", 7)
    assert "profiles" in refused


@pytest.mark.parametrize(
    ("attributes", "headers", "run_id", "run_name", "experiment"),
    [
        ({"mlflow_run_id": "abc"}, {}, "abc", "", ""),
        ({"mlflow_run_id": "abc"}, {"x-mlflow-run-id": b"def"}, "def", "", ""),
        ({"mlflow_run_name": "night"}, HEADERS, "", "night", "0"),
        ({"mlflow_run_name": "night"}, {"x-mlflow-experiment-name": b"shop"}, "", "night", ""),
    ],
)
def test_metrics_go_to_the_run_that_is_named(
    attributes: dict[str, str], headers: dict[str, bytes], run_id: str, run_name: str, experiment: str
) -> None:
    value = request(gauge("loss", 0.5), **attributes).SerializeToString()
    (place,) = adopted(value, headers | {"headrace-signal": b"metrics"}).destinations
    assert (place.run_id, place.run_name, place.experiment_id) == (run_id, run_name, experiment)


def test_metrics_of_no_run_are_passed_on_where_that_is_set() -> None:
    config = load(queue_url="kafka://a:1/t?signal=metrics", metrics_forward="http://elsewhere")
    value = request(gauge("loss", 0.5)).SerializeToString()
    ((envelope, refused),) = Adopter(config, processors(config))(HEADERS, value, 7)
    (place,) = Delivery.from_envelope(envelope).destinations
    assert (refused, place.forward, place.experiment_id, place.run_name) == ("", True, "", "")
    ((_, refused),) = Adopter(without := load(queue_url="kafka://a:1/t?signal=metrics"), processors(without))(HEADERS, value, 7)
    assert "x-mlflow-run-id" in refused
