"""HTTP/2 frames in odd sequences, and far too many of them."""

from collections.abc import Callable
from random import Random

import otlp
from fuzz.wire import http2
from fuzz.wire.http2 import ACK, END_HEADERS, END_STREAM, PADDED, PRIORITIZED, Kind, call, frame
from fuzz.wire.odd import odd_value
from fuzz.wire.talk import Talk

Scene = Callable[[Talk], None]


def _continuations(talk: Talk) -> None:
    """A header block in many frames, or without an end, or with something else amid it."""
    random, stream = talk.random, talk.stream()
    sound = http2.block(http2.request_headers())
    talk.send(frame(Kind.HEADERS, random.choice((0, END_STREAM)), stream, sound[:40]))
    piece = random.choice(
        (b"", http2.literal(b"x", b"y"), http2.literal(b"k" * 90, b"v" * 900), http2.literal(b"a", b"b", 0x40))
    )
    talk.send(frame(Kind.CONTINUATION, 0, stream, piece), random.choice((1, 20, 1000, 20_000)))
    if random.random() < 0.3:
        talk.send(_control(random, random.choice((0, stream, stream + 2))))
    talk.send(frame(Kind.CONTINUATION, random.choice((0, END_HEADERS)), random.choice((stream, stream, 0, 9)), sound[40:]))
    talk.answers += 1


def _rapid_reset(talk: Talk) -> None:
    """Streams that are opened and reset at once."""
    random = talk.random
    headers = http2.block(http2.request_headers(random.choice((http2.EXPORT, b"/a/b", b"/grpc.health.v1.Health/Watch"))))
    data = bytearray()
    for _ in range(random.choice((10, 200, 2000))):
        stream = talk.stream()
        data += frame(Kind.HEADERS, END_HEADERS | random.choice((0, END_STREAM)), stream, headers)
        data += frame(Kind.RST_STREAM, 0, stream, bytes([0, 0, 0, random.choice((8, 0, 255))]))
    talk.send(bytes(data))


def _many_streams(talk: Talk) -> None:
    """Calls without an end, or whole ones that may not be answered: the window is zero."""
    random, body = talk.random, http2.message(otlp.request(otlp.span("wire", bytes(16), bytes(8))).SerializeToString())
    if random.random() < 0.5:
        talk.send(frame(Kind.SETTINGS, 0, 0, http2.setting(4, 0)))
    headers = http2.request_headers(random.choice((http2.EXPORT, b"/grpc.health.v1.Health/Watch", b"/x/y")))
    for _ in range(random.choice((5, 150, 400))):
        whole = call(talk.stream(), headers, body)
        talk.send(whole if random.random() < 0.7 else whole[:-10])
    talk.answers += 400


def _control(random: Random, stream: int = 0) -> bytes:
    """One frame that carries no request, sound or not."""
    word = random.randbytes(4)
    return random.choice(
        (
            frame(Kind.PING, random.choice((0, ACK, 0xFF)), stream, bytes(random.choice((8, 8, 8, 0, 7, 9, 600)))),
            frame(Kind.SETTINGS, random.choice((0, 0, ACK)), stream, _settings(random)),
            frame(
                Kind.WINDOW_UPDATE,
                0,
                stream,
                random.choice((word, bytes(4), b"\x7f\xff\xff\xff", b"\0\0\0\1", b"\xff" * 4, b"")),
            ),
            frame(Kind.PRIORITY, 0, random.choice((stream, 1, 3, 5)), bytes([0, 0, 0, random.choice((0, 1, 3, 5))]) + b"\xff"),
            frame(Kind.PRIORITY, 0, stream, random.randbytes(random.choice((4, 5, 6)))),
            frame(Kind.RST_STREAM, 0, random.choice((stream, 1, 2, 9999)), random.choice((word, b"", bytes(5)))),
            frame(Kind.GOAWAY, 0, random.choice((0, 0, stream)), word + word + random.randbytes(random.choice((0, 9, 9000)))),
            frame(Kind.PUSH_PROMISE, END_HEADERS, random.choice((stream, 1)), word + http2.block(http2.request_headers())),
            frame(Kind.CONTINUATION, END_HEADERS, random.choice((stream, 1)), http2.literal(b"x", b"y")),
            frame(random.randrange(10, 256), random.randrange(256), stream, random.randbytes(random.choice((0, 9, 900)))),
            frame(random.randrange(12), 0, stream, b"", random.choice((1, 16385, 2**20, 2**24 - 1))),
            frame(random.randrange(12), random.randrange(256), random.getrandbits(32), random.randbytes(random.randrange(30))),
        )
    )


def _settings(random: Random) -> bytes:
    values = (0, 1, 100, 16383, 16384, 65535, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
    entries = [http2.setting(random.choice((1, 2, 3, 4, 5, 6, 8, 0, 0xFE03, 0xFFFF)), random.choice(values)) for _ in range(3)]
    return random.choice((b"", entries[0], entries[0], b"".join(entries), entries[0] * 1000, entries[0][:5], b"\0"))


def _flood(talk: Talk) -> None:
    """The same frame, very often."""
    talk.send(_control(talk.random), talk.random.choice((10, 1000, 20_000)))


def _soup(talk: Talk) -> None:
    """Frames of all kinds around sound calls."""
    for _ in range(talk.random.choice((1, 3, 30))):
        talk.send(_control(talk.random, talk.random.choice((0, 0, 1, 2, 3, 2**31 - 1, 2**31))))
    _whole(talk)


def _stream_ids(talk: Talk) -> None:
    """Ids that are even, fall, or are used up; trailers, padding and priorities in HEADERS."""
    random, headers = talk.random, http2.block(http2.request_headers())
    ids = [random.choice((0, 1, 1, 2, 3, 5, 2**31 - 1, 2**31 - 3, 2**31 + 1, 2**32 - 1)) for _ in range(random.choice((2, 5)))]
    for stream in ids:
        flags = END_HEADERS | random.choice((0, END_STREAM, PADDED, PRIORITIZED, PADDED | PRIORITIZED))
        before = random.choice((b"", b"\x05", b"\xff", stream.to_bytes(4, "big") + b"\x10", b"\0\0\0\1\xff"))
        talk.send(frame(Kind.HEADERS, flags, stream, before + headers + bytes(random.choice((0, 5)))))
        talk.send(frame(Kind.DATA, random.choice((0, END_STREAM)), stream, http2.message(b"")))
        if random.random() < 0.3:
            talk.send(frame(Kind.HEADERS, END_HEADERS | END_STREAM, stream, http2.literal(b"grpc-status", odd_value(random))))
    talk.answers += len(ids)


def _whole(talk: Talk) -> None:
    talk.send(call(talk.stream(), http2.request_headers(), http2.message(talk.body())))
    talk.answers += 1


SCENES: tuple[Scene, ...] = (_continuations, _rapid_reset, _many_streams, _flood, *[_soup] * 2, *[_stream_ids] * 2)
