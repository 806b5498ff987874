"""`Pipeline.consume` with a queue in memory and known experiments: what is queued, what is told, what is counted."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client import REGISTRY

import otlp
from headrace.config import load
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.envelope.incoming import Request, Sender
from headrace.errors import (
    DatabaseUnavailable,
    HeadraceError,
    PermissionDenied,
    QueueFull,
    RateLimited,
    RequestError,
    Unroutable,
)
from headrace.otlp.signals import TRACES
from headrace.otlp.spans import count_spans
from headrace.pipeline import Pipeline, Steps, processors
from headrace.processor import Processor
from headrace.processor.authorize import Authorizer
from headrace.processor.budget import Budget
from headrace.processor.validate import Validate
from headrace.processor.verdict import Verdict
from headrace.queue import Item, Size
from unit.processor.requests import messages
from unit.processor.stand_in import KnownExperiments


@dataclass
class QueueInMemory:
    """Takes everything, or nothing; nobody takes anything out of it."""

    envelopes: list[bytes] = field(default_factory=list)
    error: HeadraceError | None = None

    def offer(self, envelope: bytes) -> "Future[None]":
        """See `Queue`."""
        future: Future[None] = Future()
        if self.error is not None:
            future.set_exception(self.error)
        else:
            self.envelopes.append(envelope)
            future.set_result(None)
        return future

    def claim(self, max_bytes: int, timeout: float) -> list[Item]:
        """See `Queue`."""
        return []

    def settle(self, items: Sequence[Item]) -> None:
        """See `Queue`."""

    def size(self) -> Size:
        """See `Queue`."""
        return Size(len(self.envelopes), sum(map(len, self.envelopes)), 2**30, 0)

    def drain(self, timeout: float) -> bool:
        """See `Queue`."""
        return not self.envelopes

    def close(self) -> None:
        """See `Queue`."""


@dataclass
class Road:
    """A pipeline, and what stands at its sides."""

    queue: QueueInMemory = field(default_factory=QueueInMemory)
    experiments: KnownExperiments = field(default_factory=KnownExperiments)
    processors: Sequence[Processor] = field(default_factory=lambda: processors(load())[TRACES])

    def consume(self, request: Request) -> Verdict:
        """Takes a request all the way."""
        return asyncio.run(
            Pipeline({TRACES: Steps(self.processors, Authorizer(self.experiments))}, self.queue).consume(request)
        )

    def queued(self) -> Delivery:
        """The one request that was queued."""
        (envelope,) = self.queue.envelopes
        return Delivery.from_envelope(envelope)


def to_shop(*spans: Any, **sender: Any) -> Request:
    return otlp.sent(otlp.request(*spans, **{"mlflow.experiment.name": "shop"}), **sender)


def counted() -> dict[str, float]:
    """How many spans were received, accepted, and rejected, ever."""
    found = {"received": 0.0, "accepted": 0.0, "rejected": 0.0}
    for metric in REGISTRY.collect():
        if (name := metric.name.removeprefix("headrace_spans_")) in found:
            found[name] = sum(sample.value for sample in metric.samples if sample.name.endswith("_total"))
    return found


def test_what_is_fine_is_queued_as_it_came() -> None:
    road = Road()
    headers = {"x-mlflow-run-id": " run ", "user-agent": "sdk/1" + "x" * 300}
    request = to_shop(otlp.span(), headers=headers, key_name="mobile")
    sent = request.original
    verdict = road.consume(request)
    assert (verdict.received, verdict.accepted, verdict.explain()) == (1, 1, "")
    envelope = pb.Envelope.FromString(road.queue.envelopes[0])
    assert envelope.request == sent
    assert [destination.experiment_id for destination in envelope.destinations] == ["7"]
    assert (envelope.run_id, envelope.key_name, len(envelope.user_agent)) == ("run", "mobile", 256)
    assert envelope.received_unix_nano > otlp.START // 2


def test_what_has_no_original_bytes_is_queued_as_it_was_read() -> None:
    road = Road()
    message = otlp.request(otlp.span(), **{"mlflow.experiment.name": "shop"})
    road.consume(Request(message, Sender({})))
    assert road.queued().request == message


def test_an_impossible_span_is_told_and_not_queued() -> None:
    road = Road()
    verdict = road.consume(to_shop(otlp.span("good"), otlp.span("bad", trace_id=b"short")))
    assert (verdict.accepted, verdict.rejected) == (1, {"invalid_trace_id": 1})
    assert [span.name for span in road.queued().request.resource_spans[0].scope_spans[0].spans] == ["good"]


def test_spans_that_could_not_be_parsed_are_told() -> None:
    road = Road()
    message = otlp.request(otlp.span(), **{"mlflow.experiment.name": "shop"})
    verdict = road.consume(Request(message, Sender({}), unparsed=2))
    assert (verdict.received, verdict.accepted, verdict.rejected) == (3, 1, {"malformed_span": 2})


def test_an_empty_request_is_fine_and_not_queued() -> None:
    road = Road(experiments=KnownExperiments(error=DatabaseUnavailable("nobody asks")))
    assert road.consume(otlp.sent(ExportTraceServiceRequest())).received == 0
    assert not road.queue.envelopes


def test_a_request_of_impossible_spans_is_an_error_and_needs_no_experiment() -> None:
    road = Road()
    with pytest.raises(RequestError, match="1 of 1 spans rejected: span_id"):
        road.consume(otlp.sent(otlp.request(otlp.span(span_id=b""))))
    assert not road.queue.envelopes


@pytest.mark.parametrize(("name", "error"), [("unknown", Unroutable), ("forbidden", PermissionDenied)])
def test_a_request_that_leads_nowhere_is_an_error(name: str, error: type[HeadraceError]) -> None:
    road = Road()
    before = counted()
    with pytest.raises(error):
        road.consume(otlp.sent(otlp.request(otlp.span(), otlp.span(), **{"mlflow.experiment.name": name})))
    assert not road.queue.envelopes
    assert counted() == before | {"received": before["received"] + 2, "rejected": before["rejected"] + 2}


@pytest.mark.parametrize("error", [QueueFull("full"), DatabaseUnavailable("away"), RateLimited("later", 1)])
def test_what_passes_later_rejects_nothing_and_accepts_nothing(error: HeadraceError) -> None:
    full = isinstance(error, QueueFull)
    road = Road(QueueInMemory(error=error if full else None), KnownExperiments(error=None if full else error))
    before = counted()
    with pytest.raises(type(error)):
        road.consume(to_shop(otlp.span()))
    assert not road.queue.envelopes
    assert counted() == before | {"received": before["received"] + 1}


def test_tags_beyond_the_limit_are_told_and_the_span_is_queued() -> None:
    road = Road(processors=(Validate(), Budget(max_rows=100, max_tags=2)))
    verdict = road.consume(otlp.sent(otlp.request(otlp.span(), a="1", b="2", c="3", mlflow_experiment_name="shop")))
    assert (verdict.accepted, verdict.rejected, verdict.warned) == (1, {}, {"tags_over_limit": 1})
    assert len(road.queue.envelopes) == 1


def test_whatever_comes_is_queued_rejected_or_refused_and_counted_once() -> None:
    before = counted()
    came = 0
    for message in messages():
        road = Road(processors=(Validate(), Budget(max_rows=60, max_tags=4)))
        came += count_spans(message)
        accepted = 0
        with suppress(RequestError):
            accepted = road.consume(otlp.sent(message)).accepted
        assert sum(count_spans(Delivery.from_envelope(envelope).request) for envelope in road.queue.envelopes) == accepted
    change = {name: value - before[name] for name, value in counted().items()}
    assert change["received"] == came == change["accepted"] + change["rejected"]


class Redact:
    """A processor that takes something out of every span."""

    def process(self, request: Request, verdict: Verdict) -> Request:
        """See `Processor`."""
        for resource_spans in request.for_change().resource_spans:
            for scope in resource_spans.scope_spans:
                for span in scope.spans:
                    span.ClearField("attributes")
        return request


def test_what_a_processor_takes_out_is_not_queued() -> None:
    road = Road(processors=(*processors(load())[TRACES], Redact()))
    road.consume(to_shop(otlp.span(attrs={"password": "secret"})))
    assert b"secret" not in road.queue.envelopes[0]
    assert road.queued().request.resource_spans[0].scope_spans[0].spans[0].name == "work"
