"""OTLP's specification, line by line, as tests against running servers; docs/conformance.md is written from it."""

import pytest

for module in ("cases", "connections", "exchanges", "procedures", "stand", "wire"):
    pytest.register_assert_rewrite(f"{__name__}.{module}")
