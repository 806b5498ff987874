"""What every failure says, over HTTP and gRPC alike: a `google.rpc.Status`. Pure.

Source: OTLP specification, "Failures" of OTLP/gRPC and OTLP/HTTP
(https://github.com/open-telemetry/opentelemetry-proto/blob/main/docs/specification.md#failures).
"""

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2
from google.rpc.status_pb2 import Status

from headrace.errors import HeadraceError
from headrace.telemetry.logging import log, log_rarely
from headrace.telemetry.metrics import REFUSALS, REQUESTS_REFUSED

_MAX_MESSAGE = 2000


def status_of(error: Exception) -> Status:
    """An error → its `Status`: `RetryInfo` where the client shall come back, `BadRequest` where its data are wrong.

    An error that nobody foresaw is logged, and tells the client no more than its kind.
    """
    REQUESTS_REFUSED.labels(REFUSALS.get(type(error), "unexpected")).inc()  # type: ignore[arg-type]
    if not isinstance(error, HeadraceError):
        log.error("request failed unexpectedly", exc_info=error)
        return status(code_pb2.INTERNAL, f"Headrace failed on this request: {type(error).__name__}.")
    log_rarely("requests refused", type(error).__name__, status=error.http_status, reason=str(error))
    if error.retry_after is not None:
        return status(error.rpc_code, str(error), retry_info(error.retry_after))
    if error.http_status == 400:
        violation = error_details_pb2.BadRequest.FieldViolation(description=str(error)[:_MAX_MESSAGE])
        return status(error.rpc_code, str(error), error_details_pb2.BadRequest(field_violations=[violation]))
    return status(error.rpc_code, str(error))


def status(code: int, message: str, detail: Message | None = None) -> Status:
    """A `Status` of bounded size."""
    answer = Status(code=code, message=message[:_MAX_MESSAGE])
    if detail is not None:
        packed = AnyMessage()
        packed.Pack(detail)
        answer.details.append(packed)
    return answer


def retry_info(seconds: int) -> error_details_pb2.RetryInfo:
    """When the client shall come back."""
    return error_details_pb2.RetryInfo(retry_delay=Duration(seconds=seconds))
