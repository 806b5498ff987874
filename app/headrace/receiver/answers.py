"""What a client is told of a failure, over HTTP and gRPC alike: a `google.rpc.Status`. No I/O; it counts and logs.

Source: OTLP specification, "Failures" of OTLP/gRPC and OTLP/HTTP
(https://github.com/open-telemetry/opentelemetry-proto/blob/main/docs/specification.md#failures).
"""

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2
from google.rpc.status_pb2 import Status

from headrace.errors import HeadraceError
from headrace.receiver.refusals import BOOK
from headrace.receiver.who import Who
from headrace.telemetry.logging import log, log_rarely
from headrace.telemetry.metrics import REQUESTS_REFUSED
from headrace.telemetry.refusals import REFUSALS

_MAX_MESSAGE = 2000


def status_of(error: Exception, who: Who | None = None) -> Status:
    """An error, and who sent the request → its `Status`.

    It has `RetryInfo` if the client shall send again, and `BadRequest` if the request is wrong. Counts the error, and logs it
    once a minute for each class of errors. An error that is no `HeadraceError` is logged each time, with its traceback; the
    client is only told that there was one.
    """
    reason = REFUSALS.get(type(error), "unexpected")  # type: ignore[arg-type]
    REQUESTS_REFUSED.labels(reason).inc()
    sent_by = who.fields() if who is not None else {}
    if who is not None:
        BOOK.note(reason, str(error) if isinstance(error, HeadraceError) else "", who)
    if not isinstance(error, HeadraceError):
        log.error("request failed unexpectedly", exc_info=error, **sent_by)
        return status(code_pb2.INTERNAL, "Headrace failed on this request: its log says why.")
    log_rarely("requests refused", type(error).__name__, status=error.http_status, reason=str(error), **sent_by)
    if error.retry_after is not None:
        return status(error.rpc_code, str(error), retry_info(error.retry_after))
    if error.http_status == 400:
        return bad_request(str(error), error.rpc_code)
    return status(error.rpc_code, str(error))


def bad_request(message: str, code: int = code_pb2.INVALID_ARGUMENT) -> Status:
    """A `Status` that says that the request is wrong: every 400 has the detail `BadRequest`."""
    violation = error_details_pb2.BadRequest.FieldViolation(description=message[:_MAX_MESSAGE])
    return status(code, message, error_details_pb2.BadRequest(field_violations=[violation]))


def status(code: int, message: str, detail: Message | None = None) -> Status:
    """A `Status` whose message is cut to 2,000 characters."""
    answer = Status(code=code, message=message[:_MAX_MESSAGE])
    if detail is not None:
        packed = AnyMessage()
        packed.Pack(detail)
        answer.details.append(packed)
    return answer


def retry_info(seconds: int) -> error_details_pb2.RetryInfo:
    """Tells the client to send again after so many seconds."""
    return error_details_pb2.RetryInfo(retry_delay=Duration(seconds=seconds))
