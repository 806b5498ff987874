"""Small requests that would be large: each is refused, quickly, in bounded memory, and the server goes on serving."""

import gzip
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from conftest import Launcher, Running, database_directory, free_port
from google.protobuf.message import Message
from hostile import MIB, Memory

import otlp
from headrace.otlp.signals import TRACES
from headrace.otlp.zstd import zstd

BOMB_BYTES = 200 * MIB
LIMIT_BYTES = 64 * MIB
"""HEADRACE_MAX_BODY_BYTES, which is left at its default."""

PROTOBUF, JSON = "application/x-protobuf", "application/json"


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """Without Postgres: nothing here gets as far, and what is accepted waits."""
    with database_directory() as directory:
        launcher = Launcher(directory)
        nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
        yield launcher(database_url=nowhere, default_experiment="Default", shutdown_seconds=0)
        launcher.stop_all()


def zeros(compress: Callable[[bytes], bytes], flush: Callable[[], bytes]) -> bytes:
    """200 MB of them, compressed a part at a time."""
    return b"".join(compress(bytes(MIB)) for _ in range(BOMB_BYTES // MIB)) + flush()


def gzip_bomb() -> bytes:
    compressor = zlib.compressobj(9, wbits=31)
    return zeros(compressor.compress, compressor.flush)


def deflate_bomb() -> bytes:
    compressor = zlib.compressobj(9)
    return zeros(compressor.compress, compressor.flush)


def zstd_bomb() -> bytes:
    compressor = zstd.ZstdCompressor()
    return zeros(compressor.compress, compressor.flush)


@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("gzip", gzip_bomb),
        ("deflate", deflate_bomb),
        ("zstd", zstd_bomb),
        ("gzip, gzip", lambda: gzip.compress(gzip_bomb())),
        ("zstd, gzip, deflate", lambda: zlib.compress(gzip.compress(zstd_bomb()))),
    ],
)
def test_a_bomb_of_200_mb_is_refused(running: Running, name: str, make: Callable[[], bytes], content_type: str) -> None:
    bomb = make()
    memory = Memory(running)
    answer = running.post(bomb, content_type, content_encoding=name)
    assert answer.status_code == 413
    print(f"{name}: {len(bomb)} bytes, +{memory.growth() // MIB} MiB")
    assert memory.growth() < 2 * LIMIT_BYTES


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_a_bomb_over_grpc_is_refused(running: Running, compression: grpc.Compression) -> None:
    memory = Memory(running)
    with grpc.insecure_channel(running.grpc_url.removeprefix("http://")) as channel:
        export = channel.unary_unary(f"/{TRACES.service}/Export", bytes, bytes)
        with pytest.raises(grpc.RpcError) as caught:
            export(bytes(BOMB_BYTES), compression=compression, timeout=60)
    failed: Any = caught.value
    assert failed.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    print(f"+{memory.growth() // MIB} MiB")
    assert memory.growth() < 2 * LIMIT_BYTES


def span(**fields: Any) -> Message:
    return otlp.span(trace_id=b"\1" * 16, span_id=b"\2" * 8, **fields)


def repeated(tag: int, count: int, inside: bytes = b"") -> bytes:
    """A valid request whose only span (or resource, or request) has so many empty messages in a repeated field."""
    return inside + bytes([tag << 3 | 2, 0]) * count


def request_of(span: bytes, scope: bytes = b"", resource: bytes = b"", request: bytes = b"") -> bytes:
    """A request of one span; each argument is appended to what it names."""

    def field(number: int, content: bytes) -> bytes:
        length, size = b"", len(content)
        while size > 127:
            length += bytes([size & 127 | 128])
            size >>= 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + content

    return field(1, field(2, field(2, span) + scope) + resource) + request


MANY = 20_000_000
SPAN = span().SerializeToString()
DEEP = 1_000_000


@pytest.mark.parametrize(
    ("body", "content_type", "statuses", "mib"),
    [
        pytest.param(lambda: b"[" * DEEP, JSON, {400}, 64, id="json lists a million deep"),
        pytest.param(lambda: b'{"a":' * DEEP + b"1" + b"}" * DEEP, JSON, {400}, 64, id="json objects a million deep"),
        pytest.param(lambda: b'{"resourceSpans":[' + b"{}," * MANY + b"{}]}", JSON, {413}, 128, id="json of empty resources"),
        pytest.param(lambda: b'{"x":"' + b"[" * 5_000_000 + b'"}', JSON, {413}, 64, id="json of brackets in a text"),
        pytest.param(lambda: request_of(SPAN, request=repeated(1, MANY)), PROTOBUF, {413}, 1024, id="empty resources"),
        pytest.param(lambda: request_of(SPAN, resource=repeated(2, MANY)), PROTOBUF, {413}, 1024, id="empty scopes"),
        pytest.param(lambda: request_of(SPAN, scope=repeated(2, MANY)), PROTOBUF, {413}, 1024, id="empty spans"),
        pytest.param(lambda: request_of(repeated(9, MANY, SPAN)), PROTOBUF, {413}, 1024, id="empty attributes"),
        pytest.param(lambda: request_of(repeated(11, MANY, SPAN)), PROTOBUF, {413}, 1024, id="empty events"),
        pytest.param(lambda: request_of(repeated(13, MANY, SPAN)), PROTOBUF, {413}, 1024, id="empty links"),
        pytest.param(lambda: b"\x0b" * MANY, PROTOBUF, {400, 413}, 128, id="groups that never end"),
        pytest.param(lambda: b"\x0a\xff\xff\xff\xff\x07", PROTOBUF, {400}, 64, id="a length of 2 GB"),
    ],
)
def test_many_small_parts_are_refused(
    running: Running, body: Callable[[], bytes], content_type: str, statuses: set[int], mib: int
) -> None:
    """The body itself is sent compressed: 60 KB."""
    sent = gzip.compress(body(), 6)
    memory = Memory(running)
    started = time.monotonic()
    answer = running.post(sent, content_type, content_encoding="gzip")
    seconds = time.monotonic() - started
    print(f"{len(sent)} bytes sent, {seconds:.1f} s, +{memory.growth() // MIB} MiB: {answer.status_code}")
    assert answer.status_code in statuses
    assert memory.growth() < mib * MIB
    assert running.ready()["status"] == "ready"


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("gzip", gzip.compress(b"")),
        ("deflate", zlib.compress(b"")),
        ("zstd", zstd.compress(b"")),
        ("zstd", b"P*M\x18" + bytes(4)),
    ],
)
def test_three_million_empty_members_are_refused(running: Running, name: str, member: bytes) -> None:
    body = member * min(3_000_000, LIMIT_BYTES // len(member))
    memory = Memory(running)
    assert running.post(body, content_encoding=name).status_code == 400
    assert memory.growth() < 2 * LIMIT_BYTES + len(body)


def raw(running: Running, *parts: bytes) -> bytes:
    """Sends bytes, and reads the first line of what comes back."""
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        try:
            for part in parts:
                connection.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it had enough
        try:
            return connection.recv(65536).partition(b"\r\n")[0]
        except ConnectionResetError:
            return b"reset"


HEAD = b"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\n"


def test_a_very_long_header_is_refused(running: Running) -> None:
    memory = Memory(running)
    refused = (b"HTTP/1.1 431 Request Header Fields Too Large", b"reset")
    assert raw(running, HEAD + b"x-long: ", *([b"a" * MIB] * 64)) in refused
    assert raw(running, HEAD, *[b"x-%d: a\r\n" % n * 100 for n in range(10_000)]) in refused
    assert memory.growth() < 16 * MIB


@pytest.mark.parametrize("length", [b"-1", b"1e3", b"9" * 5000, b"\xb2", b"5, 5", b"+3"])
def test_an_odd_length_is_refused(running: Running, length: bytes) -> None:
    assert raw(running, HEAD + b"content-length: " + length + b"\r\n\r\nabc") == b"HTTP/1.1 400 Bad Request"


def test_a_body_of_one_byte_chunks_is_read(running: Running) -> None:
    body = otlp.request(otlp.span("x" * 200_000)).SerializeToString()
    memory = Memory(running)
    started = time.monotonic()
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    assert raw(running, HEAD + b"transfer-encoding: chunked\r\n\r\n", chunks) == b"HTTP/1.1 200 OK"
    assert time.monotonic() - started < 20
    assert memory.growth() < 64 * MIB


def test_the_server_is_well_afterwards(running: Running) -> None:
    assert running.post(otlp.request(otlp.span()).SerializeToString()).status_code == 200
    assert running.process.poll() is None
