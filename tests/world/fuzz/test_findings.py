"""The smallest body of each bug that fuzzing found, mended or not."""

import gzip
import json
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import Launcher, free_port
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import otlp
from headrace.config import load
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.errors import BodyTooLarge, HeadraceError, MalformedBody, Unroutable
from headrace.mlflow.fold.arrival_order import ArrivalOrder
from headrace.mlflow.fold.policy import FoldPolicy
from headrace.mlflow.fold.root_decides import RootDecides
from headrace.mlflow.translate.parts import to_parts
from headrace.otlp.codec import Encoding, decode
from headrace.otlp.json_encoding import load_object
from headrace.processor.route import route_headers, route_resource
from headrace.receiver.auth import Keys
from otlp import validate

SPAN = '{"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "name": "x"}'


def decode_spans(*spans: str) -> tuple[ExportTraceServiceRequest, int]:
    body = f'{{"resourceSpans": [{{"scopeSpans": [{{"spans": [{", ".join(spans)}]}}]}}]}}'
    return decode(body.encode("utf-8", "surrogatepass"), Encoding.JSON)


def nested(depth: int) -> str:
    value = '{"arrayValue": {"values": [' * depth + '{"intValue": 1}' + "]}}" * depth
    return f'{{"attributes": [{{"key": "k", "value": {value}}}]}}'


@pytest.mark.parametrize(
    "bad",
    [
        '{"kind": 1e999}',  # was OverflowError, answered 500, as the next two
        '{"status": {"code": Infinity}}',
        '{"attributes": [{"key": "k", "value": {"doubleValue": 1%s}}]}' % ("0" * 400),
        '{"links": 5}',  # cost the whole request, as what follows
        "7",
        *map(nested, range(46, 52)),  # one of them is too deep in a request, but not alone
    ],
)
def test_one_bad_span_costs_one_span(bad: str) -> None:
    request, left_out = decode_spans(SPAN, bad)
    spans = request.resource_spans[0].scope_spans[0].spans
    assert len(spans) + left_out == 2
    assert spans[0].name == "x"
    assert ExportTraceServiceRequest.FromString(request.SerializeToString()) == request


@pytest.mark.parametrize("half", ["\\ud800", "\ud800", "\\udfff"])
def test_half_a_surrogate_pair_in_a_key_is_an_unknown_field(half: str) -> None:
    """Was SystemError, answered 500."""
    request, left_out = decode_spans(SPAN.replace('"name"', f'"a{half}": 1, "name"'))
    assert left_out == 0
    assert request.resource_spans[0].scope_spans[0].spans[0].name == "x"


def test_spans_that_are_a_text_are_malformed_at_once() -> None:
    """Was 18 µs a character."""
    started = time.process_time()
    with pytest.raises(MalformedBody):
        decode(b'{"resourceSpans": [{"scopeSpans": [{"spans": "%s"}]}]}' % (b"a" * 1_000_000), Encoding.JSON)
    assert time.process_time() - started < 1


def test_what_is_no_object_is_left_out_quickly() -> None:
    started = time.process_time()
    assert decode_spans(SPAN, *["1"] * 100_000)[1] == 100_000
    assert time.process_time() - started < 2


def test_a_body_of_a_million_parts_is_too_large() -> None:
    """A million of these links are 2 MB in the queue, and 560 in the worker, which would have died of more of them for ever."""
    span = otlp.span().SerializeToString()
    head, links = otlp.request(otlp.span(trace_state="x" * 5_000_000)).SerializeToString(), b"\x6a\x00" * 1_000_001
    assert decode(head, Encoding.PROTOBUF)[1] == 0  # large, but no part too many
    request = ExportTraceServiceRequest.FromString(head)
    request.resource_spans[0].scope_spans[0].spans[0].MergeFromString(span + links)
    with pytest.raises(BodyTooLarge, match="send smaller batches"):
        decode(request.SerializeToString(), Encoding.PROTOBUF)


def test_a_json_body_of_too_many_objects_is_too_large() -> None:
    for body in (b"[" + b"{}," * 4_000_000 + b"{}]", b'{"resourceSpans": [%s{}]}' % (b"{}," * 1_000_000)):
        started = time.process_time()
        with pytest.raises(BodyTooLarge, match="send smaller batches"):
            decode(body, Encoding.JSON)
        assert time.process_time() - started < 5
    assert load_object(b'{"a": [[]]}') == {"a": [[]]}


def test_scopes_and_resources_without_spans_go_nowhere() -> None:
    """Each was routed, written to the queue, translated; where it had no route, a full success was said to be a partial one."""
    request = otlp.request(otlp.span("kept"), mlflow_experiment_id="0")
    request.resource_spans.add()
    request.resource_spans[0].scope_spans.add()
    request.resource_spans.append(otlp.resource_spans(otlp.span(span_id=b"short")))
    verdict = validate(request)
    assert (verdict.received, verdict.accepted) == (2, 1)
    (resource_spans,) = request.resource_spans
    assert [span.name for scope in resource_spans.scope_spans for span in scope.spans] == ["kept"]
    assert len(resource_spans.scope_spans) == 1
    assert resource_spans.resource.attributes[1].key == "mlflow.experiment.id"


def test_an_experiment_id_of_5000_digits_is_unroutable() -> None:
    with pytest.raises(Unroutable):
        route_resource({"mlflow.experiment.id": "9" * 5000}, load())
    with pytest.raises(Unroutable):
        route_headers({"x-mlflow-experiment-id": "9" * 5000})


def test_basic_credentials_that_are_not_ascii_are_unauthenticated(tmp_path: Path) -> None:
    with pytest.raises(HeadraceError):
        Keys(tmp_path / "keys").authenticate({"authorization": "Basic \xe9"}, "127.0.0.1")


@pytest.mark.parametrize("value", [[{"a": 1}], [[1], {"a": 1}], [{}, "x"]])
def test_any_span_type_is_translated(value: Any) -> None:
    to_parts(delivery(otlp.request(otlp.span(attrs={"mlflow.spanType": value}))), Counter(), RootDecides())


def test_a_long_http_status_fits_the_preview() -> None:
    request = otlp.request(otlp.span(attrs={"http.response.status_code": "2" * 1001}))
    policy = RootDecides()
    (part,) = to_parts(delivery(request), Counter(), policy)
    trace = policy.create(part)
    policy.decide(trace)
    assert 0 < len(trace.response_preview or "") <= 1000


def test_a_preview_that_is_a_long_list_fits_its_column() -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": ["Hello"] * 500}]}]
    request = otlp.request(otlp.span(attrs={"mlflow.spanInputs": json.dumps({"messages": messages})}))
    policies: list[FoldPolicy[Any, Any]] = [RootDecides(), ArrivalOrder()]
    for policy in policies:
        (part,) = to_parts(delivery(request), Counter(), policy)
        trace = policy.create(part)
        policy.decide(trace)
        assert 0 < len(trace.request_preview or "") <= 1000


def test_health_answers_while_a_small_gzip_file_is_parsed(headrace: Launcher) -> None:
    running = headrace(database_url=f"postgresql://nobody@127.0.0.1:{free_port()}/none", default_experiment="Default")
    body = gzip.compress(b'{"resourceSpans": [{"scopeSpans": [{"spans": [%s{}]}]}]}' % (b"{}," * 300_000))
    assert len(body) < 10_000
    sending = threading.Thread(target=running.post, args=(body, "application/json"), kwargs={"content_encoding": "gzip"})
    waits = []
    with httpx.Client(base_url=running.url, timeout=60) as client:
        sending.start()
        while sending.is_alive():
            started = time.monotonic()
            assert client.get("/healthz").status_code == 200
            waits.append(time.monotonic() - started)
    assert max(waits) < sum(waits) / 2  # else one answer came after all of the work


def delivery(request: ExportTraceServiceRequest) -> Delivery:
    return Delivery(request, tuple(pb.Destination(experiment_id="0") for _ in request.resource_spans), "", 0, "")
