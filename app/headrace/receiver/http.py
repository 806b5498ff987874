"""OTLP/HTTP: `POST /v1/traces`, `/v1/metrics`, `/v1/logs`. It is plain ASGI, because FastAPI's parsing of requests costs more
than all of this.

Every answer has the encoding of its request. Every failure is a `google.rpc.Status`
(OTLP specification, "OTLP/HTTP Response": https://github.com/open-telemetry/opentelemetry-proto/blob/main/docs/specification.md#otlphttp-response).
"""

import io
import time
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from headrace import tracing
from headrace.errors import BodyTimeout, HeadraceError, LengthRequired, Unauthenticated, UnsupportedMediaType
from headrace.otlp.codec import Encoding, encode, encoding_of
from headrace.otlp.compression import SUPPORTED
from headrace.otlp.signals import Signal
from headrace.receiver.answers import bad_request, status_of
from headrace.receiver.headers import headers_of
from headrace.receiver.intake import Body, Intake
from headrace.receiver.who import Who
from headrace.telemetry.metrics import ACK_SECONDS


class ClientGone(Exception):
    """The client closed the connection before its request was complete. Nobody waits for an answer."""


class Answered(Exception):
    """The connection has answered the request already, and counted it: its rest is not valid, or is too large."""


class SignalEndpoint:
    """The ASGI application behind one signal's path. Reading a body may raise BodyTimeout: see `Served`."""

    def __init__(self, signal: Signal, intake: Intake) -> None:
        self._signal = signal
        self._intake = intake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        with tracing.request(self._signal.name):
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        headers = headers_of(scope["headers"])
        who = Who.of_scope(scope, headers)
        try:
            response = await self._answer(headers, who, receive)
        except ClientGone:
            tracing.answered("http", self._signal.name, "client_gone")
            return
        except Answered:
            return
        except Exception as error:
            response = failure(error, answer_encoding("POST", headers), self._signal.name, who)
        if response.status_code == 200:
            ACK_SECONDS.observe(time.perf_counter() - started)
        await response(scope, receive, send)

    async def _answer(self, headers: Mapping[str, str], who: Who, receive: Receive) -> Response:
        key = self._intake.admit(headers, who.address)
        who.key = key.name if key is not None else ""
        encoding = encoding_of(headers.get("content-type", ""))
        self._intake.check_size(_length(headers))
        with self._intake.reading(who) as reading:
            body = io.BytesIO()  # getvalue() does not copy
            async for chunk in _chunks(receive):
                reading.add(len(chunk))
                body.write(chunk)
            compression = headers.get("content-encoding", "")
            sent = body.getvalue()
            answer = await self._intake.export(self._signal, Body(sent, encoding, compression), headers, key, reading)
        tracing.answered(_protocol(encoding), self._signal.name, "200")
        return Response(encode(answer, encoding), 200, media_type=encoding.value)


def failure(error: Exception, encoding: Encoding, signal: str = "none", who: Who | None = None) -> Response:
    """An error, and who sent the request → its HTTP answer with a `google.rpc.Status` body."""
    headers: dict[str, str] = {}
    code = 500
    body = status_of(error, who)
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


def answer_encoding(method: str, headers: Mapping[str, str]) -> Encoding:
    """The encoding of the request. If it has none: protobuf for a POST, as OTLP demands, and JSON for a person's GET."""
    try:
        return encoding_of(headers.get("content-type", ""))
    except UnsupportedMediaType:
        return Encoding.PROTOBUF if method == "POST" else Encoding.JSON


def bare_answer(error: HeadraceError, encoding: Encoding, who: Who) -> bytes:
    """All bytes of the last answer on a connection, to what is no request, or is too large to become one."""
    answer = failure(error, encoding, who=who)
    answer.headers["connection"] = "close"
    return _as_bytes(answer)


def _as_bytes(answer: Response) -> bytes:
    lines = [b"HTTP/1.1 %d %s" % (answer.status_code, HTTPStatus(answer.status_code).phrase.encode())]
    lines += [name + b": " + value for name, value in answer.raw_headers]
    return b"\r\n".join([*lines, b"", bytes(answer.body)])


def wrong_port(said: str) -> bytes:
    """All bytes of the answer to a client that spoke gRPC or TLS to this port. It is no request: nothing is counted."""
    answer = Response(encode(bad_request(said), Encoding.PROTOBUF), 400, {"connection": "close"})
    answer.headers["content-type"] = Encoding.PROTOBUF.value
    return _as_bytes(answer)


def _protocol(encoding: Encoding) -> str:
    """The protocol's name, as in `OTEL_EXPORTER_OTLP_PROTOCOL`."""
    return "http/protobuf" if encoding is Encoding.PROTOBUF else "http/json"


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
