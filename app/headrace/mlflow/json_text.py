"""Texts that are JSON, parsed once: an LLM span's messages are asked for by many of MLflow's functions. No I/O."""

import json
from functools import lru_cache
from json.encoder import encode_basestring as quote
from typing import Any

_SHORT = 64
_SCALAR = frozenset('"-0123456789tfn')
"""What the JSON of a text, a number, a truth value or null begins with: values that nobody can change."""


class JsonText(str):
    """A text, what it says as JSON, and its own JSON. Nobody changes what it says: it is shared.

    It keeps what it says for as long as it lives: what outlives its span's translation gets the `plain` text.
    """

    __slots__ = ("quoted", "value")

    value: Any
    quoted: str

    @classmethod
    def of(cls, text: str, value: Any, quoted: str | None = None) -> "JsonText":
        """`value` is what `text` says; `quoted` its JSON, if it is known."""
        made = cls(text)
        made.value = value
        made.quoted = quote(text) if quoted is None else quoted
        return made


def plain(value: Any) -> Any:
    """A `JsonText` as a plain text; anything else as it is."""
    return str(value) if type(value) is JsonText else value


def loads(text: Any) -> Any:
    """`json.loads`. What it returns is to be read only: others have it, too. Raises whatever `json.loads` raises."""
    if type(text) is JsonText:
        return text.value
    if type(text) is str and len(text) <= _SHORT and text[:1] in _SCALAR:
        return _short(text)
    return json.loads(text)


@lru_cache(maxsize=4096)
def _short(text: str) -> Any:
    """The same names of models, roles and kinds come with every request."""
    return json.loads(text)
