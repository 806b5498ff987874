"""Which spans describe the same call of a model, and how often its tokens count."""

import random
from typing import Any

import pytest
from frameworks import folded, parts
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import otlp

TRACE, ROOT = b"t" * 16, b"\1" * 8


def call(number: int, scope: str, answer: str = "msg_1", parent: bytes = ROOT, tokens: int = 10) -> ExportTraceServiceRequest:
    """A request with one span that describes one call."""
    said: dict[str, Any] = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": tokens, "gen_ai.response.id": answer}
    request = otlp.request(otlp.span("chat", TRACE, bytes([number]) * 8, parent, attrs=said))
    request.resource_spans[0].scope_spans[0].scope.name = scope
    return request


def total(*requests: ExportTraceServiceRequest) -> int | None:
    """The trace's tokens, whatever comes first."""
    root = otlp.request(otlp.span("root", TRACE, ROOT))
    found = set()
    for seed in range(4):
        pieces = [root, *requests]
        random.Random(seed).shuffle(pieces)
        found.add(folded([part for piece in pieces for part in parts(piece)]).tokens[2])
    (one,) = found
    return one


@pytest.mark.parametrize(
    ("requests", "tokens"),
    [
        ([call(2, "sdk"), call(3, "instrumentation")], 10),
        ([call(2, "sdk", tokens=10), call(3, "instrumentation", tokens=12)], 12),
        ([call(2, "a"), call(3, "b"), call(4, "c")], 10),
        ([call(2, "sdk", "msg_1"), call(3, "instrumentation", "msg_1"), call(4, "sdk", "msg_2")], 20),
        ([call(2, "sdk"), call(3, "sdk")], 20),  # one instrumentation: a cached answer, or a server that numbers none
        ([call(2, "sdk"), call(3, "instrumentation", parent=b"\2" * 8)], 10),  # the child of the other
        ([call(2, "sdk"), call(3, "instrumentation", parent=b"\7" * 8)], 20),  # no siblings
        ([call(2, ""), call(3, "instrumentation")], 20),
        ([call(2, "sdk"), call(2, "sdk"), call(3, "instrumentation")], 10),  # sent again
    ],
    ids=range(9),
)
def test_the_most_that_one_instrumentation_says_of_a_call_counts(
    requests: list[ExportTraceServiceRequest], tokens: int
) -> None:
    assert total(*requests) == tokens
