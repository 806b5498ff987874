"""OTLP/HTTP: `POST /v1/traces`, `/v1/metrics`, `/v1/logs`. It is plain ASGI, because FastAPI's parsing of requests costs more
than all of this.

Every answer has the encoding of its request. Every failure is a `google.rpc.Status`
(OTLP specification, "OTLP/HTTP Response": https://github.com/open-telemetry/opentelemetry-proto/blob/main/docs/specification.md#otlphttp-response).
"""

import io
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from http import HTTPStatus

import anyio
from google.rpc import code_pb2
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from headrace import tracing
from headrace.config import Config
from headrace.errors import BodyTimeout, HeadraceError, LengthRequired, Unauthenticated, UnsupportedMediaType
from headrace.otlp.codec import Encoding, encode, encoding_of
from headrace.otlp.compression import SUPPORTED
from headrace.otlp.signals import SIGNALS, Signal
from headrace.receiver.answers import status, status_of
from headrace.receiver.intake import Intake
from headrace.telemetry.metrics import ACK_SECONDS

TRACES_PATH = "/v1/traces"


class ClientGone(Exception):
    """The client closed the connection before its request was complete. Nobody waits for an answer."""


class Answered(Exception):
    """The connection has answered the request already, and counted it: its rest is not valid, or is too large."""


def routes(config: Config, intake: Intake) -> Iterator[Route]:
    """The routes of the three signals, and of common mistakes in their paths.

    The mistakes: a slash at the end, and the path twice. If `OTEL_EXPORTER_OTLP_ENDPOINT` ends in /v1/traces, an SDK adds the
    path again.
    """
    for signal in SIGNALS:
        endpoint = SignalEndpoint(signal, config, intake)
        path = f"/v1/{signal.name}"
        for prefix in dict.fromkeys(("", config.path_prefix)):
            for suffix in ("", "/", path, f"{path}/"):
                yield Route(f"{prefix}{path}{suffix}", endpoint, methods=["POST"], include_in_schema=False)
        for wrong in SIGNALS:
            if wrong is not signal:  # the traces' endpoint was given to the SDK for all signals
                yield Route(f"/v1/{wrong.name}{path}", endpoint, methods=["POST"], include_in_schema=False)


class SignalEndpoint:
    """The ASGI application behind one signal's path."""

    def __init__(self, signal: Signal, config: Config, intake: Intake) -> None:
        self._signal = signal
        self._body_seconds = config.body_seconds
        self._intake = intake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        with tracing.request(self._signal.name):
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        headers = _headers(scope)
        try:
            response = await self._answer(headers, scope, receive)
        except ClientGone:
            tracing.answered("http", self._signal.name, "client_gone")
            return
        except Answered:
            return
        except Exception as error:
            response = failure(error, answer_encoding("POST", headers), self._signal.name)
        if response.status_code == 200 and self._signal.stored:
            ACK_SECONDS.observe(time.perf_counter() - started)
        await response(scope, receive, send)

    async def _answer(self, headers: Mapping[str, str], scope: Scope, receive: Receive) -> Response:
        key = self._intake.admit(headers, (scope.get("client") or ("",))[0])
        encoding = encoding_of(headers.get("content-type", ""))
        self._intake.check_size(_length(headers))
        with self._intake.reading() as reading:
            body = io.BytesIO()  # getvalue() does not copy
            try:
                with anyio.fail_after(self._body_seconds):
                    async for chunk in _chunks(receive):
                        reading.add(len(chunk))
                        body.write(chunk)
            except TimeoutError:
                seconds = f"{self._body_seconds:g} s"
                raise BodyTimeout(
                    f"The body was not complete after {seconds} (HEADRACE_BODY_SECONDS): send smaller batches."
                ) from None
            compression = headers.get("content-encoding", "")
            answer = await self._intake.export(self._signal, body.getvalue(), headers, key, encoding, compression, reading)
        tracing.answered(_protocol(encoding), self._signal.name, "200")
        return Response(encode(answer, encoding), 200, media_type=encoding.value)


def failure(error: Exception, encoding: Encoding, signal: str = "none") -> Response:
    """An error → its HTTP answer with a `google.rpc.Status` body."""
    headers: dict[str, str] = {}
    code = 500
    if isinstance(error, HTTPException):
        code = error.status_code
        headers = dict(error.headers or {})
        body = status(code_pb2.NOT_FOUND if code == 404 else code_pb2.UNIMPLEMENTED, str(error.detail))
    else:
        body = status_of(error)
    if isinstance(error, HeadraceError):
        code = error.http_status
        if error.retry_after is not None:
            headers["retry-after"] = str(error.retry_after)
        if isinstance(error, BodyTimeout):
            # Only for this error. A connection that is closed while its client still sends is reset, and the answer may be
            # lost (RFC 9112, section 9.6). After all other errors uvicorn reads the rest of the body, and throws it away.
            headers["connection"] = "close"
        elif isinstance(error, Unauthenticated):
            headers["www-authenticate"] = 'Bearer realm="headrace"'
        elif isinstance(error, UnsupportedMediaType):
            headers["accept-encoding"] = SUPPORTED
    tracing.answered(_protocol(encoding), signal, str(code))
    return Response(encode(body, encoding), code, headers, encoding.value)


async def not_found_or_not_allowed(request: Request, error: Exception) -> Response:
    """The exception handler for 404 and 405 outside of `SignalEndpoint`."""
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 404:
        detail = f"Nothing is at this path. OTLP traces are sent with POST {TRACES_PATH}; see also /healthz, /readyz, /metrics."
    elif error.status_code == 405:
        detail = f"{request.method} is not allowed here: OTLP traces are sent with POST {TRACES_PATH}."
    else:
        detail = str(error.detail)
    named = HTTPException(error.status_code, detail, headers=dict(error.headers or {}))
    return failure(named, answer_encoding(request.method, request.headers))


async def unexpected(request: Request, error: Exception) -> Response:
    """The exception handler for all other errors outside of `SignalEndpoint`."""
    return failure(error, answer_encoding(request.method, request.headers))


def answer_encoding(method: str, headers: Mapping[str, str]) -> Encoding:
    """The encoding of the request. If it has none: protobuf for a POST, as OTLP demands, and JSON for a person's GET."""
    try:
        return encoding_of(headers.get("content-type", ""))
    except UnsupportedMediaType:
        return Encoding.PROTOBUF if method == "POST" else Encoding.JSON


def bare_answer(error: HeadraceError, encoding: Encoding) -> bytes:
    """All bytes of the last answer on a connection, to what is no request, or is too large to become one."""
    answer = failure(error, encoding)
    answer.headers["connection"] = "close"
    lines = [b"HTTP/1.1 %d %s" % (answer.status_code, HTTPStatus(answer.status_code).phrase.encode())]
    lines += [name + b": " + value for name, value in answer.raw_headers]
    return b"\r\n".join([*lines, b"", bytes(answer.body)])


def _protocol(encoding: Encoding) -> str:
    """The protocol's name, as in `OTEL_EXPORTER_OTLP_PROTOCOL`."""
    return "http/protobuf" if encoding is Encoding.PROTOBUF else "http/json"


def _headers(scope: Scope) -> dict[str, str]:
    """The headers by lower-case name. The values of one that comes twice are joined (RFC 9110, section 5.3)."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _length(headers: Mapping[str, str]) -> int:
    """The body's length in bytes as Content-Length says it; 0 if the body comes in chunks."""
    length = headers.get("content-length")
    if length is None and "transfer-encoding" not in headers:
        raise LengthRequired(
            "The request has neither Content-Length nor chunks, so its body cannot be read: send Content-Length."
        )
    return int(length or 0)


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    """The pieces of the body, as they come."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        yield message.get("body", b"")
        more = message.get("more_body", False)
