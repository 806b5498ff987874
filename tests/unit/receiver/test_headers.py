"""The headers of a request as texts."""

import pytest

from headrace.receiver.headers import headers_of


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_value_beyond_ascii_is_read_in_either_encoding(encoding: str) -> None:
    assert headers_of([(b"x-mlflow-experiment-name", "caf\u00e9 r\u00e9sum\u00e9".encode(encoding))]) == {
        "x-mlflow-experiment-name": "caf\u00e9 r\u00e9sum\u00e9"
    }


def test_bytes_of_no_encoding_harm_nobody() -> None:
    assert headers_of([(b"a", b"\xff\xfe"), (b"\xff", b"b")]) == {"a": "\u00ff\u00fe", "\u00ff": "b"}


def test_the_values_of_one_that_comes_twice_are_joined() -> None:
    assert headers_of([(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]) == {"a": "1, 3", "b": "2"}
