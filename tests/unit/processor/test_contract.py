"""What every processor has to keep, for all kinds of requests. A new one is added to PROCESSORS; one that is not fails here."""

import inspect
import pkgutil
from collections.abc import Callable
from importlib import import_module
from typing import cast

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import headrace.processor
import otlp
from headrace.envelope.incoming import Request, Sender
from headrace.otlp.spans import count_spans
from headrace.processor import Processor, chain
from headrace.processor.budget import Budget
from headrace.processor.logs import ValidateLogs
from headrace.processor.points import Points
from headrace.processor.validate import Validate
from headrace.processor.verdict import REASONS, REPAIRS, WARNINGS, Verdict
from unit.processor.requests import messages, spans_of
from unit.processor.stand_in import Authorize

PROCESSORS: dict[str, Processor] = {
    "validate": Validate(),
    "budget": Budget(max_rows=10_000, max_tags=128),
    "tight budget": Budget(max_rows=60, max_tags=4),
    "no budget": Budget(max_rows=0, max_tags=1),
    "authorize": Authorize(),
}
OF_OTHER_SIGNALS = {ValidateLogs, Points}
"""Those that do not see spans: their own tests hold them to the same."""
_MAX_WORDS = 2000
"""Characters that are told to a client."""

every_processor = pytest.mark.parametrize("processor", PROCESSORS.values(), ids=PROCESSORS)


def processed(processor: Processor, request: Request) -> tuple[Request, Verdict]:
    verdict = Verdict.of(request)
    return processor.process(request, verdict), verdict


def copy_of(message: ExportTraceServiceRequest) -> ExportTraceServiceRequest:
    return ExportTraceServiceRequest.FromString(message.SerializeToString())


def message_of(request: Request) -> ExportTraceServiceRequest:
    """A copy of what it says."""
    return ExportTraceServiceRequest.FromString(request.message.SerializeToString())


def assert_honest(request: Request) -> None:
    """What is carried as original bytes says what the message says; else something that was changed would be queued as sent."""
    if request.original is not None:
        assert ExportTraceServiceRequest.FromString(request.original) == message_of(request)


@every_processor
def test_the_counts_add_up(processor: Processor) -> None:
    for number, message in enumerate(messages()):
        unparsed = number % 3
        came = count_spans(message) + unparsed
        request, verdict = processed(processor, Request(copy_of(message), Sender({}), unparsed=unparsed))
        assert verdict.received == came
        assert verdict.received == verdict.accepted + verdict.rejected.total()
        assert verdict.accepted == count_spans(request.message)
        assert min((verdict.rejected + verdict.repaired + verdict.warned).values(), default=1) > 0


@every_processor
def test_what_stays_keeps_its_order_and_its_place(processor: Processor) -> None:
    def places(message: ExportTraceServiceRequest) -> dict[str, tuple[bytes, bytes]]:
        return {
            span.name: (resource.resource.SerializeToString(), scope.scope.SerializeToString())
            for resource in message.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }

    for message in messages():
        before = places(message)
        request, _ = processed(processor, otlp.sent(message))
        after = message_of(request)
        numbers = [int(span.name) for span in spans_of(after)]
        assert numbers == sorted(set(numbers))
        assert places(after).items() <= before.items()


@every_processor
def test_what_was_let_pass_once_passes_as_it_is(processor: Processor) -> None:
    for message in messages():
        first, _ = processed(processor, otlp.sent(message))
        once = message_of(first)
        second, verdict = processed(processor, otlp.sent(once))
        assert message_of(second) == once
        assert second.original is not None
        assert (verdict.rejected, verdict.repaired) == ({}, {})
        assert second.max_tags == first.max_tags


@every_processor
def test_a_changed_request_carries_no_original_bytes(processor: Processor) -> None:
    for message in messages():
        request, verdict = processed(processor, otlp.sent(message))
        assert_honest(request)
        if message_of(request) != message:
            assert request.original is None
        if not verdict.rejected and not verdict.repaired and message_of(request) == message:
            assert request.original is not None  # nor is anything serialised anew that is as it came


@every_processor
def test_what_comes_out_is_bounded(processor: Processor) -> None:
    for message in messages():
        size = message.ByteSize()
        request, verdict = processed(processor, otlp.sent(message))
        assert len(request.message.SerializeToString()) <= size
        assert verdict.rejected.keys() <= REASONS.keys()
        assert verdict.repaired.keys() <= REPAIRS.keys()
        assert verdict.warned.keys() <= WARNINGS.keys()
        assert len(verdict.explain()) <= _MAX_WORDS


def test_a_chain_keeps_what_its_links_keep() -> None:
    for message in messages():
        request = otlp.sent(message)
        verdict = Verdict.of(request)
        request = chain(PROCESSORS.values(), request, verdict)
        assert verdict.accepted == count_spans(request.message)
        assert_honest(request)


def test_all_that_is_ever_said_together_is_bounded() -> None:
    verdict = Verdict(2**63)
    for reason in REASONS:
        verdict.reject(reason, 2**40)
    for rule in WARNINGS:
        verdict.warn(rule, 2**40)
    assert len(verdict.explain()) <= _MAX_WORDS


def test_every_processor_is_held_to_this() -> None:
    modules = [import_module(f"headrace.processor.{found.name}") for found in pkgutil.iter_modules(headrace.processor.__path__)]
    found = {
        kind
        for module in modules
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if kind.__module__ == module.__name__ and callable(getattr(kind, "process", None))
    }
    assert found - OF_OTHER_SIGNALS == {type(processor) for processor in PROCESSORS.values()} - {Authorize}


class Redact:
    """Takes secrets out, as it should."""

    def process(self, request: Request, verdict: Verdict) -> Request:
        """See `Processor`."""
        if any(pair.key == "password" for span in spans_of(message_of(request)) for pair in span.attributes):
            _redact(request.for_change())
        return request


class RedactWithoutSaying:
    """Changes what it was given to read. For mypy these lines are errors: the comments would be, were they not needed."""

    def process(self, request: Request, verdict: Verdict) -> Request:
        """See `Processor`."""
        for resource_spans in request.message.resource_spans:
            for scope in resource_spans.scope_spans:
                for span in scope.spans:
                    span.name = "x"  # type: ignore[misc]
                    span.attributes.pop()  # type: ignore[attr-defined]
                    for pair in span.attributes:
                        pair.value.string_value = "***"  # type: ignore[misc]
        return request


class RedactBehindACast:
    """Deceives mypy."""

    def process(self, request: Request, verdict: Verdict) -> Request:
        """See `Processor`."""
        _redact(cast("ExportTraceServiceRequest", request.message))
        return request


def _redact(message: ExportTraceServiceRequest) -> None:
    for span in spans_of(message):
        for pair in span.attributes:
            pair.value.string_value = "***"


def secret() -> Request:
    return otlp.sent(otlp.request(otlp.span(attrs={"password": "secret", "n": "1"})))


def test_what_is_taken_for_change_is_queued_as_it_was_changed() -> None:
    request, _ = processed(Redact(), secret())
    assert_honest(request)
    assert b"secret" not in request.to_envelope()
    assert b"***" in request.to_envelope()


def test_the_original_bytes_are_gone_for_good() -> None:
    request = secret()
    message = request.for_change()
    assert request.original is None
    _redact(message)  # later, and through what was kept
    assert b"secret" not in request.to_envelope()
    with pytest.raises(AttributeError):
        request.original = b"secret"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        request.message = message  # type: ignore[misc]


@pytest.mark.parametrize("cheat", [RedactWithoutSaying, RedactBehindACast])
def test_a_processor_that_deceives_the_types_is_caught_here(cheat: Callable[[], Processor]) -> None:
    request, _ = processed(cheat(), secret())
    with pytest.raises(AssertionError):
        assert_honest(request)
