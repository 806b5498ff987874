"""What every signal has to keep."""

import json
from collections.abc import Callable

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.metrics.v1 import metrics_pb2 as m

import otlp
from headrace.errors import BodyTooLarge, InFlightFull, MalformedBody
from headrace.otlp.codec import Encoding
from headrace.otlp.json_encoding import encode_json
from headrace.otlp.signals import LOGS, METRICS, SIGNALS, TRACES, Signal
from headrace.telemetry.families import LABELS


def spans(count: int) -> Message:
    return otlp.request(*(otlp.span(f"record {number}") for number in range(count)))


def points(count: int) -> Message:
    """So many data points, of all kinds in turn."""
    kinds: tuple[Callable[[], m.Metric], ...] = (
        lambda: m.Metric(gauge=m.Gauge(data_points=[m.NumberDataPoint(as_int=1)])),
        lambda: m.Metric(sum=m.Sum(data_points=[m.NumberDataPoint(as_int=1)])),
        lambda: m.Metric(histogram=m.Histogram(data_points=[m.HistogramDataPoint(count=1)])),
        lambda: m.Metric(exponential_histogram=m.ExponentialHistogram(data_points=[m.ExponentialHistogramDataPoint(count=1)])),
        lambda: m.Metric(summary=m.Summary(data_points=[m.SummaryDataPoint(count=1)])),
    )
    metrics = [kinds[number % len(kinds)]() for number in range(count)]
    for number, metric in enumerate(metrics):
        metric.name = f"record {number}"
    resource = m.ResourceMetrics(scope_metrics=[m.ScopeMetrics(metrics=metrics)])
    return ExportMetricsServiceRequest(resource_metrics=[resource])


def records(count: int) -> Message:
    found = [LogRecord(body=AnyValue(string_value=f"record {number}")) for number in range(count)]
    return ExportLogsServiceRequest(resource_logs=[ResourceLogs(scope_logs=[ScopeLogs(log_records=found)])])


SAMPLES: dict[str, Callable[[int], Message]] = {"traces": spans, "metrics": points, "logs": records}
every_signal = pytest.mark.parametrize("signal", SIGNALS, ids=lambda signal: signal.name)
both_encodings = pytest.mark.parametrize("encoding", Encoding, ids=lambda encoding: encoding.name)


def body_of(message: Message, encoding: Encoding) -> bytes:
    if encoding is Encoding.PROTOBUF:
        return message.SerializeToString()
    if isinstance(message, TRACES.request):
        return json.dumps(encode_json(message)).encode()
    return json_format.MessageToJson(message, use_integers_for_enums=True).encode()


@every_signal
@both_encodings
@pytest.mark.parametrize("count", [0, 1, 7])
def test_every_record_is_counted(signal: Signal, encoding: Encoding, count: int) -> None:
    decoded = signal.decode(body_of(SAMPLES[signal.name](count), encoding), encoding)
    assert decoded.records == count


@every_signal
@both_encodings
def test_what_is_stored_says_what_was_sent(signal: Signal, encoding: Encoding) -> None:
    sent = SAMPLES[signal.name](3)
    body = body_of(sent, encoding)
    decoded = signal.decode(body, encoding)
    assert decoded.message == sent
    assert decoded.original == (body if encoding is Encoding.PROTOBUF else None)
    assert decoded.unparsed == 0


@every_signal
@both_encodings
def test_an_empty_request_is_fine(signal: Signal, encoding: Encoding) -> None:
    decoded = signal.decode(b"" if encoding is Encoding.PROTOBUF else b"{}", encoding)
    assert decoded.records == 0


@every_signal
@pytest.mark.parametrize("rejected", [0, 4])
def test_an_answer_says_how_many_and_why(signal: Signal, rejected: int) -> None:
    answer = signal.answer(rejected, "why")
    assert isinstance(answer, signal.response)
    (_, count), (_, said) = _fields(answer)
    assert (count, said) == (rejected, "why")


def _fields(answer: Message) -> list[tuple[str, object]]:
    """Of its `partial_success`, in the order of their numbers: how many, and what is said."""
    partial = answer.partial_success  # type: ignore[attr-defined]
    return [(field.name, getattr(partial, field.name)) for field in partial.DESCRIPTOR.fields]


@every_signal
def test_an_answer_without_words_has_no_partial_success(signal: Signal) -> None:
    """OTLP specification: "the server MUST leave the partial_success field unset in case of a successful response"."""
    assert not signal.answer(0, "").HasField("partial_success")
    assert signal.answer(0, "").SerializeToString() == b""


@every_signal
def test_its_messages_are_those_of_its_service(signal: Signal) -> None:
    file = signal.request.DESCRIPTOR.file
    service = file.services_by_name[signal.service.rpartition(".")[2]]
    assert service.full_name == signal.service
    (method,) = service.methods
    assert (method.input_type, method.output_type) == (signal.request.DESCRIPTOR, signal.response.DESCRIPTOR)
    assert signal.name in LABELS["headrace_requests"]["signal"]


@every_signal
@both_encodings
def test_what_is_no_request_is_malformed(signal: Signal, encoding: Encoding) -> None:
    body = b"\xff\xff\xff" if encoding is Encoding.PROTOBUF else b"[1]"
    with pytest.raises(MalformedBody, match="The body is"):
        signal.decode(body, encoding)


@every_signal
def test_a_malformed_body_names_what_was_expected(signal: Signal) -> None:
    with pytest.raises(MalformedBody, match=signal.request.DESCRIPTOR.name):
        signal.decode(b"\xff\xff\xff", Encoding.PROTOBUF)


@every_signal
def test_a_text_that_is_no_utf8_costs_no_record(signal: Signal) -> None:
    """One text in three records is no UTF-8."""
    good = SAMPLES[signal.name](3).SerializeToString()
    assert b"record 1" in good
    decoded = signal.decode(good.replace(b"record 1", b"record \xff"), Encoding.PROTOBUF)
    assert (decoded.records, decoded.unparsed) == (3, 0)
    assert decoded.original is None  # the message says less


@every_signal
@both_encodings
def test_memory_is_told_before_it_is_taken(signal: Signal, encoding: Encoding) -> None:
    def full(_: int) -> None:
        raise InFlightFull("full")

    with pytest.raises(InFlightFull):
        signal.decode(body_of(SAMPLES[signal.name](1), encoding), encoding, full)


@every_signal
@pytest.mark.parametrize(
    ("body", "encoding"), [(bytes(17_000_000), Encoding.PROTOBUF), (b'{"":[' + b"{" * 4_000_000, Encoding.JSON)]
)
def test_a_body_of_too_many_parts_is_refused_before_it_takes_memory(signal: Signal, body: bytes, encoding: Encoding) -> None:
    charged: list[int] = []
    with pytest.raises(BodyTooLarge, match="send smaller batches"):
        signal.decode(body, encoding, charged.append)
    assert not charged


def test_the_registry_has_each_signal_once() -> None:
    assert [signal.name for signal in SIGNALS] == ["traces", "metrics", "logs"]
    assert (TRACES, METRICS, LOGS) == SIGNALS
    assert len({signal.service for signal in SIGNALS}) == len(SIGNALS)
