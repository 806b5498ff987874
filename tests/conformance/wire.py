"""The three transports of OTLP as a client sees them: bytes out, a `Reply` back, and what holds for every reply there is.

Nothing of `app` is used here: what is sent and what must come back are the specification's alone.
"""

import enum
import gzip
import json
import zlib
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from headrace.otlp.zstd import zstd

MAX_ANSWER = 16 * 1024
"""Bytes. The specification recommends 4 MiB; what Headrace says is shorter by far."""


class Transport(enum.Enum):
    """As `OTEL_EXPORTER_OTLP_PROTOCOL` names them."""

    PROTOBUF = "http/protobuf"
    JSON = "http/json"
    GRPC = "grpc"


PROTOBUF, JSON, GRPC = Transport
HTTP = (PROTOBUF, JSON)
EVERY = tuple(Transport)
MEDIA_TYPE = {PROTOBUF: "application/x-protobuf", JSON: "application/json"}
RESPONSES: dict[str, type[Message]] = {
    "traces": ExportTraceServiceResponse,
    "metrics": ExportMetricsServiceResponse,
    "logs": ExportLogsServiceResponse,
}
SERVICES = {
    "traces": "opentelemetry.proto.collector.trace.v1.TraceService",
    "metrics": "opentelemetry.proto.collector.metrics.v1.MetricsService",
    "logs": "opentelemetry.proto.collector.logs.v1.LogsService",
}


class Outcome(enum.Enum):
    """What can become of a request: (HTTP status, gRPC code)."""

    OK = (200, grpc.StatusCode.OK)
    BAD_DATA = (400, grpc.StatusCode.INVALID_ARGUMENT)
    UNAUTHENTICATED = (401, grpc.StatusCode.UNAUTHENTICATED)
    FORBIDDEN = (403, grpc.StatusCode.PERMISSION_DENIED)
    NOT_FOUND = (404, grpc.StatusCode.UNIMPLEMENTED)
    NOT_ALLOWED = (405, None)
    TOO_SLOW = (408, None)
    NO_LENGTH = (411, None)
    TOO_LARGE = (413, grpc.StatusCode.RESOURCE_EXHAUSTED)
    UNKNOWN_MEDIA = (415, None)
    HEADERS_TOO_LARGE = (431, grpc.StatusCode.RESOURCE_EXHAUSTED)
    LIMITED = (429, grpc.StatusCode.UNAVAILABLE)
    OVERLOADED = (503, grpc.StatusCode.UNAVAILABLE)

    def code(self, transport: Transport) -> "int | grpc.StatusCode | None":
        """What this transport calls it."""
        code: int | grpc.StatusCode | None = self.value[transport is GRPC]
        return code


RETRYABLE = {429, 503, grpc.StatusCode.UNAVAILABLE}
"""Of what Headrace answers, after these a client sends its batch again."""


@dataclass(frozen=True)
class Reply:
    """One answer: `message` of a success, or `status` of a failure; HTTP's headers, or gRPC's trailing metadata."""

    transport: Transport
    code: "int | grpc.StatusCode"
    headers: Mapping[str, Any]
    body: bytes = b""
    message: Any = None
    status: Any = None

    def detail(self, kind: Any) -> Any:
        """The detail of this kind in a failure's `Status`, or None."""
        found = kind()
        return next((found for packed in self.status.details if packed.Unpack(found)), None)


def to_json(message: Message) -> dict[str, Any]:
    """A request → OTLP/JSON: ids in hex, enums as integers, int64 as strings, names in lowerCamelCase."""
    data = json_format.MessageToDict(message, use_integers_for_enums=True)
    for resource in data.get("resourceSpans", ()):
        for scope in resource.get("scopeSpans", ()):
            for span in scope.get("spans", ()):
                for holder in (span, *span.get("links", ())):
                    for key in {"traceId", "spanId", "parentSpanId"} & holder.keys():
                        holder[key] = b64decode(holder[key]).hex()
    return data


def encode(message: Message, transport: Transport) -> bytes:
    """A request → the body in which this transport carries it."""
    return json.dumps(to_json(message)).encode() if transport is JSON else message.SerializeToString()


def _raw_deflate(body: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush()


PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda body: body,
    "identity": lambda body: body,
    "gzip": gzip.compress,
    "two gzip members": lambda body: gzip.compress(body[:7]) + gzip.compress(body[7:]),
    "deflate": zlib.compress,
    "raw deflate": _raw_deflate,
    "zstd": zstd.compress,
    "zstd in gzip": lambda body: gzip.compress(zstd.compress(body)),
}
"""How a body is packed. The name does not go onto the wire: the `Content-Encoding` header is the case's own."""

_GRPC_PACKINGS = {
    "": grpc.Compression.NoCompression,
    "gzip": grpc.Compression.Gzip,
    "deflate": grpc.Compression.Deflate,
}


def over_http(
    client: httpx.Client,
    url: str,
    transport: Transport,
    content: Any,
    headers: Mapping[str, str | None],
    signal: str = "traces",
    method: str = "POST",
) -> Reply:
    """Sends `content` as it is. A header that is None is not sent."""
    named = {"content-type": MEDIA_TYPE[transport], **headers}
    sent = {key: value for key, value in named.items() if value is not None}
    answer = client.request(method, url, content=content, headers=sent)
    return read(transport, answer.status_code, dict(answer.headers), answer.content, signal)


def over_grpc(
    channel: grpc.Channel,
    body: bytes,
    packing: str = "",
    headers: Mapping[str, str | None] | None = None,
    signal: str = "traces",
    method: str = "",
) -> Reply:
    """Calls `Export` (or `method`, a path) with a message of these bytes."""
    call = channel.unary_unary(method or f"/{SERVICES[signal]}/Export", bytes, bytes)
    metadata = tuple((key, value) for key, value in (headers or {}).items() if value is not None)
    try:
        answer, done = call.with_call(body, timeout=30, metadata=metadata, compression=_GRPC_PACKINGS[packing])
    except grpc.RpcError as error:
        return failed(error)
    return Reply(GRPC, grpc.StatusCode.OK, dict(done.trailing_metadata()), answer, RESPONSES[signal].FromString(answer))


def failed(error: Any) -> Reply:
    """What a failed gRPC call says: `Status` from its details, or, where gRPC itself refused, from its code and message."""
    trailers = dict(error.trailing_metadata() or ())
    packed = trailers.get("grpc-status-details-bin")
    status = Status(code=error.code().value[0], message=error.details())
    if packed is not None:
        detailed = Status.FromString(packed)
        assert (detailed.code, detailed.message) == (status.code, status.message)
        status = detailed
    return Reply(GRPC, error.code(), trailers, packed or b"", status=status)


def read(transport: Transport, code: int, headers: Mapping[str, Any], body: bytes, signal: str = "traces") -> Reply:
    """An HTTP answer → what it says. Its Content-Type has to be the request's own, and its body that message, no more."""
    assert headers["content-type"] == MEDIA_TYPE[transport]
    found = RESPONSES[signal]() if code == 200 else Status()
    if transport is JSON:
        json_format.Parse(body, found)  # which takes no unknown fields, and no ids in hex: there are none in answers
    else:
        found.MergeFromString(body)
        assert found.SerializeToString() == body
    said = {"message": found} if code == 200 else {"status": found}
    return Reply(transport, code, headers, body, **said)


def judge(reply: Reply, *, warned: bool = False) -> None:
    """What holds for every answer to every request. `warned`: a partial success may reject nothing."""
    assert len(reply.body) <= MAX_ANSWER
    assert "content-encoding" not in reply.headers
    if reply.message is not None:
        if reply.message.HasField("partial_success"):
            partial = reply.message.partial_success
            assert warned or any(value > 0 for field, value in partial.ListFields() if field.name.startswith("rejected_"))
            assert partial.error_message
        else:
            assert reply.body == (b"{}" if reply.transport is JSON else b"")
        return
    assert reply.code in {outcome.code(reply.transport) for outcome in Outcome}, f"{reply.code}: {reply.status}"
    assert len(reply.status.message.split()) >= 2, "a sentence for developers"
    assert reply.status.code
    retry = reply.detail(RetryInfo)
    assert (retry is not None) == (reply.code in RETRYABLE)
    if reply.transport is GRPC:
        assert (reply.detail(BadRequest) is not None) == (reply.code == grpc.StatusCode.INVALID_ARGUMENT)
    else:
        assert ("retry-after" in reply.headers) == (reply.code in RETRYABLE)
        assert (reply.detail(BadRequest) is not None) == (reply.code == 400)
    if retry is not None:
        seconds = retry.retry_delay.seconds
        assert 1 <= seconds <= 5, "exporters give a batch up after 10 s in all"
        if reply.transport is GRPC:
            assert RetryInfo.FromString(reply.headers["google.rpc.retryinfo-bin"]) == retry
        else:
            assert reply.headers["retry-after"] == str(seconds)
