"""Which web pages may send: those of HEADRACE_CORS_ORIGINS. No I/O.

A request with an `Origin` comes from a page. A browser asks first before a page sends JSON or protobuf to another origin, but
not before it sends text, and not where the page's name leads to this very address (`hosts.py`). So Headrace always looks at it.
"""

import re
from collections.abc import Mapping

from headrace.config import Config
from headrace.errors import PermissionDenied


def origin_pattern(config: Config) -> str:
    """HEADRACE_CORS_ORIGINS → a regular expression that an `Origin` header must match in full. `(?!)`, which matches nothing,
    if unset."""
    return (
        "|".join(re.escape(origin).replace(r"\*", "[^/]*" if origin != "*" else ".*") for origin in config.cors_origins)
        or "(?!)"
    )


class Origins:
    """The origins whose pages may send."""

    def __init__(self, config: Config) -> None:
        self._pattern = re.compile(origin_pattern(config))

    def check(self, headers: Mapping[str, str]) -> None:
        """Looks at a request's headers, with lower-case names. A request without an `Origin` is no page's.

        Raises:
            PermissionDenied: a page of another origin sends it.
        """
        origin = headers.get("origin")
        if origin is not None and not self._pattern.fullmatch(origin):
            raise PermissionDenied(f"Pages of {origin[:200]} may not send spans: see HEADRACE_CORS_ORIGINS.")
