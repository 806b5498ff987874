"""What comes around requests over HTTP: connections, headers, chunks, trailers; with and without keys and TLS."""

import contextlib
import os
import resource
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from conftest import Launcher, Running, wait_until
from hostile import MIB, Memory, assert_serves, descriptors
from hostile.probe import health, warm

import otlp
from headrace.receiver.auth import Keys, new_key

HEAD = b"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
GET = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n"
SECONDS = 2
"""HEADRACE_HEADER_SECONDS and HEADRACE_BODY_SECONDS here."""

SETTINGS: dict[str, Any] = {
    "default_experiment": "Default",
    "header_seconds": SECONDS,
    "body_seconds": SECONDS,
    "shutdown_seconds": 0,
}


class Stand:
    """A running server, how to connect to it, and the headers that it asks for."""

    def __init__(self, running: Running, database_url: str, key: str, warm_up: bool = True) -> None:
        self.running, self.database_url = running, database_url
        self.headers = {"x_api_key": key} if key else {}
        if warm_up:
            warm(running, **self.headers)

    def connect(self) -> socket.socket:
        host, port = self.running.url.removeprefix("http://").split(":")
        return socket.create_connection((host, int(port)), timeout=30)

    def send(self, *parts: bytes) -> bytes:
        """Sends bytes until the server has had enough; all that it answers until it closes."""
        with self.connect() as connection:
            return exchange(connection, *parts)

    def closed(self, reason: str) -> float:
        """How many connections were closed for this reason."""
        line = f'headrace_connections_closed_total{{reason="{reason}"}} '
        return float(httpx.get(f"{self.running.url}/metrics").text.split(line)[1].split()[0])

    def assert_well(self) -> None:
        assert_serves(self.running, self.database_url, **self.headers)


def exchange(connection: socket.socket, *parts: bytes) -> bytes:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for part in parts:
            connection.sendall(part)
    return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    """Until it is closed, or reset, or silent for as long as its time-out."""
    answer = b""
    with contextlib.suppress(ConnectionResetError, TimeoutError):
        while part := connection.recv(65536):
            answer += part
    return answer


@pytest.fixture(params=["no keys", "keys"])
def stand(request: pytest.FixtureRequest, headrace: Launcher, database_url: str, tmp_path: Path) -> Stand:
    settings = dict(SETTINGS)
    sent = ""
    if request.param == "keys":
        key, sent = new_key("mine")
        Keys(tmp_path / "keys.json").add(key)
        settings["api_keys"] = tmp_path / "keys.json"
    return Stand(headrace(database_url=database_url, **settings), database_url, sent)


def test_keys_are_asked_for_before_the_body_is_read(stand: Stand) -> None:
    """Chunked, with a length, or announced: without a key, neither 100 Continue nor an end of the body is waited for."""
    expected = b"HTTP/1.1 401" if stand.headers else b"HTTP/1.1 100"
    with stand.connect() as connection:
        connection.sendall(HEAD + b"content-length: 1000000\r\nexpect: 100-continue\r\n\r\n")
        assert connection.recv(65536).startswith(expected)
    if stand.headers:
        for begin in (CHUNKED + b"5\r\nhello\r\n", HEAD + b"content-length: 1000000\r\n\r\nhello"):
            with stand.connect() as connection:
                connection.sendall(begin)
                assert connection.recv(65536).startswith(expected)
        memory = Memory(stand.running)
        assert stand.send(HEAD + b"content-length: 60000000\r\n\r\n", *[bytes(MIB)] * 57).startswith(expected)
        assert stand.send(CHUNKED, *[b"100000\r\n" + bytes(MIB) + b"\r\n"] * 100).startswith(expected)
        assert memory.growth() < 32 * MIB
        assert stand.closed("unread_body") >= 1
    stand.assert_well()


ENDLESS: dict[str, Callable[[], Iterator[bytes]]] = {
    "trailers": lambda: (b"0\r\n" if n == 0 else b"x-%d: a\r\n" % n * 3000 for n in range(4000)),
    "one trailer": lambda: (b"0\r\nx-trailer: " if n == 0 else b"a" * 65536 for n in range(2000)),
    "an extension of a chunk": lambda: (b"5;x=" if n == 0 else b"a" * 65536 for n in range(2000)),
    "digits of a chunk's size": lambda: (b"0" * 65536 for _ in range(2000)),
    "extensions of many chunks": lambda: (b"1;x=" + b"a" * 30000 + b"\r\nb\r\n" for _ in range(3000)),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_endless_framing_is_refused(stand: Stand, what: str) -> None:
    memory = Memory(stand.running)
    began = time.monotonic()
    with health(stand.running.url) as seen:
        answer = stand.send(CHUNKED, *ENDLESS[what]())
    assert answer[:12] in (b"", b"HTTP/1.1 400", b"HTTP/1.1 401")
    assert memory.growth() < 32 * MIB
    assert time.monotonic() - began < 20
    assert seen.slowest < 5
    assert not seen.failed
    stand.assert_well()


def test_trailers_are_read_and_forgotten(stand: Stand) -> None:
    body = otlp.request(otlp.span()).SerializeToString()
    key = b"".join(b"x-api-key: " + value.encode() + b"\r\n" for value in stand.headers.values())
    head = HEAD + key + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    trailers = b"0\r\ncontent-type: text/html\r\nx-mlflow-experiment-id: 99\r\n\r\n"
    answer = stand.send(head + b"%x;ext=1\r\n" % len(body) + body + b"\r\n" + trailers)
    assert answer.startswith(b"HTTP/1.1 200")
    stand.assert_well()


def test_a_large_body_in_chunks_of_a_byte_is_refused(stand: Stand) -> None:
    memory = Memory(stand.running)
    with health(stand.running.url) as seen:
        answer = stand.send(CHUNKED, *[b"1\r\nx\r\n" * 10_000] * 6400)
    assert answer[:12] in (b"", b"HTTP/1.1 400", b"HTTP/1.1 401", b"HTTP/1.1 408")
    assert memory.growth() < 64 * MIB
    assert seen.slowest < 5
    assert not seen.failed
    stand.assert_well()


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(b"GET /" + b"a" * 10 * MIB, id="a line without an end"),
        pytest.param(b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n", id="a long line"),
        pytest.param(b"A" * MIB, id="a method without an end"),
        pytest.param(HEAD + b"x: " + b"a" * 10 * MIB, id="a header without an end"),
        pytest.param(HEAD + b"x" * 10 * MIB, id="a name without an end"),
        pytest.param(HEAD + b"x: " + b"a" * 200_000 + b"\r\ncontent-length: 0\r\n\r\n", id="a long header"),
        pytest.param(HEAD + b"a:b\r\n" * 40_000 + b"content-length: 0\r\n\r\n", id="thousands of headers"),
        pytest.param(HEAD + b"a:b\r\n" * 200 + b"content-length: 0\r\n\r\n", id="hundreds of headers"),
        pytest.param(HEAD + b"x: a\r\n" + b" b\r\n" * 40_000 + b"\r\n", id="a folded header"),
        pytest.param(b"GET /\r\n\r\n", id="HTTP/0.9"),
        pytest.param(b"GET / HTTP/9.9\r\n\r\n", id="HTTP/9.9"),
        pytest.param(HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", id="a length and chunks"),
        pytest.param(HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello!", id="two lengths"),
        pytest.param(HEAD + b"content-length: " + b"9" * 100_000 + b"\r\n\r\n", id="a length of 100,000 digits"),
        pytest.param(HEAD + b"content-length: " + b"9" * 30 + b"\r\n\r\n", id="a length of 30 digits"),
        pytest.param(HEAD + b"x: a\0b\r\n\r\n", id="NUL in a header"),
        pytest.param(HEAD + b"x\0: a\r\n\r\n", id="NUL in a name"),
        pytest.param(b"POST /v1/\xbe\xff HTTP/1.1\r\nhost: localhost\r\n\r\n", id="a path that is not ASCII"),
        pytest.param(CHUNKED + b"ffffffffffffffffffff\r\n", id="a chunk of 2^80 bytes"),
        pytest.param(CHUNKED + b"-5\r\nhello\r\n", id="a chunk of -5 bytes"),
        pytest.param(os.urandom(0) + b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), id="TLS"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(1000), id="HTTP/2"),
    ],
)
def test_what_is_no_request_is_answered_and_closed(headrace: Launcher, database_url: str, request_: bytes) -> None:
    stand = Stand(headrace(database_url=database_url, **SETTINGS), database_url, "")
    memory = Memory(stand.running)
    for _ in range(20):
        began = time.monotonic()
        assert stand.send(request_)[:10] in (b"", b"HTTP/1.1 4")
        assert time.monotonic() - began < SECONDS + 5
    assert memory.growth() < 16 * MIB
    assert stand.running.log.read_text().count("\n") < 40, "a line each would fill the disk"
    stand.assert_well()


def test_thousands_of_requests_in_one_packet(stand: Stand) -> None:
    memory = Memory(stand.running)
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            connection = stack.enter_context(stand.connect())
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(GET * 5000)
        wait_until(lambda: stand.closed("pipelined") >= 50, 30)
    assert memory.growth() < 64 * MIB
    stand.assert_well()


def test_a_request_right_behind_one_that_was_answered_early(stand: Stand) -> None:
    """A client may send its next request once it has the answer, and the server may then read both in one piece."""
    refused = HEAD + b"content-length: 600000\r\n\r\n" + bytes(600_000)  # no key, or no protobuf
    good = otlp.request(*(otlp.span(f"{number} {'x' * 5000}") for number in range(60))).SerializeToString()
    headers = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in stand.headers.items()).encode()
    request = HEAD + headers + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(good) + good
    for _ in range(5):
        answers = stand.send(refused + request)
        assert answers.count(b"HTTP/1.1 ") == 2, answers
        assert b"HTTP/1.1 200 OK" in answers, answers
    stand.assert_well()


def test_an_offer_of_http2_wherever_it_stands(stand: Stand) -> None:
    """Java's client offers HTTP/2. Its head may come in two pieces, and right behind the request before it."""
    headers = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in stand.headers.items()).encode()
    good = otlp.request(otlp.span()).SerializeToString()
    end = b"content-length: %d\r\n\r\n" % len(good) + good
    offered = HEAD + headers + b"connection: Upgrade\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQA\r\n" + end
    sent = offered + offered + HEAD + headers + b"connection: close\r\n" + end
    for cut in (len(offered), len(sent), *(len(offered) + offered.index(b"upgrade: h2c") + at for at in (0, 3, 7, 12, 40))):
        with stand.connect() as connection:
            connection.sendall(sent[:cut])
            first = connection.recv(65536)  # the first piece has been read
            answers = first + exchange(connection, sent[cut:])
        assert answers.count(b"HTTP/1.1 200 OK") == 3, answers
    stand.assert_well()


def test_answers_that_nobody_reads(stand: Stand) -> None:
    """One request after the other, and never a look at what comes back."""
    before = descriptors(stand.running)
    memory = Memory(stand.running)
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            connection = stack.enter_context(stand.connect())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(0.2)
            with contextlib.suppress(OSError):
                for _ in range(300):
                    connection.sendall(GET * 10)
        wait_until(lambda: descriptors(stand.running) <= before + 5, 10 * SECONDS + 10, "their descriptors")
        assert stand.closed("unread_answer") + stand.closed("pipelined") >= 1
    assert memory.growth() < 64 * MIB
    stand.assert_well()


def test_a_hundred_heads_that_do_not_end(stand: Stand) -> None:
    memory = Memory(stand.running)
    with contextlib.ExitStack() as stack, health(stand.running.url) as seen:
        connections = [stack.enter_context(stand.connect()) for _ in range(100)]
        for connection in connections:
            connection.sendall(HEAD + b"x: " + b"a" * 60_000)
        assert all(read_all(connection)[:12] in (b"", b"HTTP/1.1 400", b"HTTP/1.1 503") for connection in connections)
    assert memory.growth() < 32 * MIB
    assert seen.slowest < 5
    assert not seen.failed
    stand.assert_well()


def test_a_half_closed_connection_is_let_go(stand: Stand) -> None:
    before = descriptors(stand.running)
    for begin in (b"", b"GET", CHUNKED, CHUNKED + b"5\r\nhel", GET):
        with stand.connect() as connection:
            connection.sendall(begin)
            connection.shutdown(socket.SHUT_WR)
            read_all(connection)
    wait_until(lambda: descriptors(stand.running) <= before + 2, 10)
    stand.assert_well()


def test_a_new_connection_takes_the_place_of_the_longest_idle_one(headrace: Launcher, database_url: str) -> None:
    running = headrace(database_url=database_url, max_connections=20, **SETTINGS | {"header_seconds": 60})
    stand = Stand(running, database_url, "")
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(stand.connect()) for _ in range(60)]
        wait_until(lambda: stand.closed("idle") >= 40, 10)
        connections[0].settimeout(5)
        assert connections[0].recv(1) == b"", "the first one made room"
        connections[-1].sendall(GET)
        assert connections[-1].recv(12) == b"HTTP/1.1 200"
        stand.assert_well()
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(stand.connect()).sendall(CHUNKED + b"5\r\nhel")
        with contextlib.suppress(httpx.HTTPError):
            httpx.get(f"{running.url}/healthz")
    assert stand.closed("too_many") >= 1
    stand.assert_well()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    directory = tmp_path_factory.mktemp("tls")
    cert, key = directory / "tls.crt", directory / "tls.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


def test_silent_connections_before_the_handshake_are_counted_and_closed(
    headrace: Launcher, database_url: str, certificate: tuple[Path, Path]
) -> None:
    cert, key = certificate
    running = headrace(wait=False, database_url=database_url, max_connections=30, tls_cert=cert, tls_key=key, **SETTINGS)
    url = running.url.replace("http:", "https:")
    trusted = ssl.create_default_context(cafile=str(cert))

    def answers() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{url}/healthz", verify=trusted).status_code == 200
        return False

    wait_until(answers, 60)
    stand = Stand(running, database_url, "", warm_up=False)  # over TLS
    before = descriptors(running)
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(stand.connect()) for _ in range(100)]
        for connection in silent[::2]:
            connection.sendall(b"\x16\x03\x01\x02\x00\x01")
        wait_until(lambda: descriptors(running) <= before + 31, 5, "no more than HEADRACE_MAX_CONNECTIONS")
        for connection in silent:
            connection.settimeout(SECONDS + 10)
            assert read_all(connection)[:1] in (b"", b"\x15")
        wait_until(lambda: descriptors(running) <= before + 1, 10)
    wait_until(answers, 5)
    metrics = httpx.get(f"{url}/metrics", verify=trusted).text
    assert 'headrace_connections_closed_total{reason="too_many"} 0.0' not in metrics
    body = otlp.request(otlp.span()).SerializeToString()
    headers = {"content-type": "application/x-protobuf"}
    assert httpx.post(f"{url}/v1/traces", content=body, headers=headers, verify=trusted).status_code == 200


def with_files(headrace: Launcher, database_url: str, soft: int, hard: int, **settings: object) -> Running:
    """A server that may open so many files. (A limit of our own would be inherited, and stay.)"""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, limit[1]))
    try:
        running = headrace(wait=False, database_url=database_url, **SETTINGS | settings)
        psutil.Process(running.process.pid).rlimit(psutil.RLIMIT_NOFILE, (soft, hard))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    wait_until(lambda: headrace._answers(running), 60)
    return running


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="psutil sets limits on Linux only")
def test_the_soft_limit_of_files_is_raised(headrace: Launcher, database_url: str) -> None:
    running = with_files(headrace, database_url, 256, 4096)
    assert psutil.Process(running.process.pid).rlimit(psutil.RLIMIT_NOFILE) == (4096, 4096)
    stand = Stand(running, database_url, "")
    with contextlib.ExitStack() as stack, health(running.url) as seen:
        for _ in range(1100):
            stack.enter_context(stand.connect())
        stand.assert_well()
    assert not seen.failed
    stand.assert_well()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="psutil sets limits on Linux only")
def test_connections_stay_below_a_low_limit_of_files(headrace: Launcher, database_url: str) -> None:
    running = with_files(headrace, database_url, 200, 200)
    stand = Stand(running, database_url, "")
    with contextlib.ExitStack() as stack, health(running.url) as seen:
        for _ in range(400):
            stack.enter_context(stand.connect())
        assert descriptors(running) < 180
        stand.assert_well()
    assert not seen.failed
    assert "fewer connections than HEADRACE_MAX_CONNECTIONS" in running.log.read_text()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="psutil sets limits on Linux only")
def test_the_server_outlives_a_time_without_any_descriptor(headrace: Launcher, database_url: str) -> None:
    """Whatever took them: accept() fails, and works again once there are some."""
    running = headrace(database_url=database_url, **SETTINGS)
    stand = Stand(running, database_url, "")
    process = psutil.Process(running.process.pid)
    _, hard = process.rlimit(psutil.RLIMIT_NOFILE)
    process.rlimit(psutil.RLIMIT_NOFILE, (descriptors(running), hard))
    before = sum(process.cpu_times()[:2])
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(stand.connect())
        time.sleep(SECONDS)
    assert sum(process.cpu_times()[:2]) - before < SECONDS / 2, "it spins"
    process.rlimit(psutil.RLIMIT_NOFILE, (hard, hard))
    wait_until(lambda: httpx.get(f"{running.url}/healthz", timeout=2).status_code == 200, 10)
    stand.assert_well()
