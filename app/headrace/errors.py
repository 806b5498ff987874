"""Every error that Headrace raises on purpose. Each class knows its own fate, so nobody decides by message text:

    HeadraceError                  http  gRPC code            the client may send it again
     ├─ RequestError               400   INVALID_ARGUMENT     no
     │   ├─ MalformedBody          400   INVALID_ARGUMENT     no
     │   ├─ Unroutable             400   INVALID_ARGUMENT     no
     │   │   └─ TooManyExperiments 400   INVALID_ARGUMENT     no
     │   ├─ Unauthenticated        401   UNAUTHENTICATED      no
     │   ├─ PermissionDenied       403   PERMISSION_DENIED    no
     │   ├─ BodyTimeout            408   DEADLINE_EXCEEDED    no
     │   ├─ LengthRequired         411   INVALID_ARGUMENT     no
     │   ├─ BodyTooLarge           413   RESOURCE_EXHAUSTED   no
     │   ├─ UnsupportedMediaType   415   INVALID_ARGUMENT     no
     │   └─ HeadersTooLarge        431   RESOURCE_EXHAUSTED   no
     ├─ RateLimited                429   UNAVAILABLE          yes, after `retry_after` seconds
     ├─ QueueError
     │   ├─ QueueFull              503   UNAVAILABLE          yes, after `retry_after` seconds
     │   ├─ QueueUnavailable       503   UNAVAILABLE          yes, after `retry_after` seconds
     │   ├─ InFlightFull           503   UNAVAILABLE          yes, after `retry_after` seconds
     │   └─ QueueLocked            –     –                    (at start: another process owns the queue)
     ├─ ExportError                                           (the worker's; clients hardly ever see it)
     │   ├─ DatabaseUnavailable    503   UNAVAILABLE          the batch is kept and tried again
     │   │   ├─ StatementTimeout   503   UNAVAILABLE          … in halves
     │   │   ├─ ExperimentsNotReady 503  UNAVAILABLE          the batch is kept and tried again
     │   │   └─ WriteBroke         503   UNAVAILABLE          … in halves, where it is the batch's fault
     │   └─ PermanentExportError   –     –                    bisected, then dead-lettered
     └─ StartError                 –     –                    the process stops and says what to do

Sources: OTLP specification, "OTLP/HTTP Response" and "OTLP/gRPC Failures"
(https://github.com/open-telemetry/opentelemetry-proto/blob/main/docs/specification.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from google.rpc import code_pb2


class HeadraceError(Exception):
    """The root: `str(error)` is one English sentence that tells its reader what to do."""

    http_status: ClassVar[int] = 500
    rpc_code: ClassVar[int] = code_pb2.INTERNAL
    retry_after: int | None = None
    """Seconds for the `Retry-After` header and `RetryInfo`; None where the client must not send the request again."""


class RequestError(HeadraceError):
    """The request is wrong and stays wrong: the client must not send it again."""

    http_status = 400
    rpc_code = code_pb2.INVALID_ARGUMENT


class MalformedBody(RequestError):
    """The body is not what its Content-Type and Content-Encoding say."""


class Unroutable(RequestError):
    """No experiment can be told for the spans, or the one named does not exist."""


class TooManyExperiments(Unroutable):
    """The request names more experiments, or more new ones, than one request may."""


class Unauthenticated(RequestError):
    """The request has no API key, or one that is unknown, revoked or expired."""

    http_status = 401
    rpc_code = code_pb2.UNAUTHENTICATED


class PermissionDenied(RequestError):
    """The API key is good, but not for this experiment."""

    http_status = 403
    rpc_code = code_pb2.PERMISSION_DENIED


class BodyTimeout(RequestError):
    """The body did not come in time."""

    http_status = 408
    rpc_code = code_pb2.DEADLINE_EXCEEDED


class LengthRequired(RequestError):
    """A POST with neither Content-Length nor chunks: what it meant to send is not known."""

    http_status = 411


class BodyTooLarge(RequestError):
    """The body, raw or inflated, is over the limit."""

    http_status = 413
    rpc_code = code_pb2.RESOURCE_EXHAUSTED


class UnsupportedMediaType(RequestError):
    """The Content-Type or the Content-Encoding is none that OTLP/HTTP knows."""

    http_status = 415


class HeadersTooLarge(RequestError):
    """The request's headers, or gRPC's metadata, are over the limit."""

    http_status = 431
    rpc_code = code_pb2.RESOURCE_EXHAUSTED


class RateLimited(HeadraceError):
    """More than the key, or everybody together, may send or create; or too many wrong keys from one address."""

    http_status = 429
    rpc_code = code_pb2.UNAVAILABLE

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QueueError(HeadraceError):
    """The queue cannot take a batch now. The Python exporter gives up after 10 s in all, hence the short delay."""

    http_status = 503
    rpc_code = code_pb2.UNAVAILABLE
    retry_after = 2


class QueueFull(QueueError):
    """The queue holds as many bytes as it may."""


class QueueUnavailable(QueueError):
    """The queue's disk refuses the write, or the process is stopping."""


class InFlightFull(QueueError):
    """As many bytes of bodies are in memory as may be."""


class QueueLocked(QueueError):
    """Another process owns this queue."""


class ExportError(HeadraceError):
    """A batch could not be written to MLflow's tables."""


class DatabaseUnavailable(ExportError):
    """Postgres is away, refuses, or cannot do it now: the same batch may well succeed later."""

    http_status = 503
    rpc_code = code_pb2.UNAVAILABLE
    retry_after = 2


class StatementTimeout(DatabaseUnavailable):
    """Postgres gave up on a statement that took too long: a smaller batch may be quick enough."""


class ExperimentsNotReady(DatabaseUnavailable):
    """Postgres answers, but an experiment is not there yet: MLflow's server has to start first, or a limit says to wait."""


class WriteBroke(DatabaseUnavailable):
    """The connection broke amid the write, or Postgres ran out of memory: an outage, or what this very batch does to it."""


@dataclass(frozen=True, slots=True)
class RejectedSpans:
    """The spans of one trace in one experiment, all of which can never be written, and why."""

    trace_id: bytes
    experiment_id: str
    reason: str


class PermanentExportError(ExportError):
    """This batch can never be written as it is.

    `rejected` names the spans at fault, where the writer knows them. Empty: the caller has to look for the culprit.
    """

    def __init__(self, message: str, rejected: Sequence[RejectedSpans] = ()) -> None:
        super().__init__(message)
        self.rejected = tuple(rejected)


class StartError(HeadraceError):
    """Headrace cannot start as it is set up; the message names the command or the setting that mends it."""
