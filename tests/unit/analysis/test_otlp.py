"""OTLP → traces for the analysis."""

from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status, TracesData

from headrace.analysis.otlp import traces_of
from headrace.analysis.trace import CLIENT, Span
from otlp import resource_spans, span


def test_all_that_the_analysis_needs() -> None:
    root = span("buy", b"\1" * 16, b"\1" * 8, start=5, end=9)
    child = span(
        "call",
        b"\1" * 16,
        b"\2" * 8,
        b"\1" * 8,
        6,
        8,
        {"peer.service": "bank"},
        kind=CLIENT,
        status=Status(code=2),  # type: ignore[arg-type]
        links=[OtlpSpan.Link(trace_id=b"\2" * 16, span_id=b"\3" * 8)],
    )
    other = span("buy", b"\0" * 15 + b"\1", b"\4" * 8, bytes(8))
    sent = [resource_spans(child, service="pay"), resource_spans(root), resource_spans(other, service=None)]
    first, second = traces_of(TracesData(resource_spans=sent))
    assert first.trace_id == "0" * 31 + "1"
    assert [(each.service, each.parent_id) for each in first.roots] == [("", "")]
    assert list(second.spans.values()) == [
        Span("01" * 8, "", "checkout", "buy", 5, 9),
        Span("02" * 8, "01" * 8, "pay", "call", 6, 8, CLIENT, True, "bank", (("02" * 16, "03" * 8),)),
    ]
