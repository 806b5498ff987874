"""What is shown of an error's body: one line, bounded, whoever sent it."""

import pytest
from google.rpc.status_pb2 import Status

from headrace.otlp.error_words import error_words


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (Status(code=3, message="The body is no protobuf.").SerializeToString(), "The body is no protobuf."),
        (Status(code=3, message="two\nlines\x1b[31m").SerializeToString(), "two lines[31m"),
        (b"<html>\r\n  <b>Bad gateway</b>\r\n", "<html> <b>Bad gateway</b>"),
        (b"\xff\xfe not UTF-8", "\ufffd\ufffd not UTF-8"),
        (b"", ""),
    ],
)
def test_a_status_or_another_server_s_text_is_one_line(body: bytes, words: str) -> None:
    assert error_words(body) == words


def test_it_is_bounded() -> None:
    assert error_words(b"x" * 10_000) == "x" * 300
    assert error_words(Status(message="x" * 10_000).SerializeToString()) == "x" * 300
