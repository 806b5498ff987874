"""What the body of an OTLP error says, as a line to show to people. No I/O."""

from contextlib import suppress

from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status

_MOST = 300
"""Characters of it that are shown."""


def error_words(body: bytes) -> str:
    """The words of a google.rpc.Status, as OTLP has it; of any other body, another server's for instance, the beginning of its
    text. One line, without what cannot be printed: who sent it may be anybody."""
    text = body.decode(errors="replace")
    with suppress(DecodeError):
        text = str(Status.FromString(body).message) or text
    return "".join(char for char in " ".join(text.split()) if char.isprintable())[:_MOST]
