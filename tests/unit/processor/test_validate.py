"""Impossible spans out, counted by reason; everything else untouched."""

from typing import Any

import pytest

import otlp
from headrace.processor.verdict import REASONS

GOOD: dict[str, Any] = {"trace_id": b"t" * 16, "span_id": b"s" * 8}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"trace_id": b""}, "invalid_trace_id"),
        ({"trace_id": bytes(16)}, "invalid_trace_id"),
        ({"trace_id": b"t" * 15}, "invalid_trace_id"),
        ({"trace_id": b"t" * 24}, "invalid_trace_id"),
        ({"span_id": b""}, "invalid_span_id"),
        ({"span_id": bytes(8)}, "invalid_span_id"),
        ({"span_id": b"s" * 16}, "invalid_span_id"),
        ({"parent": b"p" * 7}, "invalid_parent_span_id"),
        ({"start": 2**63}, "time_out_of_range"),
    ],
)
def test_one_bad_span_costs_one_span(bad: dict[str, Any], reason: str) -> None:
    good = otlp.span(**GOOD)
    request = otlp.request(good, otlp.span(**(GOOD | bad)), good)
    verdict = otlp.validate(request)
    assert verdict.received == 3
    assert verdict.accepted == 2
    assert verdict.rejected == {reason: 1}
    assert list(request.resource_spans[0].scope_spans[0].spans) == [good, good]
    assert verdict.explain() == f"1 of 3 spans rejected: {REASONS[reason]} (1)."


def test_a_good_request_is_left_as_it_is() -> None:
    request = otlp.request(otlp.span(parent=b"p" * 8), otlp.span(parent=bytes(8)), otlp.span(start=0, end=0))
    before = request.SerializeToString()
    verdict = otlp.validate(request)
    assert (verdict.received, verdict.accepted) == (3, 3)
    assert request.SerializeToString() == before


def test_a_span_that_is_its_own_parent_becomes_a_root() -> None:
    request = otlp.request(otlp.span(span_id=b"s" * 8, parent=b"s" * 8))
    verdict = otlp.validate(request)
    assert verdict.repaired == {"self_parent": 1}
    assert request.resource_spans[0].scope_spans[0].spans[0].parent_span_id == b""


def test_impossible_ends_are_left_to_the_writer_which_keeps_what_was_sent() -> None:
    request = otlp.request(otlp.span(end=2**64 - 1), otlp.span(end=0), otlp.span(start=0, end=0))
    before = request.SerializeToString()
    assert not otlp.validate(request).repaired
    assert request.SerializeToString() == before


def test_an_empty_request_is_fine() -> None:
    verdict = otlp.validate(otlp.request())
    assert (verdict.received, verdict.accepted) == (0, 0)
    assert not verdict.rejected
