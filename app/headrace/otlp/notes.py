"""What had to be done to a body so that it could be read. No I/O."""

from collections import Counter
from dataclasses import dataclass, field

_MAX_WORDS = 200
"""Characters of an explanation that are kept."""


@dataclass(slots=True)
class Notes:
    """What the decoder notes while it reads one body."""

    repaired: Counter[str] = field(default_factory=Counter)
    """Rule of `headrace.processor.verdict.REPAIRS` → how often it was used. If it is not empty, the request does not say just
    what the body said."""
    unread: int = 0
    """How many spans stand in fields that OTLP does not have. They are not in the request."""
    where: str = ""
    """The first such field: its path in JSON, or its number in protobuf."""
    why: str = ""
    """Why the first span that was left out cannot be parsed."""

    def forget(self) -> None:
        """Clears all notes: the body will be read once more."""
        self.repaired.clear()
        self.unread, self.where, self.why = 0, "", ""

    def left_out(self, error: object) -> None:
        """Remembers why a span is left out, if it is the first."""
        self.why = self.why or first_line(error)

    def unknown(self, spans: int, where: str) -> None:
        """Counts spans in a field that OTLP does not have."""
        if spans:
            self.unread += spans
            self.where = self.where or where[:_MAX_WORDS]


def first_line(error: object) -> str:
    """The first line of an error's message, or the name of its type; at most 200 characters."""
    return (str(error).splitlines() or [type(error).__name__])[0][:_MAX_WORDS].rstrip(". ")


def replace_what_is_no_utf8(data: bytes, notes: Notes, encoding: str = "utf-8") -> str:
    """Bytes → a text. What is not valid UTF-8 becomes U+FFFD; each place is counted.

    Source: Unicode 16, section 3.9, "U+FFFD Substitution of Maximal Subparts". Python's decoder does so.
    """
    text = data.decode(encoding, "replace")
    notes.repaired["invalid_bytes_replaced"] += text.count("\ufffd") - data.count(b"\xef\xbf\xbd")
    return text
