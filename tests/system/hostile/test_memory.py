"""HEADRACE_MAX_IN_FLIGHT_BYTES holds for what requests become in memory, not only for what is sent."""

import asyncio
import gzip
import multiprocessing
import threading
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from conftest import Launcher, Running
from google.rpc.status_pb2 import Status
from hostile import MIB, Memory, assert_serves
from hostile.probe import health, warm

import otlp
from headrace.config import Config
from headrace.errors import InFlightFull
from headrace.otlp.codec import Encoding, decode
from headrace.otlp.signals import TRACES
from headrace.otlp.zstd import zstd
from headrace.receiver.intake import Intake

PROTOBUF, JSON = "application/x-protobuf", "application/json"
MOST = 64 * MIB
"""HEADRACE_MAX_IN_FLIGHT_BYTES here."""
AT_ONCE = 10


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field."""
    length, size = b"", len(content)
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def request_of(span: bytes) -> bytes:
    """A request of one span, which cannot be stored: nothing here is to be written."""
    refused = otlp.span(trace_id=bytes(16)).SerializeToString()
    return field(1, field(2, field(2, refused + span)))


def json_of(value: bytes) -> bytes:
    """A request of one span with this attribute value; without ids, so that it cannot be stored."""
    head = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"x","attributes":[{"key":"a","value":'
    return head + value + b"}]}]}]}]}"


BODIES: dict[str, tuple[Callable[[], bytes], str]] = {
    "attributes": (lambda: request_of(b"\x4a\0" * 1_500_000), PROTOBUF),
    "spans": (lambda: field(1, field(2, b"\x12\0" * 700_000)), PROTOBUF),
    "values in a list": (lambda: request_of(field(9, field(2, field(5, b"\x0a\0" * 3_000_000)))), PROTOBUF),
    "attributes of the resource": (lambda: field(1, field(1, b"\x0a\0" * 3_000_000)), PROTOBUF),
    "a long text": (lambda: request_of(field(9, b"\x0a\1a" + field(2, field(1, b"x" * 60_000_000)))), PROTOBUF),
    "broken spans": (lambda: request_of(b"\x12\1\xff") + field(1, field(2, b"\x12\0" * 50_000)), PROTOBUF),
    "objects in a list": (lambda: json_of(b'{"arrayValue":{"values":[' + b'{"intValue":1},' * 500_000 + b"{}]}}"), JSON),
    "a long text in JSON": (
        lambda: json_of(b'{"stringValue":"' + b"x" * 30_000_000 + "\N{GRINNING FACE}".encode() + b'"}'),
        JSON,
    ),
    "numbers": (lambda: b'{"x":[' + b"0.1," * 2_000_000 + b"1]}", JSON),
}


@pytest.fixture
def running(headrace: Launcher, database_url: str) -> Running:
    settings = {"default_experiment": "Default", "max_in_flight_bytes": MOST, "shutdown_seconds": 0}
    return warm(headrace("serve", wait=True, database_url=database_url, **settings))


def all_at_once(send: Callable[[], int | str]) -> Counter[int | str]:
    """What each of ten answered."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return Counter(future.result() for future in [pool.submit(send) for _ in range(AT_ONCE)])


def over_http(running: Running, body: bytes, content_type: str, encoding: str = "gzip", signal: str = "traces") -> int:
    """The status; a 503 says when to come again."""
    headers = {"content-type": content_type, "content-encoding": encoding}
    answer = httpx.post(f"{running.url}/v1/{signal}", content=body, headers=headers, timeout=120)
    assert (answer.status_code == 503) == ("retry-after" in answer.headers)
    return answer.status_code


@pytest.mark.parametrize("name", BODIES)
def test_ten_small_bodies_that_become_large(running: Running, database_url: str, name: str) -> None:
    """One at a time may take more than the limit, as it is alone; the others are told to come again."""
    make, content_type = BODIES[name]
    body = gzip.compress(make(), 6)
    memory = Memory(running)
    with health(running.url) as seen:
        answers = all_at_once(lambda: over_http(running, body, content_type))
    print(f"{name}: {len(body)} bytes: {dict(answers)}, +{memory.growth() // MIB} MiB, {seen.slowest:.1f} s")
    assert set(answers) <= {200, 400, 413, 503}
    assert memory.growth() < 450 * MIB
    assert seen.slowest < 10
    assert not seen.failed
    assert_serves(running, database_url)


@pytest.mark.parametrize("signal", ["metrics", "logs"])
@pytest.mark.parametrize(
    ("tail", "content_type"), [(b"\x12\0" * 3_000_000, PROTOBUF), (b'{"x":[' + b"{}," * 900_000 + b"1]}", JSON)]
)
def test_ten_of_the_signals_that_are_refused(
    running: Running, database_url: str, signal: str, tail: bytes, content_type: str
) -> None:
    body = gzip.compress(field(1, field(2, tail)) if content_type == PROTOBUF else tail, 6)
    memory = Memory(running)
    answers = all_at_once(lambda: over_http(running, body, content_type, signal=signal))
    assert set(answers) <= {200, 413, 503}
    assert memory.growth() < 300 * MIB
    assert_serves(running, database_url)


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("zstd", zstd.compress),
        ("gzip, gzip", lambda b: gzip.compress(gzip.compress(b))),
    ],
)
def test_bytes_are_counted_while_they_are_inflated(
    running: Running, database_url: str, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    body = compress(request_of(b"")[:1] + b"x" * 60_000_000)  # no protobuf
    memory = Memory(running)
    answers = all_at_once(lambda: over_http(running, body, PROTOBUF, encoding))
    assert set(answers) <= {400, 503}
    assert memory.growth() < 350 * MIB
    assert_serves(running, database_url)


def test_ten_over_grpc(running: Running, database_url: str) -> None:
    body = BODIES["attributes"][0]()

    def send() -> str:
        with grpc.insecure_channel(running.grpc_url.removeprefix("http://")) as channel:
            export = channel.unary_unary(f"/{TRACES.service}/Export", bytes, bytes)
            try:
                export(body, compression=grpc.Compression.Gzip, timeout=60)
            except grpc.RpcError as error:
                failed: Any = error
                return str(failed.code().name)
        return "OK"

    memory = Memory(running)
    with health(running.url) as seen:
        answers = all_at_once(send)
    assert set(answers) <= {"INVALID_ARGUMENT", "UNAVAILABLE"}
    assert memory.growth() < 450 * MIB
    assert seen.slowest < 10
    assert not seen.failed
    assert_serves(running, database_url)


def test_what_becomes_larger_than_the_limit_is_taken_when_it_is_alone(headrace: Launcher, database_url: str) -> None:
    running = warm(headrace(database_url=database_url, default_experiment="Default", max_in_flight_bytes=MIB))
    body = otlp.request(*[otlp.span("x" * 1000) for _ in range(3000)]).SerializeToString()
    assert [running.post(gzip.compress(body), content_encoding="gzip").status_code for _ in range(3)] == [200] * 3
    refused = running.post(body)  # as it is sent it is larger already
    assert (refused.status_code, "HEADRACE_MAX_IN_FLIGHT_BYTES" in Status.FromString(refused.content).message) == (503, True)
    metrics = httpx.get(f"{running.url}/metrics").text
    assert "headrace_in_flight_bytes 0.0" in metrics
    assert_serves(running, database_url)


@pytest.mark.parametrize("name", BODIES)
def test_the_estimate_is_not_less_than_what_is_measured(name: str) -> None:
    """In a process of its own, whose memory nothing else has grown."""
    make, content_type = BODIES[name]
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_measure, args=(make(), Encoding(content_type), theirs))
    process.start()
    estimated, measured = ours.recv()
    process.join()
    print(f"{name}: estimated {estimated / MIB:.0f} MiB, measured {measured / MIB:.0f} MiB")
    assert measured < 1.15 * estimated + 8 * MIB


def _measure(body: bytes, encoding: Encoding, link: Any) -> None:
    def read(name: str) -> int:
        return int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0]) * 1024

    most = now = 0

    def charge(size: int) -> None:
        nonlocal most, now
        now += size
        most = max(most, now)

    Path("/proc/self/clear_refs").write_text("5")
    before = read("VmRSS")
    try:
        decode(body, encoding, charge)
    except Exception:
        pass
    link.send((most, read("VmHWM") - before))


def test_work_in_a_thread_holds_its_memory_where_nobody_waits_any_more(config: Config) -> None:
    """gRPC cancels a call whose client goes, and the thread parses on."""
    memory = Intake(config.model_copy(update={"max_in_flight_bytes": 2 * MIB}), Any, None)  # type: ignore[arg-type] # not called
    gate = threading.Event()

    async def call(pool: ThreadPoolExecutor) -> None:
        with memory.reading() as reading:
            reading.add(2 * MIB)
            await reading.in_thread(pool.submit(gate.wait, 20))

    async def run() -> None:
        with ThreadPoolExecutor(1) as pool:
            calling = asyncio.create_task(call(pool))
            await asyncio.sleep(0)
            calling.cancel()
            await asyncio.gather(calling, return_exceptions=True)
            with pytest.raises(InFlightFull), memory.reading() as other:
                other.add(1)
            gate.set()

    asyncio.run(run())
    with memory.reading() as other:
        other.add(2 * MIB)
