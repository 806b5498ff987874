"""A decoded request on its way from the wire into the queue, and who sent it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from headrace.envelope import envelope_pb2 as pb
from headrace.envelope.limit import Limit
from headrace.otlp.notes import Notes
from headrace.otlp.readable import ReadableRequest

RUN_HEADER = "x-mlflow-run-id"
_MAX_TEXT = 256
"""Characters that the envelope keeps of what a sender says of itself."""


def said_once(value: str) -> str:
    """The value of a header that can have only one. If it was sent twice with the same value, the two are joined by a comma
    (RFC 9110, section 5.3), here or by a proxy: they say it once."""
    value = value.strip()
    if "," not in value:
        return value
    parts = [part.strip() for part in value.split(",")]
    half = len(parts) // 2
    if len(set(parts)) == 1:
        return parts[0]
    return ", ".join(parts[:half]) if parts[:half] == parts[half:] else value


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent a request. `headers` (or gRPC metadata) have lower-case keys; `key_name` is empty where no keys are asked for.

    `limit`: the experiments that it may change; None: all.
    """

    headers: Mapping[str, str]
    key_name: str = ""
    limit: Limit | None = None


class Request:
    """A decoded request, and its original bytes for as long as they say the same.

    `message` is there to be read. Whoever wants to change it takes it with `for_change`, and with that the original bytes are
    gone for good: the queue is given the message as it is then. So what was taken out of a request is never queued by mistake.
    The types say so: an assignment through `message` is an error for mypy, and `tests/unit/processor` catches those that
    deceive it.
    """

    __slots__ = ("_message", "_original", "destinations", "max_tags", "notes", "sender", "unparsed")

    def __init__(
        self,
        message: ExportTraceServiceRequest,
        sender: Sender,
        original: bytes | None = None,
        unparsed: int = 0,
        notes: Notes | None = None,
    ) -> None:
        """`original`: protobuf bytes that say just what `message` says, if the wire had them. `unparsed`: how many spans came
        that could not be parsed, and so are not in `message`."""
        self._message = message
        self._original = original
        self.sender = sender
        self.unparsed = unparsed
        self.notes = notes or Notes()
        """What was done to the body so that it could be read."""
        self.max_tags = 0
        """Most tags that a trace of it may be given; 0: as many as the writer's setting says."""
        self.destinations: Sequence[pb.Destination] = ()
        """Where each of its resources goes. Empty until the request is authorized."""

    @property
    def message(self) -> ReadableRequest:
        """What it says."""
        return self._message

    @property
    def original(self) -> bytes | None:
        """The bytes that were sent; None where there are none that say what `message` says."""
        return self._original

    def for_change(self) -> ExportTraceServiceRequest:
        """The message, to be changed in place. The original bytes are forgotten."""
        self._original = None
        return self._message

    def to_envelope(self) -> bytes:
        """What the queue stores of it, received now."""
        headers = self.sender.headers
        return pb.Envelope(
            received_unix_nano=time.time_ns(),
            destinations=self.destinations,
            run_id=said_once(headers.get(RUN_HEADER, ""))[:_MAX_TEXT],
            user_agent=headers.get("user-agent", "")[:_MAX_TEXT],
            key_name=self.sender.key_name[:_MAX_TEXT],
            max_tags=self.max_tags,
            limit=None if self.sender.limit is None else self.sender.limit.to_message(),
            request=self._message.SerializeToString() if self._original is None else self._original,
        ).SerializeToString()
