"""Which paths take OTLP, and what is answered at all others."""

from collections.abc import Iterator, Mapping
from functools import partial

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from headrace.config import Config
from headrace.errors import HeadraceError, MethodNotAllowed, NoSuchPath
from headrace.otlp.signals import SIGNALS, TRACES, Signal
from headrace.receiver.http import SignalEndpoint, answer_encoding, failure
from headrace.receiver.intake import Intake
from headrace.receiver.welcome import is_browser, welcome
from headrace.receiver.who import Who

TRACES_PATH = "/v1/traces"
_BASES = ("", "/v1", "/otel", "/otlp", "/{before:path}/otel", "/{before:path}/otlp")
"""What people give as the traces' endpoint when its path is missing: nothing, or another product's path."""

Endpoints = Mapping[Signal, SignalEndpoint]


class OtlpFirst:
    """An ASGI application: a POST to OTLP's own paths goes straight to its endpoint, all else to `app`.

    For a small request FastAPI and its middleware take a third of the time that the endpoint itself takes.
    """

    def __init__(self, app: ASGIApp, config: Config, endpoints: Endpoints) -> None:
        self._app = app
        bases = dict.fromkeys(("", config.path_prefix))
        self._endpoints = {f"{base}/v1/{signal.name}": endpoint for base in bases for signal, endpoint in endpoints.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        direct = self._endpoints.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        await (direct or self._app)(scope, receive, send)


def endpoints(intake: Intake) -> Endpoints:
    """The application behind each signal's path."""
    return {signal: SignalEndpoint(signal, intake) for signal in SIGNALS}


def routes(config: Config, endpoints: Endpoints) -> Iterator[Route]:
    """The routes of the three signals, and of common mistakes in their paths.

    Whatever ends in `/v1/traces` is taken: `//v1/traces`, other products' paths (`/api/public/otel/v1/traces`), and the path
    twice, which an SDK makes if `OTEL_EXPORTER_OTLP_ENDPOINT` ends in it. SDKs add no path to
    `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, so traces are also taken where only the path before `/v1/traces` was given.
    """
    for signal, endpoint in endpoints.items():  # the right ones first: each request passes the routes in this order
        yield Route(f"/v1/{signal.name}", endpoint, methods=["POST"], include_in_schema=False)
    for signal, endpoint in endpoints.items():
        yield Route(f"/v1/{signal.name}/", endpoint, methods=["POST"], include_in_schema=False)
        for end in ("", "/"):
            yield Route(f"/{{before:path}}/v1/{signal.name}{end}", endpoint, methods=["POST"], include_in_schema=False)
    for base in dict.fromkeys((*_BASES, config.path_prefix)):
        for end in dict.fromkeys((base or "/", f"{base}/")):
            yield OnlyRoute(end, endpoints[TRACES], methods=["POST"], include_in_schema=False)
    yield OnlyRoute("/", partial(_root, config), methods=["GET"], include_in_schema=False)


async def _root(config: Config, request: Request) -> Response:
    """`GET /`: a page for browsers, and nothing for everybody else."""
    return welcome(request, config) if is_browser(request) else await not_found_or_not_allowed(request, HTTPException(404))


class OnlyRoute(Route):
    """A route for its methods alone. With another method there is nothing at its path: 404, not 405."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """See starlette's `Route`."""
        match, found = super().matches(scope)
        return (match, found) if match is Match.FULL else (Match.NONE, {})


async def not_found_or_not_allowed(request: Request, error: Exception) -> Response:
    """The exception handler for 404 and 405 outside of `SignalEndpoint`."""
    if not isinstance(error, HTTPException):
        raise error
    path = request.url.path[:200]
    named: HeadraceError
    if error.status_code == 404:
        named = NoSuchPath(
            f"Nothing is at {path!r}. OTLP traces are sent with POST {TRACES_PATH}; see also /healthz, /readyz, /metrics."
        )
    else:
        named = MethodNotAllowed(f"{request.method} is not allowed at {path!r}: OTLP traces are sent with POST {TRACES_PATH}.")
    who = Who.of_scope(request.scope, request.headers)
    answer = failure(named, answer_encoding(request.method, request.headers), who=who)
    answer.headers.update(error.headers or {})
    return answer


async def unexpected(request: Request, error: Exception) -> Response:
    """The exception handler for all other errors outside of `SignalEndpoint`."""
    return failure(error, answer_encoding(request.method, request.headers))
