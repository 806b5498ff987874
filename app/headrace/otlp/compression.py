"""Undoes Content-Encoding: identity, gzip, deflate, zstd, and up to three of them in a row. A limit stops bombs. No I/O.

Sources: RFC 9110, section 8.4 (names are case-insensitive; the last name was applied last); RFC 1952 (gzip); RFC 1950 and 1951
(deflate: clients send it both with and without the zlib wrapper,
and the Collector also as `zlib`); RFC 9659 (zstd: windows of 8 MiB at most).
"""

import io
import zlib
from collections.abc import Callable
from typing import Protocol

from headrace.errors import BodyTooLarge, MalformedBody, UnsupportedMediaType
from headrace.otlp.weight import Charge, nothing
from headrace.otlp.zstd import zstd

SUPPORTED = "gzip, deflate, zstd"
"""The `Accept-Encoding` of the answer to any other encoding (RFC 9110, section 15.5.16)."""

_MAX_STACKED = 3
_ZSTD_WINDOW_LOG = 23
_MAX_MEMBERS = 10_000
_PART_BYTES = {"zstd": 128}
"""A body is inflated in parts of so many bytes, for two reasons. When a member ends, the rest of its part is copied; if the
whole body were one part, many tiny members would take time in the square of its length. And a part is inflated before the
result can be counted: at most 1 MiB for 1024 bytes of zlib, 4 MiB for 128 bytes of zstd."""
_PART_BYTES_OTHERS = 1024
_STATE_BYTES = {"zstd": 1 << _ZSTD_WINDOW_LOG}
"""Memory of a decompressor: zstd's window. zlib's 40 KiB are not counted."""


class _Decompressor(Protocol):
    """The interface that zlib and zstd have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def inflate(body: bytes, content_encoding: str, limit: int, charge: Charge = nothing) -> bytes:
    """A body and its Content-Encoding header → the inflated body.

    `limit` is the most bytes of the result, and of the result of each step. `charge` is called with the bytes of memory as the
    result grows.

    Raises:
        UnsupportedMediaType: an encoding is not supported, or there are more than three.
        MalformedBody: the body does not have the form of its encoding, or ends too early.
        BodyTooLarge: the result of a step is over `limit`.
        InFlightFull: `charge` raised it.
    """
    before = 0  # bytes of the previous step's result, which is dropped after the next step
    for name in reversed(_names(content_encoding)):
        start = _starter(name)
        try:
            charge(_STATE_BYTES.get(name, 0))
            body = _inflate_all(body, start, limit, charge, _PART_BYTES.get(name, _PART_BYTES_OTHERS))
            charge(-before - _STATE_BYTES.get(name, 0))
            before = len(body)
        except (zlib.error, zstd.ZstdError) as error:
            raise MalformedBody(f"The body is not valid {name}: {error}.") from None
        except EOFError:
            raise MalformedBody(f"The {name} body ends too early.") from None
    return body


def _names(content_encoding: str) -> list[str]:
    """The encodings of a header, in the order in which they were applied."""
    names = [name for part in content_encoding.split(",") if (name := part.strip().lower()) not in ("", "identity")]
    if len(names) > _MAX_STACKED:
        raise UnsupportedMediaType(f"Content-Encoding has {len(names)} layers: send one of {SUPPORTED}, or identity.")
    return names


def _starter(name: str) -> Callable[[bytes], _Decompressor]:
    """What starts a decompressor of this encoding."""
    start = _DECOMPRESSORS.get(name)
    if start is None:
        raise UnsupportedMediaType(f"Content-Encoding {name[:80]!r} is not supported: send {SUPPORTED}, or identity.")
    return start


def _inflate_all(body: bytes, start: Callable[[bytes], _Decompressor], limit: int, charge: Charge, part_bytes: int) -> bytes:
    """Inflates all members of a gzip body (RFC 1952, section 2.2), or all frames of a zstd body (RFC 8878, section 3)."""
    inflated = io.BytesIO()  # getvalue() does not copy
    position = members = size = 0
    while position < len(body):
        if (members := members + 1) > _MAX_MEMBERS:
            raise MalformedBody(f"The body has over {_MAX_MEMBERS} compressed members: compress it as one.")
        member = start(body[position : position + 2])
        while not member.eof:
            if not (part := body[position : position + part_bytes]):
                raise EOFError
            found = member.decompress(part, limit + 1 - size)
            size += len(found)
            charge(len(found))
            if size > limit:
                raise BodyTooLarge(
                    f"The inflated body is over {limit} bytes: send smaller batches, or raise HEADRACE_MAX_BODY_BYTES."
                )
            inflated.write(found)
            position += len(part) - len(member.unused_data)
    return inflated.getvalue()


def _gzip(_: bytes) -> _Decompressor:
    return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)


def _deflate(body: bytes) -> _Decompressor:
    """If the body begins with zlib's header, it has the wrapper that RFC 9110 demands. Else it is raw deflate."""
    wrapped = len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    return zlib.decompressobj(wbits=zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)


def _zstd(_: bytes) -> _Decompressor:
    decompressor: _Decompressor = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG})
    return decompressor


_DECOMPRESSORS: dict[str, Callable[[bytes], _Decompressor]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "zlib": _deflate,
    "zstd": _zstd,
}
