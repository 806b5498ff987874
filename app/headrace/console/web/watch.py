"""Asks the receiver for its numbers, again and again, and tells who listens."""

import asyncio
import http.client
import ssl
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from urllib.parse import urlsplit

from headrace.config import Config
from headrace.console.web.road import SECONDS, Numbers, Road, numbers_of, road_of, to_object
from headrace.parts import PartTask

_OFTEN, _SELDOM = 2.0, 10.0
"""Seconds between two questions: while somebody looks, and else."""
_TIMEOUT = 4.0
_MAX_BYTES = 4 * 1024 * 1024
Ask = Callable[[str, Mapping[str, str]], tuple[int, bytes]]
"""A path, and headers → status and body. Raises OSError or HTTPException."""


def receiver_url(config: Config) -> str:
    """Where the receiver is asked."""
    return (config.receiver_url or config.own_url).rstrip("/")


def anybody() -> ssl.SSLContext:
    """TLS with whoever answers: its certificate may name whatever host it likes. For where nothing secret is said."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Receiver:
    """The receiver, as the console asks it: past any proxy, and never elsewhere.

    `context`: whose certificates are believed. Without it anybody's, for nothing secret is said.
    """

    def __init__(self, url: str, context: ssl.SSLContext | None = None, agent: str = "headrace-console") -> None:
        self._url, self._agent = url.rstrip("/"), agent
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context or anybody()), _NoRedirect
        )

    def __call__(self, path: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """See `Ask`."""
        if urlsplit(self._url).scheme not in ("http", "https"):
            raise OSError(f"{self._url} is no http URL: HEADRACE_RECEIVER_URL names it")
        request = urllib.request.Request(f"{self._url}{path}", headers={"user-agent": self._agent, **headers})  # noqa: S310
        try:
            with self._opener.open(request, timeout=_TIMEOUT) as answer:
                return answer.status, answer.read(_MAX_BYTES)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(_MAX_BYTES)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def sample(ask: Ask) -> Numbers | str:
    """Asks the receiver once: its numbers now; or why there are none."""
    try:
        status, metrics = ask("/metrics", {})
        if status != http.client.OK:
            return f"/metrics answered {status}."
        _, ready = ask("/readyz", {})
        return numbers_of(metrics.decode(errors="replace"), to_object(ready), time.time())
    except (OSError, http.client.HTTPException, ValueError) as error:
        return str(getattr(error, "reason", "") or error)[:300]


class Watch:
    """The receiver's numbers of the last hour. It belongs to one event loop."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self._samples: deque[Numbers] = deque(maxlen=round(SECONDS / _OFTEN))
        self._error = ""
        self._listeners = 0
        self._changed = asyncio.Condition()
        self._woken = asyncio.Event()
        self._stopped = False
        self._task = PartTask("watch", self._watch)

    def start(self) -> None:
        """Begins to ask."""
        self._task.start()

    async def stop(self) -> None:
        """Asks no more. Who listens is told that it is over."""
        self._stopped = True
        async with self._changed:
            self._changed.notify_all()
        await self._task.stop()

    def road(self) -> Road:
        """What is known now."""
        return road_of(list(self._samples), self._error, time.time())

    async def roads(self) -> AsyncIterator[Road]:
        """What is known, whenever it is known anew, until the watch stops."""
        self._listeners += 1
        self._woken.set()
        try:
            while not self._stopped:
                yield self.road()
                async with self._changed:
                    await self._changed.wait()
        finally:
            self._listeners -= 1

    async def _watch(self) -> None:
        while not self._stopped:
            self._woken.clear()
            await self.look()
            try:
                await asyncio.wait_for(self._woken.wait(), _SELDOM if not self._listeners else _OFTEN)
            except asyncio.TimeoutError:
                pass

    async def look(self) -> None:
        """Asks once."""
        found = await asyncio.to_thread(sample, self.ask)
        if isinstance(found, str):
            self._error = found
        else:
            self._error = ""
            self._samples.append(found)
        async with self._changed:
            self._changed.notify_all()
