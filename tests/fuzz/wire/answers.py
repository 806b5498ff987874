"""What a server sent on one connection → the statuses in it. Enough of HTTP/1.1 and HTTP/2 for answers, and lenient."""

import re
from dataclasses import dataclass, field

from fuzz.wire.http2 import END_HEADERS, END_STREAM, PADDED, PRIORITIZED, Kind

_STATUS_LINE = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
_STATIC = (
    *(
        ":authority",
        ":method GET",
        ":method POST",
        ":path /",
        ":path /index.html",
        ":scheme http",
        ":scheme https",
        ":status 200",
    ),
    *(
        ":status 204",
        ":status 206",
        ":status 304",
        ":status 400",
        ":status 404",
        ":status 500",
        "accept-charset",
        "accept-encoding",
    ),
    *(
        "accept-language",
        "accept-ranges",
        "accept",
        "access-control-allow-origin",
        "age",
        "allow",
        "authorization",
        "cache-control",
    ),
    *("content-disposition", "content-encoding", "content-language", "content-length", "content-location", "content-range"),
    *("content-type", "cookie", "date", "etag", "expect", "expires", "from", "host", "if-match", "if-modified-since"),
    *("if-none-match", "if-range", "if-unmodified-since", "last-modified", "link", "location", "max-forwards"),
    *("proxy-authenticate", "proxy-authorization", "range", "referer", "refresh", "retry-after", "server", "set-cookie"),
    *("strict-transport-security", "transfer-encoding", "user-agent", "vary", "via", "www-authenticate"),
)
"""HPACK's static table, from 1."""


@dataclass
class Answer:
    """`status`: HTTP's, or gRPC's where there is one. `text`: the body, or `grpc-message`; `full`: a success without a but."""

    status: str
    text: str = ""
    full: bool = False


@dataclass
class Answers:
    """Of one connection. `done`: how many are complete; `others`: resets, GOAWAYs, trailing bytes."""

    found: list[Answer] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    over: bool = False
    """The server has said that it will not answer any more."""

    @property
    def done(self) -> int:
        """Requests of which nothing more will come."""
        return len(self.found) + sum(other.startswith("RST") for other in self.others)


def of_http1(data: bytes) -> Answers:
    """The answers in the bytes of an HTTP/1.1 connection; one that is cut short is left out."""
    answers, at = Answers(), 0
    while match := _STATUS_LINE.match(data, at):
        end = data.find(b"\r\n\r\n", at)
        if end < 0:
            return answers
        length = _LENGTH.search(data, at, end + 2)
        at = end + 4
        if match[1] == b"100":
            continue
        body = data[at : at + (int(length[1]) if length else 0)]
        if not body.startswith(b"HTTP/1.1 "):  # else it answers a HEAD, without its body
            at += len(body)
        answers.found.append(Answer(match[1].decode(), body.decode(errors="replace"), match[1] == b"200" and not body))
    if data[at:]:
        answers.others.append(f"no HTTP: {data[at : at + 12]!r}")
    return answers


def of_http2(data: bytes) -> Answers:
    """The answers in the bytes of an HTTP/2 connection."""
    answers, at, table, blocks = Answers(), 0, _Table(), b""
    messages: dict[int, bytes] = {}
    while len(data) >= at + 9:
        length, kind, flags = int.from_bytes(data[at : at + 3], "big"), data[at + 3], data[at + 4]
        stream = int.from_bytes(data[at + 5 : at + 9], "big")
        payload, at = data[at + 9 : at + 9 + length], at + 9 + length
        if kind in (Kind.HEADERS, Kind.CONTINUATION):
            blocks += _unpadded(payload, flags) if kind == Kind.HEADERS else payload
            if flags & END_HEADERS:
                _add(answers, table.read(blocks), messages.get(stream, b""))
                blocks = b""
        elif kind == Kind.DATA:
            messages[stream] = messages.get(stream, b"") + payload
            if flags & END_STREAM:
                answers.others.append("DATA ends the stream")
        elif kind == Kind.RST_STREAM:
            answers.others.append(f"RST {int.from_bytes(payload, 'big')}")
        elif kind == Kind.GOAWAY:
            answers.others.append(f"GOAWAY {int.from_bytes(payload[4:8], 'big')}")
            answers.over = True
    return answers


def _unpadded(payload: bytes, flags: int) -> bytes:
    pad = payload[0] if flags & PADDED and payload else 0
    start = bool(flags & PADDED) + 5 * bool(flags & PRIORITIZED)
    return payload[start : len(payload) - pad]


def _add(answers: Answers, headers: dict[str, str], message: bytes) -> None:
    """Trailers are an answer; so are headers with an HTTP status that is not 200."""
    if "grpc-status" in headers:
        text = headers.get("grpc-message", "")
        answers.found.append(
            Answer(f"grpc {headers['grpc-status']}", text, headers["grpc-status"] == "0" and message == bytes(5))
        )
    elif headers.get(":status", "200") != "200":
        answers.found.append(Answer(headers[":status"]))


class _Table:
    """HPACK's dynamic table, as the decoder has it; it never shrinks, as no answer is long enough for that to matter."""

    def __init__(self) -> None:
        self._entries: list[str] = []

    def read(self, block: bytes) -> dict[str, str]:
        """A header block → its fields. What is Huffman-coded stays as it is."""
        found: dict[str, str] = {}
        at = 0
        while at < len(block):
            first = block[at]
            if first & 0xE0 == 0x20:
                _, at = _integer(block, at, 5)
                continue
            bits = 7 if first & 0x80 else 6 if first & 0x40 else 4
            index, at = _integer(block, at, bits)
            name, at = (self._entry(index), at) if index else _string(block, at)
            if not first & 0x80:
                value, at = _string(block, at)
                name = f"{name.partition(' ')[0]} {value}"
                if first & 0x40:
                    self._entries.insert(0, name)
            key, _, value = name.partition(" ")
            found[key] = value
        return found

    def _entry(self, index: int) -> str:
        entries = (*_STATIC, *self._entries)
        return entries[index - 1] if index <= len(entries) else "unknown"


def _integer(data: bytes, at: int, bits: int) -> tuple[int, int]:
    value, shift = data[at] & (1 << bits) - 1, 0
    at += 1
    if value == (1 << bits) - 1:
        while at < len(data):
            value += (data[at] & 127) << shift
            shift += 7
            at += 1
            if not data[at - 1] & 128:
                break
    return value, at


def _string(data: bytes, at: int) -> tuple[str, int]:
    if at >= len(data):
        return "", at
    coded = data[at] & 128
    length, at = _integer(data, at, 7)
    raw = data[at : at + length]
    return f"huffman:{raw.hex()}" if coded else raw.decode(errors="replace"), at + length
