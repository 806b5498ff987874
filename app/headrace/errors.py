"""Every error that Headrace raises on purpose. The class says what becomes of the request or batch; no code looks at the text:

    HeadraceError                  http  gRPC code            the client may send it again
     ├─ RequestError               400   INVALID_ARGUMENT     no
     │   ├─ MalformedBody          400   INVALID_ARGUMENT     no
     │   ├─ Unroutable             400   INVALID_ARGUMENT     no
     │   │   ├─ TooManyExperiments 400   INVALID_ARGUMENT     no
     │   │   └─ UnknownRun         400   INVALID_ARGUMENT     no
     │   ├─ Unauthenticated        401   UNAUTHENTICATED      no
     │   ├─ PermissionDenied       403   PERMISSION_DENIED    no
     │   ├─ NoSuchPath             404   UNIMPLEMENTED        no
     │   ├─ MethodNotAllowed       405   UNIMPLEMENTED        no
     │   ├─ BodyTimeout            408   DEADLINE_EXCEEDED    no
     │   ├─ LengthRequired         411   INVALID_ARGUMENT     no
     │   ├─ BodyTooLarge           413   RESOURCE_EXHAUSTED   no
     │   ├─ UnsupportedMediaType   415   INVALID_ARGUMENT     no
     │   │   └─ UnknownCompression 415   UNIMPLEMENTED        no
     │   └─ HeadersTooLarge        431   RESOURCE_EXHAUSTED   no
     ├─ RateLimited                429   UNAVAILABLE          yes, after `retry_after` seconds
     ├─ QueueError
     │   ├─ QueueFull              503   UNAVAILABLE          yes, after `retry_after` seconds
     │   ├─ QueueUnavailable       503   UNAVAILABLE          yes, after `retry_after` seconds
     │   ├─ InFlightFull           503   UNAVAILABLE          yes, after `retry_after` seconds
     │   └─ QueueLocked            –     –                    (at start: another process owns the queue)
     ├─ ExportError                                           (for the worker; clients hardly ever see it)
     │   ├─ DatabaseUnavailable    503   UNAVAILABLE          the batch is kept and tried again
     │   │   ├─ TablesChanged      503   UNAVAILABLE          the batch is kept; the tables are looked at again
     │   │   ├─ DatabaseRefuses    503   UNAVAILABLE          the same; at the start the process ends
     │   │   ├─ StatementTimeout   503   UNAVAILABLE          the batch is tried again in halves
     │   │   ├─ ExperimentsNotReady 503  UNAVAILABLE          the batch is kept and tried again
     │   │   └─ WriteBroke         503   UNAVAILABLE          the same, once the batch proves to be at fault
     │   └─ PermanentExportError   –     –                    halved down to the bad span, a dead letter
     │       └─ RowsRefused        –     –                    the same
     └─ StartError                 –     –                    (the process ends and says what to do)

Sources: OTLP specification, "OTLP/HTTP Response" and "OTLP/gRPC Failures"
(https://github.com/open-telemetry/opentelemetry-proto/blob/main/docs/specification.md).
"""

from collections.abc import Sequence
from typing import ClassVar

from google.rpc import code_pb2

from headrace.rejected import Rejected


class HeadraceError(Exception):
    """The root of the tree. `str(error)` is one English sentence that tells its reader what to do."""

    http_status: ClassVar[int] = 500
    rpc_code: ClassVar[int] = code_pb2.INTERNAL
    retry_after: int | None = None
    """Seconds for the `Retry-After` header and `RetryInfo`. None: the client must not send the request again."""


class RequestError(HeadraceError):
    """The request is wrong and will always be: the client must not send it again."""

    http_status = 400
    rpc_code = code_pb2.INVALID_ARGUMENT


class MalformedBody(RequestError):
    """The body does not have the form that its Content-Type and Content-Encoding name."""


class Unroutable(RequestError):
    """The request does not say to which experiment its spans belong, or it names one that does not exist."""


class TooManyExperiments(Unroutable):
    """The request names more experiments than one request may, or would create more than it may."""


class UnknownRun(Unroutable):
    """The request names a run for its metrics that MLflow does not have, or that is deleted."""


class Unauthenticated(RequestError):
    """The request has no API key, or one that is unknown, revoked or expired."""

    http_status = 401
    rpc_code = code_pb2.UNAUTHENTICATED


class PermissionDenied(RequestError):
    """The API key is good, but may not write to this experiment; or this web page may not send spans."""

    http_status = 403
    rpc_code = code_pb2.PERMISSION_DENIED


class NoSuchPath(RequestError):
    """Nothing is at this path, or there is no gRPC method of this name."""

    http_status = 404
    rpc_code = code_pb2.UNIMPLEMENTED


class MethodNotAllowed(RequestError):
    """The HTTP method is not POST, or at another path not GET."""

    http_status = 405
    rpc_code = code_pb2.UNIMPLEMENTED


class BodyTimeout(RequestError):
    """The body did not arrive in time."""

    http_status = 408
    rpc_code = code_pb2.DEADLINE_EXCEEDED


class LengthRequired(RequestError):
    """A POST has neither Content-Length nor chunks: nobody can tell whether it has a body."""

    http_status = 411


class BodyTooLarge(RequestError):
    """The body is over a limit, as received or inflated, in bytes or in parts."""

    http_status = 413
    rpc_code = code_pb2.RESOURCE_EXHAUSTED


class UnsupportedMediaType(RequestError):
    """Headrace does not support this Content-Type or Content-Encoding."""

    http_status = 415


class UnknownCompression(UnsupportedMediaType):
    """A gRPC message is compressed in a way that Headrace does not know."""

    rpc_code = code_pb2.UNIMPLEMENTED


class HeadersTooLarge(RequestError):
    """The request's headers, or gRPC's metadata, are over the limit."""

    http_status = 431
    rpc_code = code_pb2.RESOURCE_EXHAUSTED


class RateLimited(HeadraceError):
    """A key, or all clients together, sent or created more than they may; or one address sent too many wrong keys."""

    http_status = 429
    rpc_code = code_pb2.UNAVAILABLE

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QueueError(HeadraceError):
    """The queue cannot take a request now. `retry_after` is short because the Python exporter gives up after 10 s in all."""

    http_status = 503
    rpc_code = code_pb2.UNAVAILABLE
    retry_after = 2


class QueueFull(QueueError):
    """The queue holds as many bytes as it may."""


class QueueUnavailable(QueueError):
    """The queue cannot write to its disk, or the process is stopping."""


class InFlightFull(QueueError):
    """The requests in memory hold as many bytes as they may."""


class QueueLocked(QueueError):
    """Another process owns this queue."""


class ExportError(HeadraceError):
    """A batch could not be written to MLflow's tables."""


class DatabaseUnavailable(ExportError):
    """Postgres is away, or cannot take the batch now. The same batch may succeed later."""

    http_status = 503
    rpc_code = code_pb2.UNAVAILABLE
    retry_after = 2


class TablesChanged(DatabaseUnavailable):
    """MLflow's tables are not, or are no longer, as the writer was made for. It waits, and looks at them again: it is not the
    batch's fault."""


class DatabaseRefuses(DatabaseUnavailable):
    """Postgres answers, but does not let Headrace in, or lacks its database, or denies it a right. It does not pass by itself:
    the message says what to change."""


class StatementTimeout(DatabaseUnavailable):
    """Postgres cancelled a statement because it took too long. A smaller batch may be quick enough."""


class ExperimentsNotReady(DatabaseUnavailable):
    """Postgres answers, but an experiment does not exist yet: MLflow's server must start first, or a limit says to wait."""


class WriteBroke(DatabaseUnavailable):
    """The connection broke during the write, or Postgres ran out of memory. It may be an outage, or the fault of this batch."""


class PermanentExportError(ExportError):
    """This batch can never be written as it is.

    `rejected` names the records at fault, if the writer knows them. If it is empty, the caller has to find them.
    """

    def __init__(self, message: str, rejected: Sequence[Rejected] = ()) -> None:
        super().__init__(message)
        self.rejected = tuple(rejected)


class RowsRefused(PermanentExportError):
    """Postgres refuses rows of this batch. `of_tables`: by a rule of the tables themselves, which may be other tables than the
    writer was made for (a column that must not be NULL, a key, a type), and not by a rule of a check or trigger."""

    def __init__(self, message: str, of_tables: bool) -> None:
        super().__init__(message)
        self.of_tables = of_tables


class StartError(HeadraceError):
    """Headrace cannot start as it is set up. The message names the command or the setting that helps."""
