"""An OTLP/HTTP endpoint for metrics, which is not ours: one export, and what its answer means by OTLP's specification.

Source: https://opentelemetry.io/docs/specs/otlp/#otlphttp-response. OpenTelemetry's own exporter takes objects of its SDK,
waits inside the call, and drops what it could not send; we have bytes, and keep them.
"""

import gzip
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

from headrace import __version__
from headrace.config import Config, header_pairs
from headrace.otlp.error_words import error_words

_LATER = (429, 502, 503, 504)
"""The statuses after which OTLP says to send again."""
_TIMEOUT = urllib3.Timeout(connect=3, read=10)
_MOST_ANSWER = 64 * 1024
"""Bytes of an answer that are read."""
_MOST_WAIT = 600.0
"""Seconds of a Retry-After that are waited at most."""
_MOST_SAID = 300


class Answer(NamedTuple):
    """What became of an export. `sent`: the endpoint took it, but for `rejected` data points. `refused`: it never will take it.
    `later`: it may, after `wait` seconds if it said so."""

    outcome: Literal["sent", "refused", "later"]
    said: str = ""
    """Its own words, or what went wrong. Never a header of ours."""
    rejected: int = 0
    wait: float | None = None


class Endpoint:
    """The endpoint of HEADRACE_METRICS_FORWARD."""

    def __init__(self, config: Config) -> None:
        self._url = str(config.metrics_forward)
        self._pool = _pool(self._url)
        self._headers = _headers_of(config)

    def send(self, request: bytes) -> Answer:
        """Sends an ExportMetricsServiceRequest. Redirects are not followed: our headers are for this endpoint only."""
        try:
            headers = {**_OURS, **self._headers()}
        except (OSError, ValueError) as error:
            return Answer("later", f"HEADRACE_METRICS_FORWARD_HEADERS_FILE: {_first_line(error)}")
        try:
            response = self._pool.request(
                "POST",
                self._url,
                body=gzip.compress(request, compresslevel=5),
                headers=headers,
                timeout=_TIMEOUT,
                retries=False,
                redirect=False,
                preload_content=False,
            )
            with response:
                body = response.read(_MOST_ANSWER, decode_content=True)
                status, retry_after = response.status, response.headers.get("retry-after", "")
        except (urllib3.exceptions.HTTPError, OSError) as error:
            return Answer("later", _first_line(error))
        return meaning(status, body, retry_after)


def meaning(status: int, body: bytes, retry_after: str = "") -> Answer:
    """An HTTP answer → what it means for what was sent."""
    if 200 <= status < 300:
        partial = ExportMetricsServiceResponse().partial_success
        with suppress(DecodeError):
            partial = ExportMetricsServiceResponse.FromString(body).partial_success
        return Answer("sent", partial.error_message[:_MOST_SAID], max(0, partial.rejected_data_points))
    said = " ".join(filter(None, [f"HTTP {status}", error_words(body)]))
    if status in _LATER:
        return Answer("later", said, wait=_seconds(retry_after))
    return Answer("refused", said)


def _seconds(retry_after: str) -> float | None:
    """A Retry-After in seconds, given as a number or as a date. None: it says nothing, or nonsense."""
    try:
        seconds = (
            float(retry_after)
            if retry_after.strip().isdigit()
            else parsedate_to_datetime(retry_after).timestamp() - time.time()
        )
    except (ValueError, TypeError, OverflowError):
        return None
    return min(_MOST_WAIT, max(0.0, seconds))


_OURS = {
    "content-type": "application/x-protobuf",
    "content-encoding": "gzip",
    "user-agent": f"Headrace/{__version__}",
}


def _headers_of(config: Config) -> Callable[[], Mapping[str, str]]:
    """A function that gives the headers of the settings, and reads their file anew each time."""
    fixed = header_pairs(config.metrics_forward_headers.get_secret_value()) if config.metrics_forward_headers else {}
    file = config.metrics_forward_headers_file
    return lambda: fixed if file is None else fixed | headers_in(file)


def headers_in(file: Path) -> dict[str, str]:
    """The headers in a file: pairs separated by commas or lines.

    Raises:
        OSError: it cannot be read. ValueError: it holds something else; does not repeat what.
    """
    return header_pairs(",".join(file.read_text().splitlines()))


def _pool(url: str) -> urllib3.PoolManager:
    """Connections that are kept open, through the proxy that the environment names for this URL, as exporters have it."""
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.hostname or ""):
        return urllib3.ProxyManager(proxy)
    return urllib3.PoolManager()


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:_MOST_SAID]}"
