"""The pure core under mutated bodies: the ordinary run's share of `make fuzz`."""

import time
from contextlib import suppress
from pathlib import Path

import pytest
from fuzz.bodies import TARGETS
from fuzz.core import memory_mib, run
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import MalformedBody, UnsupportedMediaType
from headrace.otlp.codec import encoding_of
from headrace.otlp.compression import inflate

pytestmark = pytest.mark.slow("errors otlp envelope processor mlflow tests/fuzz")

COUNTS = {"protobuf": 10_000, "json": 10_000, "gzip": 2500, "deflate": 2500, "zstd": 2500, "stacked": 2500}
MAX_GROWTH_MIB = 256


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_bodies(name: str) -> None:
    measured = Path("/proc/self/clear_refs").exists()
    if measured:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = memory_mib("VmRSS")
    started = time.process_time()
    tally = run(TARGETS[name], COUNTS[name], "1", longest=600)
    print(f"{name}: {tally} in {time.process_time() - started:.1f} s; {dict(tally.permanent)}")
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
        with suppress(UnsupportedMediaType, MalformedBody):
            ask()
