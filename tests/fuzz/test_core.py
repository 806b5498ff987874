"""The pure core under mutated bodies: the ordinary run's share of `make fuzz`."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import HeadraceError
from app.otlp.codec import encoding_of
from app.otlp.compression import inflate
from fuzz.bodies import TARGETS
from fuzz.core import run

COUNTS = {"protobuf": 10_000, "json": 10_000, "gzip": 3000, "deflate": 3000, "zstd": 3000, "stacked": 3000}
MAX_GROWTH_MIB = 256


def memory_mib(field: str) -> int:
    """`VmRSS`, or `VmHWM`, its peak, of this process."""
    return int(Path("/proc/self/status").read_text().split(f"{field}:")[1].split()[0]) // 1024


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_bodies(name: str) -> None:
    measured = Path("/proc/self/clear_refs").exists()
    if measured:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = memory_mib("VmRSS")
    started = time.monotonic()
    tally = run(TARGETS[name], COUNTS[name], "1", longest=600)
    print(f"{name}: {tally} in {time.monotonic() - started:.1f} s; {dict(tally.permanent)}")
    assert tally.outcomes.total() == COUNTS[name]
    assert tally.outcomes["accepted"] > COUNTS[name] / 10  # the mutations are not too coarse
    assert tally.outcomes["dead-lettered"] <= COUNTS[name] / 1000
    if measured:
        assert memory_mib("VmHWM") - before < MAX_GROWTH_MIB


@given(
    content_type=st.text(),
    content_encoding=st.text() | st.lists(st.sampled_from(["gzip", "zstd", " ", "DEFLATE", "x"])).map(",".join),
)
@settings(max_examples=500, derandomize=True, deadline=None, database=None)
def test_any_headers(content_type: str, content_encoding: str) -> None:
    for ask in (lambda: encoding_of(content_type), lambda: inflate(b"\x1f\x8b", content_encoding, 100)):
        try:
            ask()
        except HeadraceError as error:
            assert error.http_status in (400, 415)  # noqa: PT017 - either is right: an answer, or this refusal
