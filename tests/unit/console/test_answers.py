"""What was read → Jaeger's messages."""

from typing import Any

import hypothesis
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status, TracesData

from headrace.console.jaeger.answers import chunks, summary
from otlp import START, attributes, resource_spans, span

FOUR_MIB = 4 * 1024 * 1024
TRACE = b"\1" * 16


def ids(messages: list[TracesData]) -> list[bytes]:
    return [
        each.span_id
        for message in messages
        for resource in message.resource_spans
        for scope in resource.scope_spans
        for each in scope.spans
    ]


def of_size(number: int, size: int, **fields: Any) -> Span:
    return span("x", TRACE, number.to_bytes(8, "big"), attrs={"x": "y" * size}, **fields)


@hypothesis.settings(deadline=None, max_examples=30)
@hypothesis.given(st.lists(st.lists(st.integers(0, 3_000_000), max_size=4), max_size=4))
def test_each_span_comes_once_in_messages_that_are_small_enough_and_not_empty(sizes: list[list[int]]) -> None:
    number = iter(range(1, 100))
    data = TracesData(
        resource_spans=[
            resource_spans(*(of_size(next(number), size) for size in group), service=f"s{place}")
            for place, group in enumerate(sizes)
        ]
    )
    messages = list(chunks(data))
    assert ids(messages) == ids([data])
    assert all(0 < message.ByteSize() < FOUR_MIB for message in messages)
    assert all(scope.spans for message in messages for each in message.resource_spans for scope in each.scope_spans)


def test_a_small_trace_is_one_message_and_unchanged() -> None:
    data = TracesData(resource_spans=[resource_spans(of_size(1, 9), of_size(2, 9)), resource_spans(of_size(3, 9), service="b")])
    assert list(chunks(data)) == [data]


def test_a_long_trace_goes_on_in_the_next_message_with_its_resource() -> None:
    data = TracesData(resource_spans=[resource_spans(*(of_size(number, 100_000) for number in range(1, 60)))])
    messages = list(chunks(data))
    assert len(messages) == 3
    assert {message.resource_spans[0].resource.SerializeToString() for message in messages} == {
        data.resource_spans[0].resource.SerializeToString()
    }


def test_what_is_too_large_loses_its_largest_attributes_and_says_so() -> None:
    large = span("x", TRACE, b"\1" * 8, attrs={"a": "keep", "b": "y" * 5_000_000, "c": b"z" * 5_000_000})
    sent = ResourceSpans()
    sent.CopyFrom(resource_spans(large))
    sent.resource.attributes.extend(attributes({"big": "y" * 5_000_000}))
    (message,) = chunks(TracesData(resource_spans=[sent]))
    (found,) = message.resource_spans[0].scope_spans[0].spans
    assert [pair.key for pair in found.attributes] == ["a"]
    assert found.dropped_attributes_count == 2
    assert [pair.key for pair in message.resource_spans[0].resource.attributes] == ["service.name"]
    assert message.resource_spans[0].resource.dropped_attributes_count == 1
    assert len(large.attributes) == 3  # what was read is not changed


def test_events_links_names_and_messages_of_megabytes_go_too() -> None:
    text = "y" * 3_000_000
    large = span(
        text,
        TRACE,
        b"\1" * 8,
        events=[Span.Event(name=text)],
        links=[Span.Link(trace_state=text)],
        status=Status(message=text, code=2),  # type: ignore[arg-type]
        trace_state=text,
    )
    (message,) = chunks(TracesData(resource_spans=[resource_spans(large)]))
    (found,) = message.resource_spans[0].scope_spans[0].spans
    assert message.ByteSize() < 10_000
    assert (found.dropped_events_count, found.dropped_links_count, found.status.code) == (1, 1, 2)


def test_a_summary() -> None:
    failed = Status(code=2)  # type: ignore[arg-type]
    data = TracesData(
        resource_spans=[
            resource_spans(
                span("buy", TRACE, b"\1" * 8, start=START, end=START + 9),
                span("lost", TRACE, b"\2" * 8, b"\7" * 8, START - 5, START + 1, status=failed),
                service="web",
            ),
            resource_spans(span("pay", TRACE, b"\3" * 8, b"\1" * 8, START, START + 20), service="pay"),
        ]
    )
    found = summary(data)
    assert found is not None
    assert (found.trace_id, found.root_service_name, found.root_operation_name) == (TRACE, "web", "buy")
    assert (found.min_start_time_unix_nano, found.max_end_time_unix_nano) == (START - 5, START + 20)
    assert (found.span_count, found.error_span_count, found.orphan_span_count) == (3, 1, 1)
    assert [(each.name, each.span_count, each.error_span_count) for each in found.services] == [("pay", 1, 0), ("web", 2, 1)]
    assert summary(TracesData()) is None
