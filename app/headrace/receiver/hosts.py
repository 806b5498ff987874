"""The names under which Headrace answers when it listens on a loopback address.

Suppose that the address of `evil.example` becomes 127.0.0.1 after a browser has loaded a page from there ("DNS rebinding"). The
browser then takes the page and Headrace for the same origin, and the page may send and read whatever it likes. But the header
`Host` still says `evil.example`.
"""

import re
from functools import lru_cache

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from headrace.config import Config
from headrace.config.listen import is_loopback
from headrace.errors import PermissionDenied
from headrace.receiver.http import answer_encoding, failure
from headrace.receiver.who import Who

_ANY = "*"
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^:@,/\[\]\s]+))(?::[0-9]*)?")
"""An IPv6 address in brackets, or a name or an IPv4 address; and a port (RFC 9110, section 7.2)."""


class CheckedHosts:
    """An ASGI application that answers 403 to requests for other names, and hands all others on. gRPC needs no such check: no
    page can speak it."""

    def __init__(self, app: ASGIApp, config: Config) -> None:
        self._app = app
        self._names = frozenset(config.allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request. A request without a Host does not come from a browser."""
        if scope["type"] == "http" and (others := self._others(scope)):
            error = PermissionDenied(
                f"This Headrace is not called {others[0][:200]!r}. It listens on this machine only: send to localhost, or set "
                "HEADRACE_ALLOWED_HOSTS to the name that a proxy in front of it is called by."
            )
            headers = Headers(scope=scope)
            answer = failure(error, answer_encoding(scope["method"], headers), who=Who.of_scope(scope, headers))
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _others(self, scope: Scope) -> list[str]:
        """The names in Host headers that are not ours. HTTP allows only one such header; if there are more, all are checked."""
        named = [_name(value) for key, value in scope["headers"] if key == b"host"]
        return [host for host in named if host not in self._names and not _is_loopback(host)]


def with_checked_hosts(app: ASGIApp, config: Config, host: str | None = None) -> ASGIApp:
    """The application, which answers to certain names only if it listens on loopback, or if HEADRACE_ALLOWED_HOSTS is set.

    `host`: the address that it listens on; HEADRACE_HOST unless given.
    """
    on_loopback = config.on_loopback if host is None else is_loopback(host)
    wanted = _ANY not in config.allowed_hosts and (on_loopback or bool(config.allowed_hosts))
    return CheckedHosts(app, config) if wanted else app


def _name(value: bytes) -> str:
    """What a header Host names, in lower case and without the port."""
    host = value.decode("latin-1").strip().lower()
    found = _HOST.fullmatch(host)
    return (found[1] or found[2]).removesuffix(".") if found else host


@lru_cache(maxsize=32)
def _is_loopback(host: str) -> bool:
    """Whether browsers take this name for their own machine without asking a name server."""
    return host.endswith(".localhost") or is_loopback(host)
