"""AnyValue → Python, exactly."""

import math
from typing import Any

import pytest

import otlp
from headrace.otlp.attributes import to_dict, to_python, to_text


@pytest.mark.parametrize(
    "value",
    [None, "", "ü\u0000", True, False, 0, 2**63 - 1, -(2**63), 1.5, -0.0, math.inf, b"\x00\xff", [], {}, [1, "a", [2.5, None]],
     {"a": {"b": [True, b"x"]}}],
)  # fmt: skip
def test_values_are_exact(value: Any) -> None:
    result = to_python(otlp.value(value))
    assert result == value
    assert type(result) is type(value)


def test_of_a_key_that_comes_twice_the_last_stands() -> None:
    assert to_dict([*otlp.attributes({"k": 1}), *otlp.attributes({"k": 2})]) == {"k": 2}


@pytest.mark.parametrize(("value", "text"), [("a", "a"), (True, "true"), (3, "3"), (None, ""), (1.5, "1.5")])
def test_text_is_what_a_person_would_write(value: Any, text: str) -> None:
    assert to_text(value) == text
