"""gRPC's port: frames and calls that no honest client sends."""

import gzip
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from urllib.parse import urlsplit

import httpx
import pytest
from conftest import CloneDatabase, Launcher, Running, free_port, launcher, wait_until
from hostile import MIB, Memory, assert_serves, descriptors
from hostile.probe import warm
from hpack import Decoder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
EXPORT = b"/opentelemetry.proto.collector.trace.v1.TraceService/Export"
DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS = 1, 4


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A header that HPACK neither compresses nor remembers."""
    assert len(name) < 127
    if len(value) < 127:
        return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value
    rest, length = len(value) - 127, b"\x7f"
    while rest >= 128:
        length, rest = length + bytes([rest % 128 + 128]), rest // 128
    return b"\0" + bytes([len(name)]) + name + length + bytes([rest]) + value


def headers(path: bytes = EXPORT, **more: bytes) -> bytes:
    pairs = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"x")]
    pairs += [(b"te", b"trailers"), (b"content-type", b"application/grpc")]
    pairs += [(name.replace("_", "-").encode(), value) for name, value in more.items()]
    return b"".join(literal(*pair) for pair in pairs)


def connect(running: Running) -> socket.socket:
    url = urlsplit(running.grpc_url)
    return socket.create_connection((str(url.hostname), int(url.port or 0)), timeout=10)


def begin(running: Running) -> socket.socket:
    connection = connect(running)
    connection.sendall(PREFACE + frame(SETTINGS, 0, 0))
    return connection


def outcome(connection: socket.socket) -> str:
    """The status and message of the first answer; `GOAWAY`, or `closed`, where there is none."""
    received, decoder = b"", Decoder()
    while True:
        while len(received) < 9 or len(received) < 9 + int.from_bytes(received[:3], "big"):
            try:
                part = connection.recv(65536)
            except ConnectionResetError:
                part = b""
            if not part:
                return "closed"
            received += part
        length, kind = int.from_bytes(received[:3], "big"), received[3]
        payload, received = received[9 : 9 + length], received[9 + length :]
        if kind == GOAWAY:
            return "GOAWAY"
        if kind == HEADERS:
            told: dict[bytes, bytes] = dict(decoder.decode(payload, raw=True))
            if b"grpc-status" in told or told.get(b":status", b"200") != b"200":
                return " ".join(value.decode() for name, value in told.items() if b"status" in name or b"message" in name)


def wait_closed(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    received = b""
    with suppress(ConnectionResetError):
        while part := connection.recv(65536):
            received += part
    return received


@pytest.fixture(scope="module")
def database_url(clone_database: CloneDatabase) -> Iterator[str]:
    """One for all: each attack meets a server that has seen those before."""
    with clone_database() as url:
        yield url


@pytest.fixture(scope="module")
def running(database_url: str) -> Iterator[Running]:
    with launcher() as launch:
        yield warm(launch(database_url=database_url, header_seconds=2), x_mlflow_experiment_id="0")


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Asks for API keys, and has none; without Postgres."""
    keys = tmp_path_factory.mktemp("keys") / "keys.json"
    keys.write_text('{"keys": []}')
    with launcher() as launch:
        nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
        yield launch(database_url=nowhere, api_keys=keys, shutdown_seconds=0)


@pytest.mark.parametrize("path", [b"/\xbe", b"/\xff/Export", b"", b"\0", b"/" + b"\x80" * 60, EXPORT + b"\xc3"])
def test_a_path_of_any_bytes_is_an_unknown_method(running: Running, database_url: str, path: bytes) -> None:
    for _ in range(3):
        with closing(begin(running)) as connection:
            connection.sendall(frame(HEADERS, END_HEADERS, 1, headers(path)) + frame(DATA, END_STREAM, 1, bytes(5)))
            assert outcome(connection).startswith(("200 12", "415", "GOAWAY"))
    assert_serves(running, database_url)


@pytest.mark.parametrize("value", [b"\xbe", b"\xff\xfe", b"x\x80y"])
def test_metadata_of_any_bytes_disturb_nobody(running: Running, database_url: str, value: bytes) -> None:
    with closing(begin(running)) as connection:
        connection.sendall(frame(HEADERS, END_HEADERS, 1, headers(user_agent=value, x_mlflow_experiment_id=value)))
        connection.sendall(frame(DATA, END_STREAM, 1, bytes(5)))
        assert outcome(connection) == "0"  # OK, in trailers
    assert_serves(running, database_url)


def test_wrong_keys_cost_no_memory(keyed: Running) -> None:
    """Forty connections, each with a message of 61 KB that inflates to 60 MB."""
    message = gzip.compress(bytes(60 * MIB))
    body = b"\1" + len(message).to_bytes(4, "big") + message
    memory = Memory(keyed)
    with ExitStack() as stack:
        connections = [stack.enter_context(closing(begin(keyed))) for _ in range(40)]
        for connection in connections:
            connection.sendall(frame(HEADERS, END_HEADERS, 1, headers(authorization=b"Bearer x", grpc_encoding=b"gzip")))
        for connection in connections:
            connection.sendall(b"".join(frame(DATA, 0, 1, body[i : i + 16384]) for i in range(0, len(body), 16384)))
            assert outcome(connection).startswith(("200 16", "200 14"))  # UNAUTHENTICATED, and after many of them UNAVAILABLE
    assert memory.growth() < 32 * MIB


def test_silent_connections_are_closed_in_time_and_bounded(headrace: Launcher, database_url: str) -> None:
    running = headrace(database_url=database_url, header_seconds=2, max_connections=50)
    warm(running, x_mlflow_experiment_id="0")
    before = descriptors(running)
    with ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(closing(connect(running)))
        wait_until(lambda: descriptors(running) <= before + 60)
        wait_until(lambda: descriptors(running) <= before + 5, 20, "silent connections closed")
        assert_serves(running, database_url)


def test_messages_that_come_slowly_are_counted_from_the_first_byte(headrace: Launcher, database_url: str) -> None:
    """Twenty messages of 8 MiB that never end, where 16 MiB may be in memory."""
    running = warm(headrace(database_url=database_url, max_in_flight_bytes=16 * MIB), x_mlflow_experiment_id="0")
    memory = Memory(running)
    part = b"".join(frame(DATA, 0, 1, bytes(16384)) for _ in range(60))  # within the window of a stream
    with ExitStack() as stack:
        connections = [stack.enter_context(closing(begin(running))) for _ in range(20)]
        for connection in connections:
            connection.sendall(frame(HEADERS, END_HEADERS, 1, headers(x_mlflow_experiment_id=b"0")))
            prefix = b"\0" + (8 * MIB).to_bytes(4, "big")
            connection.sendall(frame(DATA, 0, 1, prefix) + part)
        wait_until(lambda: 'headrace_requests_refused_total{reason="in_flight_full"} 0.0' not in metrics(running))
        assert memory.growth() < 64 * MIB
    wait_until(lambda: "headrace_in_flight_bytes 0.0" in metrics(running))
    assert_serves(running, database_url)


def metrics(running: Running) -> str:
    return httpx.get(f"{running.url}/metrics", timeout=30).text


@pytest.mark.parametrize(
    ("name", "flood"),
    [
        ("PING", frame(PING, 0, 0, bytes(8))),
        ("SETTINGS", frame(SETTINGS, 0, 0)),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1")),
        ("an unknown frame", frame(0xBE, 0, 0)),
    ],
)
def test_a_flood_of_frames_ends_its_connection_only(running: Running, database_url: str, name: str, flood: bytes) -> None:
    with closing(begin(running)) as connection:
        began = time.monotonic()
        try:
            while time.monotonic() - began < 20:
                connection.sendall(flood * 2000)
        except OSError:
            pass
        else:
            pytest.fail(f"a flood of {name} was not stopped")
    assert_serves(running, database_url)


def test_requests_that_are_reset_at_once_are_bounded(running: Running, database_url: str) -> None:
    memory, head = Memory(running), headers(x_mlflow_experiment_id=b"0")
    with closing(begin(running)) as connection:
        try:
            for stream in range(1, 40_001, 2):
                connection.sendall(frame(HEADERS, END_HEADERS, stream, head) + frame(RST, 0, stream, bytes(4)))
        except OSError:
            pass  # told to be calm
    assert memory.growth() < 64 * MIB
    assert_serves(running, database_url)


@pytest.mark.parametrize(
    "first",
    [
        b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        PREFACE[:-1] + b"X" + bytes(100),
        PREFACE + frame(HEADERS, END_HEADERS, 0, headers()),
        PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, 0, 1, headers()[:20]) + frame(PING, 0, 0, bytes(8)),
        PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_HEADERS, 1, b"\xff" * 200),
        PREFACE + frame(SETTINGS, 0, 0) + frame(DATA, END_STREAM, 5, b"x"),
        PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 2**31)),
        PREFACE + frame(SETTINGS, 0, 0) + frame(WINDOW_UPDATE, 0, 0, bytes(4)),
        PREFACE + frame(SETTINGS, 0, 0) + frame(CONTINUATION, END_HEADERS, 1, b""),
        PREFACE + frame(SETTINGS, 0, 0) + frame(GOAWAY, 0, 0, bytes(8)) + frame(HEADERS, END_HEADERS, 1, headers()),
    ],
)
def test_what_is_no_http2_ends_its_connection_only(running: Running, database_url: str, first: bytes) -> None:
    with closing(connect(running)) as connection:
        connection.sendall(first)
        wait_closed(connection)
    assert_serves(running, database_url)


def test_headers_without_end_are_bounded(running: Running, database_url: str) -> None:
    memory = Memory(running)
    with closing(begin(running)) as connection:
        connection.sendall(frame(HEADERS, 0, 1, headers()))
        part = frame(CONTINUATION, 0, 1, literal(b"x", b"y" * 16000))
        try:
            for _ in range(10_000):
                connection.sendall(part)
        except OSError:
            pass
        else:
            pytest.fail("160 MB of headers were taken")
    assert memory.growth() < 32 * MIB
    assert_serves(running, database_url)


def test_metadata_over_the_limit_is_refused_in_words(running: Running, database_url: str) -> None:
    block = headers(x_long=b"y" * 70_000)
    with closing(begin(running)) as connection:
        pieces = [block[i : i + 16000] for i in range(0, len(block), 16000)]
        for number, piece in enumerate(pieces):
            kind, last = CONTINUATION if number else HEADERS, number == len(pieces) - 1
            connection.sendall(frame(kind, END_HEADERS if last else 0, 1, piece))
        told = outcome(connection)
        assert told.startswith("200 8")  # RESOURCE_EXHAUSTED
        assert "65536 bytes" in told
    assert_serves(running, database_url)


@pytest.mark.parametrize(("more", "status"), [(110, "0"), (300, "200 8 The request has over 128 headers")])
def test_metadata_is_bounded_in_number_as_over_http(running: Running, more: int, status: str) -> None:
    block = headers(x_mlflow_experiment_id=b"0") + b"".join(literal(b"x-%d" % number, b"a") for number in range(more))
    assert call(running, block, bytes(5)).startswith(status)


FRAMES: dict[str, tuple[dict[str, bytes], bytes, str]] = {  # the headers of a call, its message, and its status
    "flag": ({}, b"\x02" + bytes(4), "200 3 A gRPC message begins with 0, or with 1 if it is compressed, and not with 2."),
    "no-encoding": ({}, b"\x01" + bytes(4), "200 3 The message is compressed, and nothing says how"),
    "plain-although-named": ({"grpc_encoding": b"snappy"}, bytes(5), "0"),
    "gzip-unnamed": ({}, b"\0\0\0\0\x14" + gzip.compress(b""), "200 3 The body is not a protobuf ExportTraceServiceRequest"),
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_message_says_how_it_is_compressed(running: Running, name: str) -> None:
    named, message, status = FRAMES[name]
    assert call(running, headers(**named), message).startswith(status)


@pytest.mark.parametrize(
    "sent", [b"application/grpc+json", b"application/grpc-web+proto", b"application/grpcx", b"text/plain", b""]
)
def test_another_media_type_is_none_of_grpc_s(running: Running, sent: bytes) -> None:
    assert call(running, with_type(sent), bytes(5)) == "415"


SPELLINGS = [b"application/grpc+proto", b"Application/gRPC; charset=utf-8", b"application/grpc, application/grpc"]


@pytest.mark.parametrize("sent", SPELLINGS)
def test_a_media_type_of_grpc_in_each_spelling(running: Running, sent: bytes) -> None:
    assert call(running, with_type(sent), bytes(5)) == "0"


def with_type(sent: bytes) -> bytes:
    """The headers of a call, with this Content-Type."""
    named = (b"content-type", b"application/grpc")
    return headers().replace(literal(*named), literal(named[0], sent))


def call(running: Running, block: bytes, message: bytes) -> str:
    """The outcome of a call with these headers and this message."""
    with closing(begin(running)) as connection:
        connection.sendall(frame(HEADERS, END_HEADERS, 1, block) + frame(DATA, END_STREAM, 1, message))
        return outcome(connection)


def test_answers_that_nobody_reads_are_bounded(running: Running, database_url: str) -> None:
    """A window of nothing for answers: they wait, and are given up with their connection."""
    memory = Memory(running)
    with closing(connect(running)) as connection:
        connection.sendall(PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0)))
        connection.settimeout(2)
        try:
            for stream in range(1, 4001, 2):
                connection.sendall(frame(HEADERS, END_HEADERS, stream, headers()) + frame(DATA, END_STREAM, stream, bytes(5)))
        except OSError:
            pass
        assert_serves(running, database_url)
    assert memory.growth() < 64 * MIB


def test_http1_is_told_of_the_other_port(running: Running) -> None:
    with closing(connect(running)) as connection:
        connection.sendall(b"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n")
        assert b"HEADRACE_HTTP_PORT" in wait_closed(connection)


def test_the_log_is_not_flooded(running: Running, database_url: str) -> None:
    for _ in range(50):
        with closing(connect(running)) as connection:
            connection.sendall(bytes(100))
    assert_serves(running, database_url)
    assert "Traceback" not in running.log.read_text()
