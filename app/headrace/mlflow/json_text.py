"""Texts that are JSON, parsed once: an LLM span's messages are asked for by many of MLflow's functions. No I/O.

And written fast: `json` looks at each character of a long text (a chat, an image in base64) several times.
"""

import json
from collections.abc import Callable
from functools import lru_cache
from json import encoder
from json.encoder import encode_basestring
from typing import Any

_SHORT = 64
LONG = 512
"""Characters from which on it pays to search a text for what has to be escaped."""
_ESCAPED = (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"))
_RARE = tuple(chr(code) for code in range(32) if chr(code) not in "\n\r\t")
"""Other characters that JSON escapes."""
quote_short = encode_basestring
"""The JSON of a text that is shorter than `LONG`."""
_SCALAR = frozenset('"-0123456789tfn')
"""What the JSON of a text, a number, a truth value or null begins with: values that nobody can change."""


def quote(text: str) -> str:
    """The JSON of a text: `json.dumps(text, ensure_ascii=False)`, and of a long one in a fraction of its time."""
    if len(text) < LONG:
        return quote_short(text)
    for character in _RARE:
        if character in text:
            return quote_short(text)
    for character, escaped in _ESCAPED:
        if character in text:
            text = text.replace(character, escaped)
    return f'"{text}"'


def quote_json(text: str) -> str:
    """The JSON of a text that `dumps` or `dumps_long` has made: whatever else is to be escaped, they have escaped."""
    if len(text) < LONG:
        return quote_short(text)
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _dumps(quote: Callable[[str], str]) -> Callable[[Any], str]:
    """`json.dumps` with `ensure_ascii=False`, whose texts `quote` writes."""
    if (make := getattr(encoder, "c_make_encoder", None)) is None:  # an interpreter without json's C code
        return json.JSONEncoder(default=str, ensure_ascii=False).encode
    # As `JSONEncoder.iterencode` makes one for each value, but without its look for a value inside itself.
    chunks = make(None, str, quote, None, ": ", ", ", False, False, True)
    return lambda value: "".join(chunks(value, 0))


dumps = _dumps(quote_short)
"""As MLflow's `json.dumps`: `ensure_ascii=False`; bytes become the text of their Python literal. Made once."""
dumps_long = _dumps(quote)
"""The same, for a value of few and long texts: a chat."""


class JsonText(str):
    """A text, what it says as JSON, and its own JSON. Nobody changes what it says: it is shared.

    It keeps what it says for as long as it lives: what outlives its span's translation gets the `plain` text.
    """

    __slots__ = ("quoted", "value")

    value: Any
    quoted: str

    @classmethod
    def of(cls, text: str, value: Any, quoted: str | None = None) -> "JsonText":
        """`value` is what `text`, which `dumps` or `dumps_long` has made, says. `quoted`: the JSON of any other text."""
        made = cls(text)
        made.value = value
        made.quoted = quote_json(text) if quoted is None else quoted
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
