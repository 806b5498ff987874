"""The budget of rows: nothing changes for what fits; else tags go first, and spans that do not fit are refused in words."""

import os

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans

import otlp
from headrace.envelope.incoming import Request, Sender
from headrace.otlp.spans import count_spans
from headrace.processor import chain
from headrace.processor.budget import Budget
from headrace.processor.validate import Validate
from headrace.processor.verdict import Verdict

ROWS, TAGS = 10_000, 128


def kept(request: ExportTraceServiceRequest) -> tuple[int, int, dict[str, int], dict[str, int], str]:
    """Tags allowed, spans left, rejections, warnings, what the client is told."""
    came = Request(request, Sender({}))
    verdict = Verdict.of(came)
    chain((Validate(), Budget(ROWS, TAGS)), came, verdict)
    return came.max_tags, count_spans(request), dict(verdict.rejected), dict(verdict.warned), verdict.explain()


def test_what_fits_is_left_alone() -> None:
    request = otlp.request(*(otlp.span() for _ in range(100)), **{f"k{n}": str(n) for n in range(60)})
    before = request.SerializeToString()
    assert kept(request)[:4] == (0, 100, {}, {})
    assert request.SerializeToString() == before


def test_more_tags_than_a_trace_may_have_are_told() -> None:
    request = otlp.request(otlp.span(), **{f"k{n}": str(n) for n in range(1500)})
    allowed, spans, rejected, warned, told = kept(request)
    assert (allowed, spans, rejected, warned) == (0, 1, {}, {"tags_over_limit": 1})
    assert "HEADRACE_MAX_TAGS_PER_TRACE" in told
    assert "rejected" not in told


def test_many_traces_get_fewer_tags() -> None:
    request = otlp.request(*(otlp.span() for _ in range(500)), **{f"k{n}": str(n) for n in range(100)})
    allowed, spans, rejected, warned, _ = kept(request)
    assert 8 <= allowed <= 13
    assert (spans, rejected, warned) == (500, {}, {"tags_over_limit": 500})


def test_long_tags_count_as_several() -> None:
    request = otlp.request(*(otlp.span() for _ in range(500)), **{f"k{n}": "x" * 7500 for n in range(10)})
    allowed, spans, rejected, _, _ = kept(request)
    assert allowed == 1
    assert (spans, rejected) == (500, {})


def test_spans_beyond_the_budget_are_refused() -> None:
    request = otlp.request(*(otlp.span(parent=os.urandom(8)) for _ in range(3000)))
    _, spans, rejected, _, told = kept(request)
    assert 1000 < spans < 1500
    assert rejected == {"too_many_rows": 3000 - spans}
    assert "HEADRACE_MAX_ROWS_PER_REQUEST" in told


def test_a_large_resource_of_many_scopes() -> None:
    """Each scope keeps a copy of its resource."""
    request = otlp.request(note="x" * 1_000_000)
    request.resource_spans[0].scope_spans.extend(ScopeSpans(spans=[otlp.span()]) for _ in range(100))
    request.resource_spans.append(otlp.resource_spans(otlp.span("of another resource")))
    _, spans, rejected, _, _ = kept(request)
    assert spans == 3
    assert rejected == {"too_many_rows": 98}
    assert request.resource_spans[-1].scope_spans[0].spans[0].name == "of another resource"


def test_tags_of_roots_count() -> None:
    spans = [otlp.span(attrs={f"mlflow.traceTag.t{n}": "v" for n in range(100)}) for _ in range(200)]
    _, left, rejected, _, _ = kept(otlp.request(*spans))
    assert left < 100
    assert rejected == {"too_many_rows": 200 - left}
    _, left, rejected, warned, _ = kept(otlp.request(otlp.span(attrs={f"mlflow.traceTag.t{n}": "v" for n in range(20_000)})))
    assert (left, rejected, warned) == (1, {}, {"tags_over_limit": 1})
