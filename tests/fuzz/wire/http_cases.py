"""Cases for HTTP/1.1: requests that are sound but for one thing, or are not even that."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import otlp
from fuzz.bodies import mutate_bytes
from fuzz.wire.case import Case, Step
from fuzz.wire.http2 import PREFACE, Header, opening
from fuzz.wire.odd import HTTP_HEADERS, LENGTHS, METHODS, TARGETS, TLS_SHAPES, TRANSFERS, VERSIONS, gzipped, odd_name, odd_value
from fuzz.wire.talk import pieces

_CRLF = b"\r\n"


@dataclass
class Request:
    """One request, before it is bytes. `sound`: whether its framing still is: its body is the span that was meant, whole."""

    body: bytes
    method: bytes = b"POST"
    target: bytes = b"/v1/traces"
    version: bytes = b"HTTP/1.1"
    headers: list[Header] = field(default_factory=list)
    framing: list[Header] = field(default_factory=list)
    sent: bytes = b""
    newline: bytes = _CRLF
    sound: bool = True

    def __bytes__(self) -> bytes:
        lines = [b" ".join((self.method, self.target, self.version))]
        lines += [name + b": " + value for name, value in (*self.headers, *self.framing)]
        return self.newline.join((*lines, b"", b"")) + self.sent


def _plain(body: bytes) -> Request:
    headers = [(b"host", b"localhost"), (b"content-type", b"application/x-protobuf"), (b"x-mlflow-experiment-id", b"0")]
    framing = [(b"content-length", b"%d" % len(body))]
    return Request(body, headers=headers, framing=framing, sent=body)


def _method(random: Random, request: Request) -> None:
    request.method = random.choice(METHODS)


def _target(random: Random, request: Request) -> None:
    request.target = random.choice(TARGETS)
    request.sound &= b"traces" in request.target  # metrics and logs keep no span


def _version(random: Random, request: Request) -> None:
    request.version = random.choice(VERSIONS)
    request.sound = False


def _header(random: Random, request: Request) -> None:
    name, values = random.choice(HTTP_HEADERS)
    request.sound &= name not in (b"content-length", b"transfer-encoding")
    value: Any = random.choice(values) if random.random() < 0.7 else odd_value(random)
    # A line's end inside of a value is framing, and ours to answer for.
    request.sound &= not {b"\r", b"\n"} & {value[at : at + 1] for at in range(len(value))}
    request.headers.insert(random.randrange(len(request.headers) + 1), (random.choice((name, name, name.upper())), value))


def _odd_line(random: Random, request: Request) -> None:
    line = random.choice(
        ((odd_name(random), odd_value(random)), (b"x", b"1\r\n folded"), (b"x", b"1\n\tfolded"), (b"\tx", b""), (b"x ", b"1"))
    )
    request.headers.insert(random.randrange(len(request.headers) + 1), line)
    request.sound = False


def _many(random: Random, request: Request) -> None:
    count = random.choice((100, 500, 1500, 9000))
    request.headers += [(random.choice((b"x", b"x-%d" % number, b"cookie")), b"v") for number in range(count)]


def _length(random: Random, request: Request) -> None:
    request.framing = [(b"content-length", random.choice(LENGTHS)) for _ in range(random.choice((1, 1, 2)))]
    request.framing += [(b"content-length", b"%d" % len(request.body))] * random.choice((0, 1))
    request.sound = False


def _transfer(random: Random, request: Request) -> None:
    request.framing = [(b"transfer-encoding", random.choice(TRANSFERS))] * random.choice((1, 1, 2))
    request.framing += [(b"content-length", b"%d" % len(request.body))] * random.choice((0, 1))
    request.sent = random.choice((request.sent, _chunked(random, request.body)))
    request.sound = False


def _chunks(random: Random, request: Request) -> None:
    """Sound chunks; with extensions and trailers, which mean nothing."""
    request.framing = [(b"transfer-encoding", b"chunked")]
    request.sent = _chunked(random, request.body)


def _chunked(random: Random, body: bytes) -> bytes:
    size = random.choice((1, 7, 5000))
    extension = random.choice((b"", b";a=b", b';a="b;c"', b";" + b"e" * 300))
    lines = [
        b"%x%s\r\n%s\r\n" % (len(part), extension, part) for part in (body[at : at + size] for at in range(0, len(body), size))
    ]
    trailers = random.choice((b"", b"x: y\r\n", b"content-length: 5\r\n", b"x: y\r\n" * 500, b"authorization: \xff\r\n"))
    return b"".join((*lines, b"0\r\n", trailers, _CRLF))


def _odd_chunks(random: Random, request: Request) -> None:
    _chunks(random, request)
    odd = random.choice(
        (
            b"-1\r\n",
            b"ffffffffffffffff\r\n",
            b"0x5\r\n",
            b"5\n",
            b" 5\r\n",
            b"g\r\n",
            b"\r\n",
            b"1" * 900,
            b"0\r\nx\0: y\r\n\r\n",
            b"5;\xff\r\n",
        )
    )
    at = random.choice((0, random.randrange(len(request.sent)), len(request.sent) - 2))
    request.sent = request.sent[:at] + odd + request.sent[at:]
    request.sound = False


def _newlines(random: Random, request: Request) -> None:
    request.newline = random.choice((b"\n", b"\r", b"\r\r\n", b"\n\r", b"\0\r\n"))
    request.sound = False


def _expect(random: Random, request: Request) -> None:
    request.headers.append(
        (random.choice((b"expect", b"Expect")), random.choice((b"100-continue", b"100-Continue", b"x", b"")))
    )


def _upgrade(random: Random, request: Request) -> None:
    request.headers += [(b"Connection", b"Upgrade, HTTP2-Settings"), (b"Upgrade", random.choice((b"h2c", b"websocket")))]
    request.headers.append((b"HTTP2-Settings", b"AAMAAABkAAQAAP__"))
    random.shuffle(request.headers)


def _connection(random: Random, request: Request) -> None:
    value: Any = random.choice((b"close", b"keep-alive", b"close, keep-alive", b"content-length", b"\xff", b"upgrade"))
    request.headers.append((b"connection", value))


def _packed(random: Random, request: Request) -> None:
    bomb = gzipped(bytes(random.choice((10**6, 3 * 10**7))))
    sent = random.choice((gzipped(request.body), gzipped(request.body)[:-4], bomb, b"", mutate_bytes(bomb, random)))
    request.headers.append((b"content-encoding", random.choice((b"gzip", b"gzip", b"deflate", b"zstd", b"gzip, gzip"))))
    request.framing, request.sent, request.sound = [(b"content-length", b"%d" % len(sent))], sent, False


def _json(random: Random, request: Request) -> None:
    request.headers[1] = (b"content-type", b"application/json")
    value: Any = random.choice(
        ({}, [], None, {"resourceSpans": [{}]}, {"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "\ud800"}]}]}]})
    )
    sent = random.choice(
        (json.dumps(value).encode(), b"\xff{}", b"\xef\xbb\xbf{}", b"{" * 900, '{"a":"ü"}'.encode("latin-1"), b"{}\0")
    )
    request.framing, request.sent, request.sound = [(b"content-length", b"%d" % len(sent))], sent, False


def _head_twice(random: Random, request: Request) -> None:
    request.headers += [random.choice(request.headers)] * random.choice((1, 2, 50))


_MUTATIONS: tuple[Callable[[Random, Request], None], ...] = (
    *(_method, _target, _target, _version, _header, _header, _header, _header, _odd_line, _odd_line, _many, _length, _transfer),
    *(_chunks, _chunks, _odd_chunks, _odd_chunks, _newlines, _expect, _upgrade, _connection, _packed, _json, _head_twice),
)
_ENDS = ("read", "read", "read", "read", "read", "half", "half", "cut", "deaf")


def _request(random: Random) -> tuple[Request, str]:
    """A request and the id of its span; "" where a full success promises nothing."""
    span_id = random.randbytes(8)
    request = _plain(otlp.request(otlp.span("wire", random.randbytes(16), span_id)).SerializeToString())
    for _ in range(random.choice((0, 1, 1, 1, 1, 2, 3))):
        random.choice(_MUTATIONS)(random, request)
    return request, span_id.hex() if request.sound else ""


def make(random: Random, name: str, port: str = "http") -> Case:
    """A case for the HTTP port, or HTTP/1.1 at another."""
    if random.random() < 0.02:
        garbage = random.choice(
            (*TLS_SHAPES, opening(), PREFACE, random.randbytes(300), b"\0" * 900, _CRLF * 900, b"\xff" * 70_000)
        )
        return Case(name, port, (Step(garbage),), random.choice(_ENDS))
    made = [_request(random) for _ in range(random.choice((1, 1, 1, 1, 2, 5)))]
    data = b"".join(bytes(request) for request, _ in made)
    span = made[0][1]  # an answer to pipelined requests belongs to the first
    if random.random() < 0.12:
        data, span = mutate_bytes(data, random), ""
    steps: tuple[Step, ...] = (Step(data),)
    if random.random() < 0.2:
        steps = pieces(steps, random)
    elif random.random() < 0.03:
        steps = (Step(data[: random.randrange(len(data) + 1)], wait=0.5),)
        span = ""
    return Case(name, port, steps, random.choice(_ENDS), len(made), span)
