"""By which names Headrace lets itself be called where it listens on a loopback address.

A page of `evil.example` whose address becomes 127.0.0.1 once it is loaded ("DNS rebinding") is of one origin with Headrace for
the browser: it may send and read whatever it likes, from within the machine. The header `Host` still says `evil.example`.
"""

import re

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
        """Answers one request. One without a Host is no browser's."""
        if scope["type"] == "http" and not self._is_called_so(hosts := _hosts(scope)):
            error = PermissionDenied(
                f"This Headrace is not called {hosts[0][:200]!r}. It listens on this machine only: send to localhost, or set "
                "HEADRACE_ALLOWED_HOSTS to the name that a proxy in front of it is called by."
            )
            headers = Headers(scope=scope)
            answer = failure(error, answer_encoding(scope["method"], headers), who=Who.of_scope(scope, headers))
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_called_so(self, hosts: list[str]) -> bool:
        return all(host in self._names or _is_loopback(host) for host in hosts)


def with_checked_hosts(app: ASGIApp, config: Config) -> ASGIApp:
    """The application, which answers to certain names only if it listens on loopback, or if HEADRACE_ALLOWED_HOSTS is set."""
    wanted = _ANY not in config.allowed_hosts and (config.on_loopback or bool(config.allowed_hosts))
    return CheckedHosts(app, config) if wanted else app


def _hosts(scope: Scope) -> list[str]:
    """What the request calls us, in lower case and without the port. HTTP allows one Host; all are looked at."""
    return [_without_port(value.decode("latin-1").strip().lower()) for name, value in scope["headers"] if name == b"host"]


def _without_port(host: str) -> str:
    found = _HOST.fullmatch(host)
    return (found[1] or found[2]).removesuffix(".") if found else host


def _is_loopback(host: str) -> bool:
    """Whether a browser itself, and no name server, says that this is the machine that it runs on."""
    return host.endswith(".localhost") or is_loopback(host)
