"""The web application of the console: its routes, who may see a page, and the headers of each answer."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace import __version__
from headrace.config import Config
from headrace.console.access import Access
from headrace.console.room import Room
from headrace.console.web import pages
from headrace.console.web.asked import Asked
from headrace.console.web.files import FILES, Rendering
from headrace.console.web.pages import Page, Redirect
from headrace.console.web.road import Road
from headrace.console.web.senders import senders
from headrace.console.web.watch import Watch
from headrace.envelope.limit import Limit
from headrace.errors import HeadraceError, NoSuchPath, Unauthenticated
from headrace.reader import TraceReader
from headrace.receiver.exposition import exposition
from headrace.receiver.hosts import with_checked_hosts
from headrace.telemetry.logging import log, log_rarely

Ask = Callable[[Asked], Page | Redirect]
_PAGES: Mapping[str, tuple[str, Ask]] = {
    "/": ("status", pages.status),
    "/traces": ("traces", pages.traces),
    "/traces/{trace_id}": ("traces", pages.trace),
    "/compare": ("compare", pages.comparison),
    "/map": ("map", pages.service_map),
    "/quality": ("quality", pages.quality),
}
_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
_HTML = "text/html; charset=utf-8"


class ConsoleApp:
    """What the console's port serves. `watch` has been started by the caller."""

    def __init__(self, config: Config, reader: TraceReader, access: Access, room: Room, watch: Watch) -> None:
        self._config = config
        self._reader = reader
        self._access = access
        self._room = room
        self._watch = watch
        self._rendering = Rendering(config)

    def asgi(self) -> ASGIApp:
        """The application, with its headers and the check of the Host."""
        app = FastAPI(title="Headrace console", version=__version__, openapi_url=None, docs_url=None, redoc_url=None)
        routes = [Route(path, partial(self._page, name, ask)) for path, (name, ask) in _PAGES.items()]
        routes += [Route("/live", self._live), Route("/healthz", _healthz), Route("/metrics", _metrics)]
        routes += [Route(f"/static/{name}", partial(_file, name)) for name in FILES]
        app.router.routes.extend(routes)
        app.add_exception_handler(HTTPException, self._not_found)
        return with_checked_hosts(_WithHeaders(app), self._config, self._config.console_host)

    async def _page(self, name: str, ask: Ask, request: Request) -> Response:
        try:
            asked = self._asked(request, self._admit(request))
            given = {"asked": asked, "section": name, "limited": asked.limit is not None, "road": self._watch.road()}
            return await self._in_room(lambda: self._answer(ask(asked), given))
        except Exception as error:
            return self._failed(name, error)

    def _answer(self, answer: Page | Redirect, given: Mapping[str, Any]) -> Response:
        if isinstance(answer, Redirect):
            return RedirectResponse(answer.to, 303)
        values = {**given, **answer.values}
        if answer.template == "status.html" and given["road"].numbers and not given["limited"]:
            values["senders"] = senders(self._watch.ask, given["asked"].headers)
        return self._html(answer.template, values, answer.status)

    async def _in_room(self, work: Callable[[], Response]) -> Response:
        self._room.enter()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._room.threads, work)
        finally:
            self._room.leave()

    def _admit(self, request: Request) -> Limit | None:
        client = request.client
        return self._access.admit(request.headers, client.host if client else "")

    def _asked(self, request: Request, limit: Limit | None) -> Asked:
        now = time.time_ns()
        return Asked(self._config, self._reader, limit, now, request.path_params, request.query_params, request.headers)

    def _html(self, template: str, values: Mapping[str, Any], status: int = 200) -> Response:
        headers = {"cache-control": "no-store"}
        return Response(self._rendering.html(template, values), status, headers, _HTML)

    def _failed(self, section: str, error: Exception) -> Response:
        """The page that says what went wrong, and what to do."""
        status, said = 500, "The console failed on this page: its log says why."
        if isinstance(error, HeadraceError):
            status, said = error.http_status, str(error)
            log_rarely("a page cannot be shown", type(error).__name__, status=status, reason=said)
        else:
            log.error("a page failed unexpectedly", exc_info=error)
        answer = self._html("error.html", {"section": section, "status": status, "said": said, "asked": None}, status)
        if isinstance(error, Unauthenticated):
            answer.headers["www-authenticate"] = (
                'Basic realm="Headrace: any name, and an API key as the password", charset="UTF-8"'
            )
        if isinstance(error, HeadraceError) and error.retry_after is not None:
            answer.headers["retry-after"] = str(error.retry_after)
        return answer

    async def _not_found(self, request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException) and error.status_code != 404:
            return Response(f"{error.status_code}: {error.detail}\n", error.status_code, error.headers, "text/plain")
        return self._failed("", NoSuchPath(f"Nothing is at {request.url.path[:200]!r}."))

    async def _live(self, request: Request) -> Response:
        """The road, again and again, as server-sent events; for keys without a limit."""
        try:
            if self._admit(request) is not None:
                raise NoSuchPath("The numbers of all experiments together are not shown to a key that is limited to some.")
        except HeadraceError as error:
            return Response(f"{error}\n", error.http_status, media_type="text/plain")
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(self._events(), 200, headers, "text/event-stream")

    async def _events(self) -> AsyncIterator[str]:
        yield "retry: 5000\n\n"
        async for road in self._watch.roads():
            yield f"event: road\ndata: {json.dumps(self._fragment(road))}\n\n"

    def _fragment(self, road: Road) -> str:
        return self._rendering.html("road.html", {"road": road})


async def _healthz(_: Request) -> Response:
    return Response('{"status":"alive"}', media_type="application/json")


async def _metrics(request: Request) -> Response:
    body, kind = exposition(request.headers.get("accept", ""))
    return Response(body, headers={"content-type": kind})


async def _file(name: str, _: Request) -> Response:
    file = FILES[name]
    return Response(file.body, headers={"cache-control": "public, max-age=31536000, immutable"}, media_type=file.kind)


class _WithHeaders:
    """Adds the headers that each answer has."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in _HEADERS.items())]
            await send(message)

        await self._app(scope, receive, answer if scope["type"] == "http" else send)
