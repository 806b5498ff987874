"""The cases that need a connection of their own: keep-alive, chunks, slow clients, bytes that are no HTTP, HTTP's versions."""

import os
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import grpc

from conformance.cases import Procedures, one_span, span, spans_of
from conformance.stand import GUARDED, MIB, PLAIN, PRESSED, Server, Stand, request_of
from conformance.wire import (
    GRPC,
    HTTP,
    JSON,
    MEDIA_TYPE,
    PACKINGS,
    PROTOBUF,
    Reply,
    Transport,
    encode,
    judge,
    over_http,
    read,
)

shows = Procedures()


def head(transport: Transport, length: int | None, *more: str, path: str = "/v1/traces", media: str = "") -> bytes:
    """A request's head. `length` None: without Content-Length."""
    lines = [f"POST {path} HTTP/1.1", "host: localhost", f"content-type: {media or MEDIA_TYPE[transport]}"]
    lines += [f"content-length: {length}"] if length is not None else []
    return "\r\n".join((*lines, *more, "", "")).encode("latin-1")


def post(transport: Transport, body: bytes, *more: str, path: str = "/v1/traces") -> bytes:
    """A whole request."""
    return head(transport, len(body), *more, path=path) + body


def chunks(*parts: bytes) -> bytes:
    """A body in these chunks."""
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (*parts, b""))


def next_answer(file: BinaryIO, transport: Transport, signal: str = "traces") -> Reply:
    """The next answer of a connection, judged."""
    code, headers = next_head(file)
    reply = read(transport, code, headers, file.read(int(headers["content-length"])), signal)
    judge(reply)
    return reply


def next_head(file: BinaryIO) -> tuple[int, dict[str, str]]:
    """The status and the headers of the next answer."""
    first = file.readline().split(b" ", 2)
    assert first[0] == b"HTTP/1.1", first
    headers = {}
    while line := file.readline().strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    return int(first[1]), headers


@contextmanager
def talking(server: Server, *parts: bytes) -> Iterator[tuple[socket.socket, BinaryIO]]:
    """A connection on which this was sent, and its answers."""
    with server.connection() as connection, connection.makefile("rb") as file:
        for part in parts:
            connection.sendall(part)
        yield connection, file


# Keep-alive, pipelining, chunks, Expect.


@shows("L694", over=HTTP)
def keep_alive(stand: Stand, transport: Transport) -> None:
    trace_id = os.urandom(16)
    spans = spans_of(trace_id, 3)
    with talking(stand[PLAIN]) as (connection, file):
        for one in spans:
            connection.sendall(post(transport, encode(request_of(one), transport)) + b"\r\n")  # as old clients end a POST
            assert next_answer(file, transport).code == 200
    stand[PLAIN].assert_stored(trace_id, *spans)


@shows("L694", over=HTTP)
def pipelined(stand: Stand, transport: Transport) -> None:
    trace_id = os.urandom(16)
    first, last = spans_of(trace_id, 2)
    requests = [encode(request_of(first), transport), b"\xff", encode(request_of(last), transport)]
    with talking(stand[PLAIN], b"".join(post(transport, body) for body in requests)) as (_, file):
        assert [next_answer(file, transport).code for _ in requests] == [200, 400, 200]
    stand[PLAIN].assert_stored(trace_id, first, last)


@shows("L694", over=HTTP)
def kept_alive_after_an_error(stand: Stand, transport: Transport) -> None:
    """Before whose answer the body was not read."""
    trace_id = os.urandom(16)
    wrong_path = post(transport, bytes(300_000), path="/v1/other")
    with talking(stand[PLAIN], wrong_path + post(transport, encode(one_span(trace_id), transport))) as (_, file):
        assert [next_answer(file, transport).code for _ in range(2)] == [404, 200]
    stand[PLAIN].assert_stored(trace_id, span(trace_id))


@shows("L696", over=HTTP)
def both_encodings_on_one_connection(stand: Stand, transport: Transport) -> None:
    trace_id = os.urandom(16)
    spans = spans_of(trace_id, 2)
    order = (transport, PROTOBUF if transport is JSON else JSON)
    with talking(stand[PLAIN]) as (connection, file):
        for one, encoding in zip(spans, order, strict=True):
            connection.sendall(post(encoding, encode(request_of(one), encoding)))
            assert next_answer(file, encoding).code == 200
    stand[PLAIN].assert_stored(trace_id, *spans)


@shows("rfc9112-7.1", over=HTTP)
def in_chunks(stand: Stand, transport: Transport) -> None:
    trace_id = os.urandom(16)
    spans = spans_of(trace_id, 500)
    body = encode(request_of(*spans), transport)
    parts = [body[:1], body[1:20_000], body[20_000:]]
    chunked = head(transport, None, "transfer-encoding: chunked", "trailer: x-sum")
    with talking(stand[PLAIN], chunked, chunks(*parts)[:-2], b"x-sum: 1\r\n\r\n") as (_, file):
        assert next_answer(file, transport).code == 200
    stand[PLAIN].assert_stored(trace_id, *spans)


@shows("rfc9112-7.1", "L518", "L522", over=HTTP)
def too_many_chunks(stand: Stand, transport: Transport) -> None:
    chunked = head(transport, None, "transfer-encoding: chunked")
    with talking(stand[PLAIN], chunked, chunks(bytes(MIB))[:-5], b"1\r\n") as (connection, file):
        connection.sendall(b"x")
        assert next_answer(file, transport).code == 413


@shows("rfc9112-7.1", "L619", over=HTTP)
def broken_chunks(stand: Stand, transport: Transport) -> None:
    chunked = head(transport, None, "transfer-encoding: chunked")
    with talking(stand[PLAIN], chunked, b"1\r\nx\r\nno number\r\n") as (_, file):
        assert next_answer(file, transport).code == 400


@shows("rfc9110-10.1.1", over=HTTP)
def asked_for(stand: Stand, transport: Transport) -> None:
    trace_id = os.urandom(16)
    body = encode(one_span(trace_id), transport)
    with talking(stand[PLAIN], head(transport, len(body), "expect: 100-continue")) as (connection, file):
        assert next_head(file) == (100, {})
        connection.sendall(body)
        assert next_answer(file, transport).code == 200
    stand[PLAIN].assert_stored(trace_id, span(trace_id))


@shows("rfc9110-10.1.1", "L522", over=HTTP)
def declined(stand: Stand, transport: Transport) -> None:
    with talking(stand[PLAIN], head(transport, MIB + 1, "expect: 100-continue")) as (_, file):
        assert next_answer(file, transport).code == 413
    with talking(stand[PLAIN], head(transport, 5, "expect: 100-continue", media="text/html")) as (_, file):
        assert next_answer(file, PROTOBUF).code == 415


# Sizes.


@shows("L521", "L518", grpc_rules=("L125", "L121"))
def default_of_64_mib(stand: Stand, transport: Transport) -> None:
    """One of 64 MiB is read, though it says nothing; a longer one is refused for its size."""
    server = stand[PRESSED]
    if transport is GRPC:
        unknown = b"\xfa\x3e\xfa\xff\xff\x1f" + b"x" * (64 * MIB - 6)  # a field that nobody knows, and its length
        assert server.send(GRPC, unknown, "gzip").code == grpc.StatusCode.OK
        assert server.send(GRPC, bytes(64 * MIB + 1), "gzip").code == grpc.StatusCode.RESOURCE_EXHAUSTED
        return
    with talking(server, head(transport, 64 * MIB, "expect: 100-continue")) as (_, file):
        assert next_head(file) == (100, {})
    with talking(server, head(transport, 64 * MIB + 1, "expect: 100-continue")) as (_, file):
        assert next_answer(file, transport).code == 413


@shows(
    "rfc9112-9.6",
    "L522",
    over=HTTP,
)
def answer_arrives_while_the_body_is_sent(stand: Stand, transport: Transport) -> None:
    with talking(stand[PLAIN], head(transport, 3 * MIB), bytes(64 * 1024)) as (connection, file):
        select.select([connection], [], [], 30)  # the answer is here, and the client has not looked yet
        for _ in range(47):
            connection.sendall(bytes(64 * 1024))
        assert next_answer(file, transport).code == 413


# Status codes that are HTTP's own.


@shows("L681", "L619", "L642", over=HTTP)
def not_found(stand: Stand, transport: Transport) -> None:
    for path in ("/v1/trace", "/v2/traces", "/V1/traces", "/traces/v1"):
        reply = over_http(stand[PLAIN].client, stand[PLAIN].url + path, transport, b"", {})
        judge(reply)
        assert reply.code == 404
        assert "POST /v1/traces" in reply.status.message


@shows("L681", "L619", "L642", "L433", over=HTTP)
def not_allowed(stand: Stand, transport: Transport) -> None:
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS"):
        reply = over_http(stand[PLAIN].client, f"{stand[PLAIN].url}/v1/traces", transport, b"", {}, method=method)
        judge(reply)
        assert (reply.code, reply.headers["allow"]) == (405, "POST")


@shows("L681", "L619", "slow-clients", over=HTTP)
def slow_body(stand: Stand, transport: Transport) -> None:
    with talking(stand[PRESSED], head(transport, 100), b"x") as (_, file):
        reply = next_answer(file, transport)
        assert reply.code == 408
        assert "HEADRACE_BODY_SECONDS" in reply.status.message
        assert file.read() == b"", "closed"


@shows("slow-clients", over=HTTP)
def slow_headers(stand: Stand, transport: Transport) -> None:
    with talking(stand[PRESSED], head(transport, 100)[:-2]) as (_, file):
        assert file.read() == b""


@shows("slow-clients", over=(PROTOBUF,))
def no_headers_at_all(stand: Stand, transport: Transport) -> None:
    with talking(stand[PRESSED]) as (_, file):
        assert file.read() == b""


@shows("slow-clients", over=HTTP)
def rest_of_a_refused_body(stand: Stand, transport: Transport) -> None:
    server = stand[PRESSED]
    for refused, code in ((head(transport, 10**15), 413), (head(transport, 100, path="/v1/other"), 404)):
        with talking(server, refused) as (connection, file):
            assert next_answer(file, transport).code == code
            connection.sendall(b"x")
            closed, _, _ = select.select([connection], [], [], 5)  # bodies have one second here
            assert closed
            assert file.read() == b""


@shows("L681", "L619", over=HTTP)
def no_length(stand: Stand, transport: Transport) -> None:
    with talking(stand[PLAIN], head(transport, None)) as (_, file):
        assert next_answer(file, transport).code == 411


@shows("L681", "L619", "L556", over=HTTP)
def unknown_media(stand: Stand, transport: Transport) -> None:
    server = stand[PLAIN]
    for media in ("text/html", "application/json-seq", "multipart/form-data; boundary=x", "", None):
        reply = over_http(server.client, f"{server.url}/v1/traces", PROTOBUF, b"", {"content-type": media})
        judge(reply)
        assert reply.code == 415
        assert "application/x-protobuf" in reply.status.message
    for coding in ("br", "gzip, br", "gzip, gzip, gzip, gzip", "x" * 5000):
        reply = over_http(server.client, f"{server.url}/v1/traces", transport, b"", {"content-encoding": coding})
        judge(reply)
        assert (reply.code, reply.headers["accept-encoding"]) == (415, "gzip, deflate, zstd")


@shows("L619", "L655", "L656", over=(PROTOBUF,))
def no_http(stand: Stand, transport: Transport) -> None:
    body = one_span(os.urandom(16)).SerializeToString()
    for sent in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
        b"hello\r\n\r\n",
        head(PROTOBUF, None, "content-length: x"),
        head(PROTOBUF, None, "content-length: -1"),
        head(PROTOBUF, 5, "content-length: 6"),
        head(PROTOBUF, 5, "transfer-encoding: chunked"),
        head(PROTOBUF, None, "content-length: " + "9" * 30),
        head(PROTOBUF, len(body), "x: a\0b") + body,
        head(PROTOBUF, 0, path="/v1/traces\xff"),
    ):
        with talking(stand[PLAIN], sent) as (_, file):
            assert next_answer(file, PROTOBUF).code == 400, sent
            assert file.read() == b"", "closed"


@shows("L619", "L615", "headers", over=(PROTOBUF,))
def endless_headers(stand: Stand, transport: Transport) -> None:
    with talking(stand[PLAIN], head(PROTOBUF, 0)[:-2], b"x: y\r\n" * 12_000) as (_, file):
        assert next_answer(file, PROTOBUF).code == 431


# HTTP's versions and options.


@shows("L433", over=HTTP)
def http_1_0(stand: Stand, transport: Transport) -> None:
    trace_id = os.urandom(16)
    request = post(transport, encode(one_span(trace_id), transport)).replace(b"HTTP/1.1", b"HTTP/1.0")
    with talking(stand[PLAIN], request) as (_, file):
        assert next_answer(file, transport).code == 200
        assert file.read() == b"", "closed"
    stand[PLAIN].assert_stored(trace_id, span(trace_id))


@shows(
    "L433",
    over=HTTP,
)
def upgrade_to_http_2(stand: Stand, transport: Transport) -> None:
    """Offered and declined: the request is one of HTTP/1.1, however its parts come, and so is what follows it."""
    server = stand[PLAIN]
    asks = ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAMAAABkAAQAoAAAAAIAAAAA")
    trace_id = os.urandom(16)
    spans = spans_of(trace_id, 7)
    whole, split, chunked, *rest = [encode(request_of(one), transport) for one in spans]
    with talking(server, post(transport, whole, *asks)) as (connection, file):
        assert next_answer(file, transport).code == 200
        server.assert_stored(trace_id, spans[0])
        for part in (head(transport, len(split), *asks), split[:9], split[9:]):
            connection.sendall(part)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert next_answer(file, transport).code == 200
        connection.sendall(head(transport, None, *asks, "transfer-encoding: chunked") + chunks(chunked[:5], chunked[5:]))
        assert next_answer(file, transport).code == 200
        pipelined = (post(transport, body, *more) for body, more in zip(rest, (asks, (), (), ()), strict=True))
        connection.sendall(b"".join(pipelined))
        assert [next_answer(file, transport).code for _ in range(4)] == [200] * 4
        connection.sendall(post(transport, encode(request_of(), transport)) + post(transport, whole, *asks))
        assert [next_answer(file, transport).code for _ in range(2)] == [200] * 2
    server.assert_stored(trace_id, *spans)


@shows("L563", over=HTTP)
def gzip_is_welcome(stand: Stand, transport: Transport) -> None:
    """`judge` looks for a Content-Encoding that should not be there."""
    for body, code in ((encode(one_span(os.urandom(16)), transport), 200), (b"\xff", 400)):
        assert stand[PLAIN].send(transport, body, headers={"accept-encoding": "gzip"}).code == code


@shows("L496", "L515", over=HTTP)
def paths(stand: Stand, transport: Transport) -> None:
    trace_id = os.urandom(16)
    spans = spans_of(trace_id, 5)
    server = stand[PLAIN]
    for one, path in zip(
        spans, ("/v1/traces", "/v1/traces/", "/v1/traces/v1/traces", "/v1/traces/v1/traces/", "/v1/traces?a=b"), strict=True
    ):
        reply = over_http(server.client, server.url + path, transport, encode(request_of(one), transport), {})
        judge(reply)
        assert reply.code == 200, path
    server.assert_stored(trace_id, *spans)


@shows("L515", over=HTTP)
def path_prefix(stand: Stand, transport: Transport) -> None:
    trace_id = os.urandom(16)
    server = stand[GUARDED]
    key = {"x-api-key": stand.keys_of(GUARDED)["all"]}
    spans = spans_of(trace_id, 2)
    for one, path in zip(spans, ("/otel/v1/traces", "/v1/traces"), strict=True):
        reply = over_http(server.client, server.url + path, transport, encode(request_of(one), transport), key)
        judge(reply)
        assert reply.code == 200, path
    server.assert_stored(trace_id, *spans)


@shows("rfc9110-8.4", over=HTTP)
def two_lines_of_a_header(stand: Stand, transport: Transport) -> None:
    trace_id = os.urandom(16)
    spans = spans_of(trace_id, 50)
    body = PACKINGS["zstd in gzip"](encode(request_of(*spans), transport))
    with talking(stand[PLAIN], post(transport, body, "content-encoding: zstd", "content-encoding: gzip")) as (_, file):
        assert next_answer(file, transport).code == 200
    stand[PLAIN].assert_stored(trace_id, *spans)
