"""What a batch becomes is estimated: never far too low, whatever is sent; and an outage is told from a batch's fault."""

import os
import random
import threading
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import otlp
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.errors import PermanentExportError, WriteBroke
from headrace.export.rehearsal import LAST_ROUNDS, rehearsed
from headrace.mlflow.fold.root_decides import RootDecides
from headrace.mlflow.translate.parts import to_parts
from headrace.mlflow.translate.weight import weigh


def delivery(*spans: Span, **resource: Any) -> Delivery:
    return Delivery(otlp.request(*spans, **resource), (pb.Destination(experiment_id="0"),), "", 0, "")


def built(given: Delivery) -> int:
    """The bytes of its contents, tags and origins."""
    parts = to_parts(given, Counter(), RootDecides())
    contents = sum(len(row.content.encode()) for part in parts for row in part.spans.values())
    tags = sum(len(key) + len(value.encode()) for part in parts for key, value in part.values.others.tags.items())
    origins = {digest: len(data) for part in parts for digest, data in part.origins.items()}
    return contents + tags + sum(origins.values())


MANY = 500
CASES: dict[str, Callable[[], Delivery]] = {
    "empty": lambda: delivery(*(otlp.span() for _ in range(MANY))),
    "a long service": lambda: delivery(*(otlp.span() for _ in range(MANY)), service="\1" * 1_000_000),
    "long tags": lambda: delivery(*(otlp.span(parent=b"p" * 8) for _ in range(50)), **{f"k{n}": "é" * 9000 for n in range(50)}),
    "links": lambda: delivery(otlp.span(links=[Span.Link() for _ in range(MANY)])),
    "events": lambda: delivery(otlp.span(events=[Span.Event() for _ in range(MANY)])),
    "control characters": lambda: delivery(otlp.span(attrs={"a": "\1" * 500_000})),
    "quotes": lambda: delivery(otlp.span(attrs={"a": '"' * 500_000})),
    "bytes": lambda: delivery(otlp.span(attrs={"a": bytes(500_000)})),
    "lists": lambda: delivery(otlp.span(attrs={"a": [""] * 20_000})),
    "maps": lambda: delivery(otlp.span(attrs={"a": {str(n): "\\" * 10 for n in range(4_000)}})),
    "numbers": lambda: delivery(otlp.span(attrs={"a": [random.random() for _ in range(4_000)]})),
}


@cache
def made(case: str) -> tuple[Delivery, int]:
    """The delivery, and what it becomes."""
    given = CASES[case]()
    return given, built(given)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("limit", [0, 1 << 40])
def test_the_estimate_is_never_too_low(case: str, limit: int) -> None:
    given, size = made(case)
    assert weigh(given, limit) >= size


def test_the_estimate_of_a_large_text_is_close() -> None:
    """Else spans that Postgres takes well would become dead letters."""
    given = delivery(otlp.span(attrs={"input.value": '{"role": "user", "content": "text and more text"}' * 40_000}))
    assert weigh(given, 0) < 3 * built(given)


def happens(chance: random.Random, share: float) -> bool:
    return chance.random() < share


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_what_cuts_connections_at_random_convicts_nobody(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.export.retry._FIRST_SECONDS", 0)
    chance, stop = random.Random(os.urandom(8)), threading.Event()

    def write() -> None:
        if happens(chance, share):
            raise WriteBroke("cut")

    outcomes = Counter[str]()
    for _ in range(2000):
        try:
            rehearsed(write, lambda _: not happens(chance, share), LAST_ROUNDS, stop)
            outcomes["written"] += 1
        except WriteBroke:
            outcomes["waits"] += 1
    assert outcomes.total() == 2000


def test_who_breaks_each_connection_while_rehearsals_go_through_is_convicted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.export.retry._FIRST_SECONDS", 0)
    writes = []

    def write() -> None:
        writes.append(1)
        raise WriteBroke("server closed the connection")

    with pytest.raises(PermanentExportError, match="12 times in a row"):
        rehearsed(write, lambda _: True, LAST_ROUNDS, threading.Event())
    assert len(writes) == LAST_ROUNDS
