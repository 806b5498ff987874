"""What the bench sends, shape by shape: each trace whole, its root last, each id once."""

import gzip
from collections import defaultdict
from collections.abc import Iterator
from functools import cache, partial
from itertools import chain, pairwise

import pytest
from bench.load import Plan
from bench.shapes import SHAPES
from bench.stream import Request, Stream
from bench.templates import templates
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

EACH_SHAPE = pytest.mark.parametrize("name", list(SHAPES))
WHOLE_ONES = [name for name, shape in SHAPES.items() if not shape.long]


def sent(stream: Stream) -> list[Request]:
    return list(iter(stream.next, None))


@pytest.fixture(scope="module", autouse=True)
def few_templates() -> Iterator[None]:
    """Templates take most of the time, and a few show all that is tested here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.templates._LEAST", 2)
        patch.setattr("bench.templates._SPANS", 32)
        templates.cache_clear()
        yield
    templates.cache_clear()


@cache
def few(name: str) -> list[Request]:
    """About eight requests of a shape."""
    return sent(Stream(SHAPES[name], 8))


@cache
def spans(request: Request) -> list[tuple[str, Span]]:
    """Service and span, in the order of the request. None if it holds log records."""
    if request.signal == "logs":
        return []
    message = ExportTraceServiceRequest.FromString(request.body)
    return [
        (resource_spans.resource.attributes[0].value.string_value, span)
        for resource_spans in message.resource_spans
        for scope_spans in resource_spans.scope_spans
        for span in scope_spans.spans
    ]


def traces(requests: list[Request]) -> dict[bytes, list[Span]]:
    """Trace id → its spans in the order in which they are sent."""
    found: dict[bytes, list[Span]] = defaultdict(list)
    for _, span in chain.from_iterable(map(spans, requests)):
        found[span.trace_id].append(span)
    return found


@EACH_SHAPE
def test_each_id_is_sent_once_and_each_parent_with_its_trace(name: str) -> None:
    requests = few(name)
    found = traces(requests)
    every = [span.span_id for trace in found.values() for span in trace]
    assert len(set(every)) == len(every) == sum(request.spans for request in requests)
    for trace in found.values():
        ids = {span.span_id for span in trace}
        assert all(span.parent_span_id in ids for span in trace if span.parent_span_id)
        assert sum(not span.parent_span_id for span in trace) == 1
        assert all(0 < span.start_time_unix_nano < span.end_time_unix_nano for span in trace)


@pytest.mark.parametrize("name", WHOLE_ONES)
def test_each_trace_is_whole_and_its_root_is_the_last(name: str) -> None:
    shape, requests = SHAPES[name], few(name)
    found = traces(requests)
    assert len(found) == sum({request.group: request.traces for request in requests}.values())
    assert {len(trace) for trace in found.values()} == {shape.spans}
    if shape.work != "services" or shape.parts > 1:  # whole requests of several services are ordered by service
        assert all(not trace[-1].parent_span_id for trace in found.values())


@pytest.mark.parametrize(("name", "parts"), [("pieces", 4), ("pieces-1", 10), ("batches", 4), ("agent", 6)])
def test_a_trace_in_pieces_takes_turns_with_others(name: str, parts: int) -> None:
    requests = sent(Stream(SHAPES[name], 240))
    groups = [request.group for request in requests]
    assert {groups.count(group) for group in groups} == {parts}
    assert [request.opens for request in requests] == [group not in groups[:at] for at, group in enumerate(groups)]
    assert sum(one == other for one, other in pairwise(groups)) < len(groups) / 20


def test_a_piece_is_of_one_service() -> None:
    for request in sent(Stream(SHAPES["pieces"], 40)):
        assert len({service for service, _ in spans(request)}) == 1
    whole = sent(Stream(SHAPES["pieces-whole"], 1))[0]
    assert {service for service, _ in spans(whole)} == {"orders", "payment", "stock"}


def test_long_traces_grow_to_the_end() -> None:
    requests = sent(Stream(SHAPES["long"], 200))
    found = traces(requests)
    assert len(found) == 32
    assert all(len(trace) > 100 for trace in found.values())
    roots = [next(at for at, span in enumerate(trace) if not span.parent_span_id) for trace in found.values()]
    assert [roots.count(0), sum(at > 100 for at in roots)] == [16, 16]
    first, last = traces(requests[:16]), traces(requests[-16:])
    assert first.keys() == last.keys() == found.keys()


@EACH_SHAPE
@pytest.mark.parametrize("ahead", [False, True], ids=["made when asked for", "made ahead"])
def test_what_has_begun_is_sent_to_its_end(name: str, ahead: bool) -> None:
    stream = Stream(SHAPES[name], 24 if ahead else 10**9)
    if ahead:
        stream.make_ahead()
    requests = [request for _ in range(3) if (request := stream.next())]
    stream.stop()
    rest = sent(stream)
    found = traces(requests + rest)
    assert not any(request.opens for request in rest)
    assert all(sum(not span.parent_span_id for span in trace) == 1 for trace in found.values())
    if not SHAPES[name].long:
        assert {len(trace) for trace in found.values()} == {SHAPES[name].spans}


def test_each_span_has_a_log_record_that_comes_before_it_or_after_it() -> None:
    requests = few("8x8-logs")
    ids = {(span.trace_id, span.span_id): span for _, span in chain.from_iterable(map(spans, requests))}
    messages = [ExportLogsServiceRequest.FromString(each.body) for each in requests if each.signal == "logs"]
    records = [record for each in messages for record in each.resource_logs[0].scope_logs[0].log_records]
    assert sorted((record.trace_id, record.span_id) for record in records) == sorted(ids)
    assert all(record.time_unix_nano < ids[record.trace_id, record.span_id].end_time_unix_nano for record in records)
    assert {request.signal for request in requests if request.opens} == {"traces", "logs"}


@pytest.mark.parametrize("name", ["8x8-logs", "pieces"])
def test_a_group_whose_first_request_is_taken_back_is_not_sent(name: str) -> None:
    stream = Stream(SHAPES[name], 10**9)
    begun = {request.group for _ in range(3) if (request := stream.next())}
    while (request := stream.next()) and request.group in begun:
        pass
    assert request is not None
    stream.stop()
    stream.take_back(request)
    assert {each.group for each in sent(stream)} <= begun


def test_bodies_are_compressed() -> None:
    stream = Stream(SHAPES["agent"], 6, partial(gzip.compress, compresslevel=1, mtime=0))
    stream.make_ahead()
    requests = sent(stream)
    inflated = [request._replace(body=gzip.decompress(request.body)) for request in requests]
    assert sum(map(len, traces(inflated).values())) == 30
    assert sum(len(request.body) for request in requests) < sum(len(request.body) for request in inflated)


def test_an_agent_s_messages_grow_and_have_an_image() -> None:
    found = traces(sent(Stream(SHAPES["agent-whole"], 1)))
    attributes = [
        {attribute.key: attribute.value.string_value for attribute in span.attributes} for span in next(iter(found.values()))
    ]
    messages = [each["gen_ai.input.messages"] for each in attributes if each.get("gen_ai.operation.name") == "chat"]
    assert 3 * 1024 < len(messages[0]) < 5 * 1024
    assert 36 * 1024 < len(messages[-1]) < 44 * 1024
    assert ['"type": "blob"' in each for each in messages] == [False] * 4 + [True] * 6
    assert any('"type": "tool_call"' in each for each in messages)
    assert sum("gen_ai.tool.definitions" in each for each in attributes) == 10


def test_a_plan_is_named_by_what_is_unusual() -> None:
    assert Plan("10x10", 8, 1).name == "10x10"
    assert Plan("pieces", 8, 1, transport="grpc", encoding="gzip").name == "pieces grpc gzip"


@EACH_SHAPE
def test_each_counterpart_is_a_shape(name: str) -> None:
    assert not SHAPES[name].whole or SHAPES[SHAPES[name].whole].parts == 1
