"""OTLP/HTTP: `POST /v1/traces`. Pure ASGI, as FastAPI's request parsing costs more than the whole of the work here.

Every answer is in the request's own encoding, every failure is a `google.rpc.Status`
(OTLP specification, "OTLP/HTTP Response": https://github.com/open-telemetry/opentelemetry-proto/blob/main/docs/specification.md#otlphttp-response).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.config import Config
from app.errors import BodyTooLarge, HeadraceError, QueueUnavailable, UnsupportedMediaType
from app.otlp.codec import Encoding, decode, encode, encoding_of, inflate
from app.pipeline import Incoming, Pipeline
from app.processor.validate import Verdict
from app.telemetry import ACK_SECONDS, REQUESTS, log, log_rarely

TRACES_PATH = "/v1/traces"

_IN_THREAD_BYTES = 64 * 1024
"""Bodies from here on are inflated and parsed off the event loop: about 0.5 ms of work, Quickwit's limit for async code."""


class ClientGone(Exception):
    """The client closed the connection before its request was complete; nobody waits for an answer."""


class TracesEndpoint:
    """The ASGI application behind `POST /v1/traces`."""

    def __init__(self, config: Config, pipeline: Pipeline) -> None:
        self._max_body = config.max_body_bytes
        self._max_in_flight = config.max_in_flight_bytes
        self._in_flight = 0
        self._pipeline = pipeline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        started = time.perf_counter()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            response = await self._answer(headers, receive)
        except ClientGone:
            REQUESTS.labels("unknown", "client_gone").inc()
            return
        except Exception as error:
            response = failure(error, answer_encoding("POST", headers))
        if response.status_code == 200:
            ACK_SECONDS.observe(time.perf_counter() - started)
        await response(scope, receive, send)

    async def _answer(self, headers: Mapping[str, str], receive: Receive) -> Response:
        encoding = encoding_of(headers.get("content-type", ""))
        reserved = 0
        try:
            body = bytearray()
            _check_size(int(headers.get("content-length") or 0), self._max_body)
            async for chunk in _chunks(receive):
                reserved += len(chunk)
                self._reserve(len(chunk))
                body += chunk
                _check_size(len(body), self._max_body)
            incoming = await self._decode(bytes(body), encoding, headers)
            verdict = await self._pipeline.consume(incoming)
        finally:
            self._in_flight -= reserved
        return success(verdict, encoding)

    async def _decode(self, body: bytes, encoding: Encoding, headers: Mapping[str, str]) -> Incoming:
        if len(body) < _IN_THREAD_BYTES:
            return _decode(body, encoding, headers, self._max_body)
        return await asyncio.to_thread(_decode, body, encoding, headers, self._max_body)

    def _reserve(self, size: int) -> None:
        self._in_flight += size
        if self._in_flight > self._max_in_flight:
            raise QueueUnavailable(
                f"Requests of over {self._max_in_flight} bytes are being read already (HEADRACE_MAX_IN_FLIGHT_BYTES): "
                "send the batch again later."
            )


def success(verdict: Verdict, encoding: Encoding) -> Response:
    """200. `partial_success` is set only where spans were rejected: unset means that all is well."""
    answer = ExportTraceServiceResponse()
    if verdict.rejected:
        answer.partial_success.rejected_spans = verdict.rejected.total()
        answer.partial_success.error_message = verdict.explain()
    REQUESTS.labels(encoding.name.lower(), "200").inc()
    return Response(encode(answer, encoding), 200, media_type=encoding.value)


def failure(error: Exception, encoding: Encoding) -> Response:
    """An error → its HTTP answer with a `google.rpc.Status` body; one that nobody foresaw is logged, and is a 500."""
    if isinstance(error, HTTPException):
        code = code_pb2.NOT_FOUND if error.status_code == 404 else code_pb2.UNIMPLEMENTED
        return _status(error.status_code, code, str(error.detail), encoding, dict(error.headers or {}))
    if not isinstance(error, HeadraceError):
        log.error("request failed unexpectedly", exc_info=error)
        return _status(500, code_pb2.INTERNAL, f"Headrace failed on this request: {type(error).__name__}.", encoding, {})
    log_rarely("requests refused", type(error).__name__, status=error.http_status, reason=str(error))
    headers: dict[str, str] = {}
    details: list[Message] = []
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
        details.append(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=error.retry_after)))
    elif error.http_status == 400:
        violation = error_details_pb2.BadRequest.FieldViolation(description=str(error))
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, BodyTooLarge):
        headers["connection"] = "close"  # the rest of the body is not worth reading
    return _status(error.http_status, error.rpc_code, str(error), encoding, headers, details)


async def not_found_or_not_allowed(request: Request, error: Exception) -> Response:
    """FastAPI's exception handler for 404 and 405."""
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 404:
        detail = f"Nothing is here. Headrace takes OTLP traces at POST {TRACES_PATH}; see also /healthz, /readyz, /metrics."
    elif error.status_code == 405:
        detail = f"{request.method} is not allowed here: OTLP is sent with POST {TRACES_PATH}."
    else:
        detail = str(error.detail)
    named = HTTPException(error.status_code, detail, headers=dict(error.headers or {}))
    return failure(named, answer_encoding(request.method, request.headers))


async def unexpected(request: Request, error: Exception) -> Response:
    """FastAPI's exception handler for whatever nobody foresaw outside of `TracesEndpoint`."""
    return failure(error, answer_encoding(request.method, request.headers))


def answer_encoding(method: str, headers: Mapping[str, str]) -> Encoding:
    """The request's own encoding; where it has none, protobuf for a POST, as OTLP demands, and JSON for a person's GET."""
    try:
        return encoding_of(headers.get("content-type", ""))
    except UnsupportedMediaType:
        return Encoding.PROTOBUF if method == "POST" else Encoding.JSON


def _status(
    status: int,
    code: int,
    message: str,
    encoding: Encoding,
    headers: dict[str, str],
    details: "list[Message] | tuple[()]" = (),
) -> Response:
    body = Status(code=code, message=message)
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        body.details.append(packed)
    REQUESTS.labels(encoding.name.lower(), str(status)).inc()
    return Response(encode(body, encoding), status, headers, encoding.value)


def _decode(body: bytes, encoding: Encoding, headers: Mapping[str, str], limit: int) -> Incoming:
    plain = inflate(body, headers.get("content-encoding", ""), limit)
    request, malformed = decode(plain, encoding)
    return Incoming(request, headers, plain if encoding is Encoding.PROTOBUF else None, malformed)


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    """The parts of the body, as they come."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        yield message.get("body", b"")
        more = message.get("more_body", False)


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise BodyTooLarge(f"The body is over {limit} bytes: send smaller batches, or raise HEADRACE_MAX_BODY_BYTES.")
