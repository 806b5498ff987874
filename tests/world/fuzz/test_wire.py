"""Mutated bodies against a running `headrace serve`, over HTTP and gRPC: no crash, no answer unforeseen, no span lost."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import grpc
import httpx
import pytest
from conftest import Launcher, Running, rows, wait_until
from fuzz.bodies import TARGETS, Headers

from headrace.config import load
from headrace.errors import Unroutable
from headrace.otlp.attributes import to_dict
from headrace.otlp.codec import decode, encoding_of
from headrace.otlp.compression import inflate
from headrace.otlp.signals import SIGNALS, TRACES
from headrace.processor.route import route_resource
from otlp import validate

pytestmark = pytest.mark.slow("errors otlp receiver processor pipeline mlflow host tests/fuzz")

THREADS = 8
COMPRESSIONS = (grpc.Compression.NoCompression, grpc.Compression.Gzip, grpc.Compression.Deflate)

Span = tuple[str, str]
"""The ids of one, as they stand in the table."""


def bodies(names: Sequence[str], count: int, seed: str) -> Iterator[tuple[Headers, bytes]]:
    """Mutated bodies of these targets in turn."""
    random = Random(seed)
    pools = {name: list(TARGETS[name].seeds(4096)) for name in names}
    for number in range(count):
        name = names[number % len(names)]
        data = random.choice(pools[name])
        for _ in range(random.choice((1, 1, 1, 2))):
            data = TARGETS[name].mutate(data, random)
        yield TARGETS[name].split(data)


def acceptable(headers: Headers, body: bytes) -> set[Span]:
    """The spans that Headrace has to store where it answers 200."""
    if headers.signal is not TRACES:
        return set()
    request, _ = decode(inflate(body, headers.content_encoding, 2**20), encoding_of(headers.content_type))
    validate(request)
    return {
        (f"tr-{span.trace_id.hex()}", span.span_id.hex())
        for resource in request.resource_spans
        if _has_route(resource)
        for scope in resource.scope_spans
        for span in scope.spans
    }


def _has_route(resource: Any) -> bool:
    try:
        route = route_resource(to_dict(resource.resource.attributes), load(default_experiment="Default"))
    except Unroutable:
        return False
    return route.id in (None, 0)  # the template has no other experiment


def over_http(running: Running, count: int) -> tuple[Counter[str], set[Span]]:
    """Sends the bodies; how often each status came, and the spans that must be stored."""

    def send(sent: tuple[Headers, bytes]) -> tuple[str, set[Span]]:
        headers, body = sent
        named = {"content-type": headers.content_type, "content-encoding": headers.content_encoding}
        answer = client.post(f"/v1/{headers.signal.name}", content=body, headers=named)
        return str(answer.status_code), acceptable(headers, body) if answer.status_code == 200 else set()

    with httpx.Client(base_url=running.url, timeout=30) as client, ThreadPoolExecutor(THREADS) as pool:
        return _summed(pool.map(send, bodies(list(TARGETS), count, "http")))


def over_grpc(running: Running, count: int) -> tuple[Counter[str], set[Span]]:
    """The same over gRPC."""

    def send(sent: tuple[int, tuple[Headers, bytes]]) -> tuple[str, set[Span]]:
        number, (headers, body) = sent
        try:
            exports[headers.signal](body, timeout=30, compression=COMPRESSIONS[number % len(COMPRESSIONS)])
        except grpc.RpcError as error:
            failed: Any = error
            return failed.code().name, set()
        return "OK", acceptable(headers, body)

    with grpc.insecure_channel(running.grpc_url.removeprefix("http://")) as channel, ThreadPoolExecutor(THREADS) as pool:
        exports = {signal: channel.unary_unary(f"/{signal.service}/Export", bytes, bytes) for signal in SIGNALS}
        return _summed(pool.map(send, enumerate(bodies(["protobuf"], count, "grpc"))))


def _summed(answers: Iterator[tuple[str, set[Span]]]) -> tuple[Counter[str], set[Span]]:
    codes: Counter[str] = Counter()
    spans: set[Span] = set()
    for code, stored in answers:
        codes[code] += 1
        spans |= stored
    return codes, spans


def counters(running: Running) -> Counter[str]:
    """`/metrics`, added up over the labels."""
    found: Counter[str] = Counter()
    for name, value in re.findall(r"^headrace_(\w+)_total(?:{.*})? (\S+)$", httpx.get(f"{running.url}/metrics").text, re.M):
        found[name] += int(float(value))
    return found


@pytest.mark.parametrize(("enrich", "count"), [(True, 2000), (False, 500)])
def test_mutated_bodies_over_the_wire(headrace: Launcher, database_url: str, enrich: bool, count: int) -> None:
    running = headrace(database_url=database_url, default_experiment="Default", enrich=enrich, max_body_bytes=2**20)
    http, by_http = over_http(running, count)
    rpc, by_grpc = over_grpc(running, count)
    print(dict(http), dict(rpc))
    assert http.total() == rpc.total() == count
    assert http.keys() <= {"200", "400", "413", "415", "503"}
    assert rpc.keys() <= {"OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "UNAVAILABLE"}
    wait_until(running.drained, 60)
    assert running.ready()["status"] == "ready"
    assert running.process.poll() is None
    dead = rows(database_url, "SELECT reason, envelope FROM headrace.dead_letter")
    found = counters(running)
    print(dict(found), [row["reason"][:200] for row in dead])
    assert found["spans_received"] == found["spans_accepted"] + found["spans_rejected"]
    assert found["spans_accepted"] == found["spans_written"] + found["spans_dead_lettered"]
    assert found["spans_dead_lettered"] <= 5
    stored = {(row["trace_id"], row["span_id"]) for row in rows(database_url, "SELECT trace_id, span_id FROM spans")}
    assert stored >= by_http | by_grpc
    assert len(stored) > count / 2
