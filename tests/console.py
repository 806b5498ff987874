"""The console's application over a reader in memory, and what fills it: nothing, a little, a lot."""

import asyncio
import socket
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from random import Random
from typing import Any, TypeVar

import httpx
import uvicorn
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status, TracesData
from readers import MemoryReader
from starlette.types import ASGIApp

from headrace.config import Config, load
from headrace.console.access import Access
from headrace.console.room import Room
from headrace.console.web.app import ConsoleApp
from headrace.console.web.road import Numbers
from headrace.console.web.watch import Ask, Watch
from headrace.local.demo import demo_requests
from headrace.reader import Run, RunTrace, TraceReader
from headrace.receiver.auth import Key, Keys
from otlp import resource_spans, span

MS = 1_000_000
MINUTE = 60_000 * MS
Sent = list[tuple[int, TracesData]]
T = TypeVar("T")
FAILED = Status(code=2, message="deadline exceeded")  # type: ignore[arg-type]

METRICS = """\
# HELP headrace_spans_received_total Spans.
# TYPE headrace_spans_received_total counter
headrace_spans_received_total {received}
# TYPE headrace_spans_written_total counter
headrace_spans_written_total {written}
# TYPE headrace_spans_rejected_total counter
headrace_spans_rejected_total{{reason="invalid_trace_id"}} 12
headrace_spans_rejected_total{{reason="malformed_span"}} 0
# TYPE headrace_requests_refused_total counter
headrace_requests_refused_total{{reason="unauthenticated"}} 3
# TYPE headrace_queue_items gauge
headrace_queue_items 7
# TYPE headrace_queue_bytes gauge
headrace_queue_bytes 1.5e+06
# TYPE headrace_queue_max_bytes gauge
headrace_queue_max_bytes 4.294967296e+09
# TYPE headrace_queue_oldest_age_seconds gauge
headrace_queue_oldest_age_seconds 0.4
# TYPE headrace_ready gauge
headrace_ready 1
# TYPE headrace_database_up gauge
headrace_database_up 1
# TYPE headrace_write_seconds histogram
headrace_write_seconds_bucket{{le="+Inf"}} 1
headrace_write_seconds_count 1
headrace_write_seconds_sum 1
"""
READY = b'{"status": "ready", "database": {"reachable": true}, "queue": {"requests": 7}}'


REFUSED = (
    b'{"process": 7, "processes": 1, "refused": [{"reason": "unauthenticated", "times": 3, "last": 1.0, "said": "no key", '
    b'"who": {"address": "10.0.0.9", "user_agent": "<b>otel</b>", "service": "cart"}}]}'
)


def answers(path: str, _: Mapping[str, str]) -> tuple[int, bytes]:
    """A receiver that answers."""
    if path == "/refused":
        return 200, REFUSED
    return 200, METRICS.format(received=48_210, written=48_121).encode() if path == "/metrics" else READY


def silent(_: str, __: Mapping[str, str]) -> tuple[int, bytes]:
    """A receiver that is not there."""
    raise ConnectionRefusedError("Connection refused")


def some_keys(*keys: Key) -> Keys:
    """Keys that stand in no file."""

    class InMemory(Keys):
        def __init__(self) -> None:
            self._keys, self._failures = {key.id: key for key in keys}, {}

        def _reload(self, seconds: float) -> None:
            pass

    return InMemory()


@dataclass
class Console:
    """The application, for tests; it is asked without a port."""

    reader: TraceReader
    config: Config
    keys: Keys | None = None
    ask: Ask = answers
    hour: bool = False
    """Whether the last hour is filled with samples."""

    def watch(self) -> Watch:
        """A watch that has looked once, or for an hour."""
        watch = Watch(self.ask)
        if self.hour:
            watch._samples.extend(samples(time.time()))
        return watch

    def app(self) -> tuple[ConsoleApp, Watch]:
        """The application, and its watch, which runs only if it is started."""
        watch = self.watch()
        return ConsoleApp(self.config, self.reader, Access(self.keys), Room(self.config), watch), watch

    @cached_property
    def _made(self) -> tuple[ASGIApp, Watch]:
        app, watch = self.app()
        return app.asgi(), watch

    def get(self, path: str, looks: int = 1, base: str = "http://localhost:4319", **headers: str) -> httpx.Response:
        """GETs a path, after the watch has looked so often."""

        async def ask() -> httpx.Response:
            app, watch = self._made
            for _ in range(looks):
                await watch.look()
            named: Mapping[str, str] = {name.replace("_", "-"): value for name, value in headers.items()}
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base) as client:
                return await client.get(path, headers=named)

        return run(ask())


@contextmanager
def served(console: Console) -> Iterator[str]:
    """Serves the pages on a port of loopback, in a thread of their own; yields their URL."""
    app, watch = console.app()
    server = uvicorn.Server(uvicorn.Config(app.asgi(), port=0, log_level="error", lifespan="off"))
    listener = socket.create_server(("127.0.0.1", 0))

    async def serve() -> None:
        watch.start()
        await server.serve([listener])

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = server.force_exit = True
    thread.join()


def failing(fails: bool) -> dict[str, Any]:
    """The status of a span that fails, or none."""
    return {"status": FAILED} if fails else {}


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs it to its end."""
    return asyncio.run(work)


def settings(**changed: Any) -> Config:
    """Settings, with these changed."""
    return Config.model_construct(**_loaded() | changed)


@cache
def _loaded() -> dict[str, Any]:
    """The settings that the environment has, read once: pydantic takes its time."""
    return load().model_dump()


def samples(now: float) -> list[Numbers]:
    """An hour of a busy receiver, with a quiet quarter."""
    random, found, received = Random(4), [], 0
    for number in range(1800):
        rate = 40 + 30 * ((number // 90) % 5) + random.randrange(30) if not 700 < number < 1100 else 2
        received += 2 * rate
        found.append(Numbers(now - 3600 + 2 * number, received, max(0, received - rate), queued=3, queue_max_bytes=2**32))
    return found


def demo(now: int, experiment: int = 0) -> tuple[str, Sent]:
    """The demo's trace; its id in hex."""
    trace_id, requests = demo_requests(now)
    return trace_id[3:], [(experiment, TracesData(resource_spans=each.resource_spans)) for each in requests]


def shop_id(number: int) -> str:
    """The trace id of a checkout, in hex."""
    return (b"\xaa" * 8 + number.to_bytes(8, "big")).hex()


def shop_trace(number: int, begin: int, slow: int = 1, failed: bool = False) -> tuple[str, TracesData]:
    """A checkout of five services. `slow`: so many times as long as usual the database takes."""
    trace_id = bytes.fromhex(shop_id(number))

    def made(name: str, id_: int, parent: int, start: int, end: int, **more: Any) -> Span:
        return span(
            name,
            trace_id,
            bytes([id_]) * 8,
            bytes([parent]) * 8 if parent else b"",
            begin + start * MS,
            begin + end * MS,
            {"http.route": "/checkout", "order.id": number, "user": f"u{number % 7}"},
            **more,
        )

    late = 60 * (slow - 1)
    status = {"status": FAILED} if failed else {}
    parts: list[ResourceSpans] = [
        resource_spans(
            made("GET /checkout", 1, 0, 0, 220 + late, kind=2), made("render", 2, 1, 190 + late, 218 + late), service="web"
        ),
        resource_spans(made("POST /orders", 3, 1, 10, 180 + late, kind=2), service="orders"),
        resource_spans(
            made("INSERT orders", 4, 3, 20, 80 + late, kind=3), made("SELECT stock", 5, 3, 22, 60, kind=3), service="postgres"
        ),
        resource_spans(made("charge", 6, 3, 85 + late, 175 + late, kind=2, **status), service="payments"),
        resource_spans(made("POST bank/charges", 7, 6, 90 + late, 170 + late, kind=3, **status), service="bank-gateway"),
    ]
    return trace_id.hex(), TracesData(resource_spans=parts)


def wide_trace(now: int, spans: int = 10_000) -> tuple[str, TracesData]:
    """One trace of many spans, deep and wide, of fourteen services; some failed."""
    random, trace_id = Random(7), b"\xbb" * 16
    length = 30_000 * MS
    found: list[tuple[int, Span]] = []
    windows = [(0, length)]
    for number in range(spans):
        parent = max(0, number - 1 - random.randrange(1 + min(number, 40))) if number else 0
        low, high = windows[parent]
        begin = low + random.randrange(max(1, (high - low) // 3)) if number else low
        end = begin + max(1000, random.randrange(max(1001, high - begin))) if number else high
        if number:
            windows.append((begin, min(end, high)))
        made = span(
            f"operation {random.randrange(200)}",
            trace_id,
            (number + 1).to_bytes(8, "big"),
            (parent + 1).to_bytes(8, "big") if number else b"",
            now - length + begin,
            now - length + min(end, high),
            {f"key.{n}": f"value {n} of {number} " * 4 for n in range(8)},
            **failing(number % 97 == 5),
        )
        found.append((random.randrange(14) if number else 0, made))
    services = [[each for of, each in found if of == service] for service in range(14)]
    return trace_id.hex(), TracesData(
        resource_spans=[resource_spans(*spans, service=f"service-{n}") for n, spans in enumerate(services)]
    )


def runs_of(now: int, experiment: int, number: int = 12) -> list[tuple[int, Run, list[RunTrace]]]:
    """Runs that get better, but for two: one is slow and no better, one is worse."""
    found = []
    for place in range(number):
        slow, bad = place == 5, place == 9
        accuracy = 0.71 + 0.018 * place - (0.06 if bad else 0)
        duration = (1200 - 40 * place + (700 if slow else 0)) * MS
        start = now - (number - place) * 60 * MINUTE
        traces = [
            RunTrace(f"run{place:02}", shop_id(place), start + n, duration + n * MS, bad and n == 0, 900 + 10 * n, 0.002)
            for n in range(5)
        ]
        metrics = {"accuracy": accuracy, "loss": 1 - accuracy}
        found.append((experiment, Run(f"run{place:02}", f"fraud-gbm-{place}", start, metrics), traces))
    return found


def small(now: int) -> tuple[MemoryReader, str]:
    """The demo, six checkouts, one of them slow and one failed, and runs; and the demo's trace id."""
    trace_id, sent = demo(now)
    for number in range(6):
        _, data = shop_trace(number, now - (number + 1) * MINUTE, slow=4 if number == 0 else 1, failed=number == 2)
        sent.append((1, data))
    names = {0: "Default", 1: "checkout", 2: "nightly-evaluation"}
    return MemoryReader(sent, names, runs_of(now, 1)), trace_id


def large(now: int, spans: int = 10_000, checkouts: int = 300) -> tuple[MemoryReader, str]:
    """A trace of 10,000 spans, 300 checkouts, forty services that call each other; and the id of the first."""
    trace_id, data = wide_trace(now, spans)
    sent: Sent = [(1, data)]
    for number in range(checkouts):
        sent.append((1, shop_trace(number, now - (number + 1) * MINUTE, slow=1 + number % 4, failed=number % 11 == 0)[1]))
    sent += [(2, each) for each in _mesh(now)]
    names = {
        0: "Default",
        1: "checkout",
        2: "platform",
        **{n: f"team-{n:02} experiments with a long name" for n in range(3, 30)},
    }
    return MemoryReader(sent, names, runs_of(now, 1, 60)), trace_id


def _mesh(now: int) -> list[TracesData]:
    random, found = Random(3), []
    for number in range(160):
        caller, callee = sorted(random.sample(range(40), 2))
        trace_id = b"\xcc" * 8 + number.to_bytes(8, "big")
        begin = now - MINUTE
        root = span("call", trace_id, b"\1" * 8, start=begin, end=begin + 5 * MS)
        calls = [
            span(
                "serve",
                trace_id,
                bytes([2 + n]) * 8,
                b"\1" * 8,
                begin,
                begin + MS,
                **failing(number % 9 == n),
            )
            for n in range(1 + number % 6)
        ]
        parts = [resource_spans(root, service=f"svc-{caller:02}"), resource_spans(*calls, service=f"svc-{callee:02}")]
        found.append(TracesData(resource_spans=parts))
    return found
