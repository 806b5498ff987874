"""The processor of log records: what every processor has to keep (`test_contract.py`), and what it takes out."""

import random
from collections import Counter
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs, SeverityNumber
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from headrace.config import load
from headrace.config.logs import SEVERITIES
from headrace.envelope.incoming import Request, Sender
from headrace.otlp.signals import LOGS
from headrace.processor.logs import ValidateLogs
from headrace.processor.verdict import LOG_REASONS, Verdict

PROCESSORS = [ValidateLogs(True, 9, 10_000), ValidateLogs(True, 25, 40), ValidateLogs(False, 1, 10_000)]


def record(
    severity: int = 9, trace_id: bytes = b"t" * 16, span_id: bytes = b"s" * 8, name: str = "", **attributes: str
) -> LogRecord:
    return LogRecord(
        trace_id=trace_id,
        span_id=span_id,
        severity_number=SeverityNumber.ValueType(severity),
        event_name=name,
        attributes=[
            KeyValue(key=key.replace("_", "."), value=AnyValue(string_value=value)) for key, value in attributes.items()
        ],
    )


def request(*records: LogRecord, resource: str = "") -> ExportLogsServiceRequest:
    attributes = [KeyValue(key="service.name", value=AnyValue(string_value=resource))]
    scope = ScopeLogs(scope=InstrumentationScope(name="logger"), log_records=records)
    return ExportLogsServiceRequest(resource_logs=[ResourceLogs(resource=Resource(attributes=attributes), scope_logs=[scope])])


def processed(
    processor: ValidateLogs, message: ExportLogsServiceRequest
) -> tuple[ExportLogsServiceRequest, Verdict, bytes | None]:
    original = message.SerializeToString()
    coming: Request = Request(ExportLogsServiceRequest.FromString(original), Sender({}), original, signal=LOGS)  # type: ignore[arg-type]
    verdict = Verdict.of(coming)
    after = processor.process(coming, verdict)
    return ExportLogsServiceRequest.FromString(after.message.SerializeToString()), verdict, after.original


def messages() -> list[ExportLogsServiceRequest]:
    chance = random.Random(3)
    made = [ExportLogsServiceRequest(), ExportLogsServiceRequest(resource_logs=[ResourceLogs(scope_logs=[ScopeLogs()])])]
    for _ in range(60):
        message = ExportLogsServiceRequest()
        for _ in range(chance.randint(1, 3)):
            records = [
                record(chance.choice((0, 1, 9, 17)), chance.choice((b"", b"t" * 16, bytes(16))), chance.choice((b"s" * 8, b"")))
                for _ in range(chance.randint(0, 5))
            ]
            message.MergeFrom(request(*records, resource="x" * chance.choice((1, 5000))))
        made.append(message)
    return made


@pytest.mark.parametrize("processor", PROCESSORS)
def test_it_keeps_what_every_processor_keeps(processor: ValidateLogs) -> None:
    for message in messages():
        after, verdict, original = processed(processor, message)
        assert verdict.received == LOGS.form.count(message) == verdict.accepted + verdict.rejected.total()
        assert verdict.accepted == LOGS.form.count(after)
        assert verdict.rejected.keys() <= LOG_REASONS.keys()
        assert (original is None) == (after != message)
        assert all(scope.log_records for resource in after.resource_logs for scope in resource.scope_logs)
        again, second, kept = processed(processor, after)
        assert again == after
        assert not second.rejected
        assert kept is not None


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (record(), ""),
        (record(trace_id=b""), "no_span"),
        (record(span_id=b""), "no_span"),
        (record(trace_id=bytes(16)), "no_span"),
        (record(span_id=bytes(8)), "no_span"),
        (record(trace_id=b"t" * 15), "no_span"),
        (record(8), "below_severity"),
        (record(0), ""),
        (record(21), ""),
        (record(1, name="gen_ai.choice"), ""),
        (record(1, event_name="gen_ai.user.message"), ""),
        (record(1, exception_type="ValueError"), ""),
    ],
)
def test_what_it_takes_out(sent: LogRecord, reason: str) -> None:
    _, verdict, _ = processed(ValidateLogs(True, 9, 1000), request(sent))
    assert verdict.rejected == Counter([reason] if reason else [])
    if reason:
        assert LOG_REASONS[reason] in verdict.explain()


@pytest.mark.parametrize(
    ("text", "number", "least", "taken_out"),
    [
        ("DEBUG", 0, "info", True),
        ("debug2", 0, "info", True),
        ("WARNING", 0, "error", True),
        ("CRITICAL", 0, "error", False),
        ("Information", 0, "info", False),
        ("DEBUG", 9, "info", False),  # the number says it
        ("my own", 0, "fatal", False),
        ("", 0, "fatal", False),
        ("", -1, "fatal", False),
        ("", 0, "none", True),
        ("", -1, "none", True),
        ("", 24, "none", True),
        ("", 2**31 - 1, "fatal", False),
    ],
)
def test_how_severe_a_record_is(text: str, number: int, least: Any, taken_out: bool) -> None:
    """Its text says it where its number does not; with `none`, whatever it says."""
    sent = record(number)
    sent.severity_text = text
    _, verdict, _ = processed(ValidateLogs(True, load(logs_severity=least).least_severity, 1000), request(sent))
    assert verdict.rejected == Counter(["below_severity"] if taken_out else [])


def test_a_resource_that_many_records_share_counts_for_each() -> None:
    _, verdict, _ = processed(ValidateLogs(True, 9, 50), request(*([record()] * 20), resource="x" * 10_240))
    assert verdict.rejected == {"too_many_rows": 16}


def test_the_names_of_severities_are_opentelemetry_s() -> None:
    for name, number in SEVERITIES.items():
        if name != "none":
            assert SeverityNumber.Name(SeverityNumber.ValueType(number)) == f"SEVERITY_NUMBER_{name.upper()}"
    assert load(logs_severity="none").least_severity > max(SeverityNumber.values())
