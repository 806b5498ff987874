"""The kinds of values that settings of several concerns have."""

import json
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

MIB = 1024 * 1024

_Value = TypeVar("_Value")


def _empty_is_none(value: _Value) -> _Value | None:
    """As compose files and shells have it: `HEADRACE_API_KEYS=`. A path of no letters would be the working directory."""
    return None if value == "" else value


def _parse_json(value: object) -> object:
    """Parses a text here rather than in pydantic-settings, whose error would not name the variable."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value.strip() else ()
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON: {error}") from None


def _absolute(value: Path | None) -> Path | None:
    return value and value.expanduser().absolute()


Port = Annotated[int, Field(ge=0, le=65535)]
"""A TCP port. 0: one that is free."""
Text = Annotated[str | None, BeforeValidator(_empty_is_none)]
"""A text. Unset and empty are the same."""
Secret = Annotated[SecretStr | None, BeforeValidator(_empty_is_none)]
"""A text that no message repeats. Unset and empty are the same."""
Rules = Annotated[tuple[_Value, ...], NoDecode, BeforeValidator(_parse_json)]
"""A JSON list of rules. Unset and empty are the same."""
File = Annotated[Path | None, BeforeValidator(_empty_is_none), AfterValidator(_absolute)]
"""The absolute path of a file. Unset and empty are the same."""
Directory = Annotated[Path, AfterValidator(Path.expanduser), AfterValidator(Path.absolute)]
"""The absolute path of a directory."""


def otlp_url(value: str | None, path: str, headers: str) -> str | None:
    """An OTLP/HTTP URL, with OTLP's `path` where it has none. `headers`: the setting for what is secret.

    Raises:
        ValueError: it is no such URL, or holds a password.
    """
    if value is None:
        return None
    try:
        url = urlsplit(value)
        good = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:  # it would repeat the text
        good = False
    if not good:
        raise ValueError(f"must be an OTLP/HTTP URL such as `http://collector:4318{path}`") from None
    if "@" in url.netloc:
        raise ValueError(f"must not hold a password: set {headers} instead")
    return value if url.path.strip("/") else url._replace(path=path).geturl()
