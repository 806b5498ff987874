"""gRPC calls that are sound but for their headers, their message, or their header block."""

import zlib
from collections.abc import Callable
from random import Random

from fuzz.bodies import mutate_bytes
from fuzz.wire import http2
from fuzz.wire.http2 import END_HEADERS, END_STREAM, PADDED, Header, Kind, call, frame
from fuzz.wire.odd import HEADERS, PATHS, gzipped, odd_name, odd_value
from fuzz.wire.talk import Talk

Scene = Callable[[Talk], None]


def _odd_headers(talk: Talk) -> None:
    """A sound call but for its headers."""
    random, headers = talk.random, http2.request_headers()
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        random.choice(_MUTATIONS)(random, headers)
    talk.send(call(talk.stream(), headers, http2.message(talk.body())))
    talk.answers += 1


def _value(random: Random, headers: list[Header]) -> None:
    at = random.randrange(len(headers))
    headers[at] = (headers[at][0], odd_value(random))


def _name(random: Random, headers: list[Header]) -> None:
    headers.insert(random.randrange(len(headers) + 1), (odd_name(random), odd_value(random)))


def _path(random: Random, headers: list[Header]) -> None:
    headers[2] = (b":path", random.choice(PATHS))


def _extra(random: Random, headers: list[Header]) -> None:
    name, values = random.choice(HEADERS)
    headers.append((name, random.choice(values) if random.random() < 0.8 else odd_value(random)))


def _twice(random: Random, headers: list[Header]) -> None:
    headers.extend([random.choice(headers)] * random.choice((1, 1, 2, 100)))


def _missing(random: Random, headers: list[Header]) -> None:
    if len(headers) > 3:
        del headers[random.randrange(len(headers))]


def _shuffled(random: Random, headers: list[Header]) -> None:
    random.shuffle(headers)


def _many(random: Random, headers: list[Header]) -> None:
    headers.extend((b"x-%d" % number, b"v") for number in range(random.choice((50, 400, 1500))))


_MUTATIONS: tuple[Callable[[Random, list[Header]], None], ...] = (
    *(_value, _value, _name, _path, _extra, _extra, _extra),
    *(_twice, _missing, _shuffled, _many),
)


def _odd_message(talk: Talk) -> None:
    """A call whose message is not what its prefix or its headers say."""
    random, body = talk.random, talk.body()
    headers = http2.request_headers()
    encoding = random.choice((b"", b"gzip", b"deflate", b"identity", b"zstd", b"br", b"GZIP", b"\xff", b"gzip, gzip", b""))
    if encoding:
        headers.append((b"grpc-encoding", encoding))
    packed = random.choice((body, gzipped(body), zlib.compress(body), _bomb(random), mutate_bytes(gzipped(body), random)))
    flag = random.choice((0, 1, 1, 1, 2, 128, 255))
    length = random.choice((None, None, None, 0, 1, len(packed) - 1, len(packed) + 1, 2**24, 2**31, 2**32 - 1))
    sent = http2.message(packed, flag, length) * random.choice((1, 1, 1, 2, 3)) + random.choice((b"", b"", b"\0", bytes(5)))
    talk.span = ""
    talk.send(call(talk.stream(), headers, sent[: random.choice((None, None, None, 3, 5, 40))]))
    talk.answers += 1


def _bomb(random: Random) -> bytes:
    zeros = bytes(random.choice((10**6, 3 * 10**6, 3 * 10**7)))
    return random.choice((gzipped, zlib.compress))(zeros)


def _odd_data(talk: Talk) -> None:
    """A message in odd DATA frames: empty ones, padded ones, single bytes, without an end, after the end."""
    random, stream = talk.random, talk.stream()
    sent = http2.message(talk.body())
    talk.span = ""
    talk.send(frame(Kind.HEADERS, END_HEADERS, stream, http2.block(http2.request_headers())))
    talk.send(frame(Kind.DATA, 0, stream), random.choice((0, 1, 300, 3000)))
    pad = random.choice((0, 1, 200, 255))
    talk.send(frame(Kind.DATA, PADDED, stream, bytes([pad]) + sent[:20] + bytes(random.choice((pad, 0)))))
    for byte in sent[20 : 20 + random.choice((0, 5, 100))]:
        talk.send(frame(Kind.DATA, 0, stream, bytes([byte])))
    talk.send(frame(Kind.DATA, random.choice((0, END_STREAM)), random.choice((stream, stream, stream, 0, 2, 99)), sent[20:]))
    talk.send(frame(Kind.DATA, 0, stream, b"late") * random.choice((0, 0, 1, 50)))
    talk.answers += 1


_BLOCKS = (
    *(b"\x80", b"\xbe", b"\xff\x80\x80\x80\x80\x0f", b"\xff" * 12, b"\x7f\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
    *(b"\x3f\xe1\x1f", b"\x20", b"\x3f\xff\xff\xff\xff\x0f", b"\x20" * 2000, b"\x3f\xe1\xff\x03", b"\x20\x3f\xe1\x1f\x20"),
    *(b"\x40\x81\xff\x01a", b"\x40\x84\xff\xff\xff\xff\x00", b"\x00\x7f\xff\xff\xff\x7f", b"\x00\x05abc", b"\x00\x00\x00"),
    *(
        b"\x10\x00\x01x",
        b"\x40\x00\x00",
        b"\x00\x01a\x81\x00",
        b"\x00\x01a\x82\xff\xfe",
        b"\x40\x0a" + b"k" * 10 + b"\x7f\x80\x10",
    ),
    *(
        b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
        b"\xbe" * 4000,
        b"\x44\x02/\xbe",
        b"\x04\x81\xfe",
    ),
)
"""HPACK: indices that are none, sizes of the table, Huffman codes that end wrongly, lengths beyond the block."""


def _odd_block(talk: Talk) -> None:
    """A header block that HPACK does not know, or a sound one with changed bytes."""
    random, stream = talk.random, talk.stream()
    sound = http2.block(http2.request_headers())
    odd = random.choice(_BLOCKS)
    sent = random.choice((odd, odd + sound, sound + odd, mutate_bytes(sound, random), mutate_bytes(sound, random)))[:60_000]
    pieces = [sent[at : at + 16000] for at in range(0, len(sent), 16000)] or [b""]
    kinds = [Kind.HEADERS, *[Kind.CONTINUATION] * (len(pieces) - 1)]
    for kind, piece in zip(kinds, pieces, strict=True):
        talk.send(frame(kind, END_HEADERS * (piece is pieces[-1]), stream, piece))
    talk.send(frame(Kind.DATA, END_STREAM, stream, http2.message(talk.body())))
    talk.span = ""
    talk.answers += 1


SCENES: tuple[Scene, ...] = (*[_odd_headers] * 4, *[_odd_message] * 2, _odd_data, *[_odd_block] * 2)
