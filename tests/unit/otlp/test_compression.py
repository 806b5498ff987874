"""Content-Encoding, and what it costs meanwhile."""

import gzip
import zlib
from collections.abc import Callable

import pytest

from headrace.errors import BodyTooLarge, InFlightFull, MalformedBody, UnsupportedMediaType
from headrace.otlp.compression import inflate
from headrace.otlp.zstd import zstd

MIB = 1024 * 1024
TEXT = b"spans and spans " * 4096


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


WAYS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "X-GZIP": gzip.compress,
    "deflate": zlib.compress,
    "deflate ": raw_deflate,
    "zstd": zstd.compress,
    "identity": bytes,
    "": bytes,
}


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("data", [b"", b"x", TEXT], ids=["nothing", "a byte", "64 KiB"])
def test_what_was_compressed_comes_back(name: str, data: bytes) -> None:
    assert inflate(WAYS[name](data), name, MIB) == data


def test_of_a_stack_the_last_one_named_is_undone_first() -> None:
    assert inflate(zstd.compress(gzip.compress(TEXT)), "gzip, identity, zstd", MIB) == TEXT
    with pytest.raises(MalformedBody, match="zstd"):
        inflate(gzip.compress(zstd.compress(TEXT)), "gzip, zstd", MIB)
    with pytest.raises(UnsupportedMediaType, match="4 layers"):
        inflate(b"", "gzip, gzip, gzip, gzip", MIB)


@pytest.mark.parametrize("name", ["gzip", "deflate", "zstd"])
def test_the_result_is_bounded_to_the_byte(name: str) -> None:
    body = WAYS[name](TEXT)
    assert inflate(body, name, len(TEXT)) == TEXT
    with pytest.raises(BodyTooLarge, match="HEADRACE_MAX_BODY_BYTES"):
        inflate(body, name, len(TEXT) - 1)


@pytest.mark.parametrize("name", ["gzip", "deflate", "zstd"])
@pytest.mark.parametrize("keep", [1, -1])
def test_a_body_that_ends_too_early_is_malformed(name: str, keep: int) -> None:
    with pytest.raises(MalformedBody):
        inflate(WAYS[name](TEXT)[:keep], name, MIB)


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_members_follow_one_another_up_to_a_limit(name: str) -> None:
    assert inflate(WAYS[name](b"one ") + WAYS[name](b"two"), name, MIB) == b"one two"
    with pytest.raises(MalformedBody, match="members"):
        inflate(WAYS[name](b"") * 10_001, name, MIB)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd", "gzip, zstd, deflate"])
def test_the_charge_grows_with_the_result_and_in_the_end_is_the_result(encoding: str) -> None:
    body, charges = TEXT, list[int]()
    for name in encoding.split(", "):
        body = WAYS[name](body)
    assert inflate(body, encoding, MIB, charges.append) == TEXT
    assert sum(charges) == len(TEXT)
    assert max(charges) <= 8 * MIB  # zstd's window


def test_a_refused_charge_stops_at_once() -> None:
    held = 0

    def charge(size: int) -> None:
        nonlocal held
        held += size
        if held > MIB:
            raise InFlightFull("full")

    with pytest.raises(InFlightFull):
        inflate(gzip.compress(bytes(20 * MIB), 1), "gzip", 300 * MIB, charge)
    assert held < 3 * MIB
