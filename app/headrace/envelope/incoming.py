"""A decoded request on its way from the wire into the queue, and who sent it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from typing_extensions import TypeVar

from headrace.envelope import NUMBERS
from headrace.envelope import envelope_pb2 as pb
from headrace.envelope.limit import Limit
from headrace.otlp.notes import Notes
from headrace.otlp.readable import ReadableRequest
from headrace.otlp.signals import TRACES, Signal

RUN_HEADER = "x-mlflow-run-id"
_MAX_TEXT = 256
"""The most characters that the envelope keeps of each of the sender's own words: run id, user agent, key name."""


def said_once(value: str) -> str:
    """The value of a header that may have only one value. If a client sends the same value twice, a proxy or the server joins
    the two with a comma (RFC 9110, section 5.3). This function then returns the value once."""
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
    """Who sent a request. `headers` (or gRPC metadata) have lower-case keys. `key_name` is empty if Headrace asks for no API
    keys.

    `limit`: the experiments that it may change; None: all.
    """

    headers: Mapping[str, str]
    key_name: str = ""
    limit: Limit | None = None


Readable = TypeVar("Readable", default=ReadableRequest)
"""The type through which a request's message is read."""
Content = TypeVar("Content", default=ExportTraceServiceRequest)
"""The message of a request: that of its signal."""


class Request(Generic[Readable, Content]):
    """A decoded request, and the bytes that were sent, as long as they say the same.

    `message` can only be read. To change it, call `for_change`. That drops the original bytes for good, and the queue stores
    the message as it is after the change. So nothing that was taken out of a request can be queued by mistake. The types
    enforce this: mypy reports an assignment through `message`. A test in `tests/unit/processor` finds a processor that gets
    around the types.
    """

    __slots__ = ("_message", "_original", "destinations", "max_tags", "notes", "sender", "signal", "unparsed")

    def __init__(
        self,
        message: Content,
        sender: Sender,
        original: bytes | None = None,
        unparsed: int = 0,
        notes: Notes | None = None,
        signal: Signal = TRACES,
    ) -> None:
        """`original`: the protobuf bytes that were sent, if they say exactly what `message` says. `unparsed`: the number of
        records that could not be parsed and are therefore not in `message`."""
        self._message: Any = message
        self.signal = signal
        self._original = original
        self.sender = sender
        self.unparsed = unparsed
        self.notes = notes or Notes()
        """The repairs that were made to the body so that it could be read."""
        self.max_tags = 0
        """The most tags that one of its traces may be given. 0: the writer's setting decides."""
        self.destinations: Sequence[pb.Destination] = ()
        """Where each of its resources goes. Empty until the request is authorized."""

    @property
    def message(self) -> Readable:
        """The decoded request, to be read."""
        message: Readable = self._message
        return message

    @property
    def resources(self) -> Sequence[Any]:
        """Its resources, to be read."""
        return self.signal.form.resources_of(self._message)

    @property
    def original(self) -> bytes | None:
        """The bytes that were sent. None if they do not say what `message` says."""
        return self._original

    def for_change(self) -> Content:
        """The message, to be changed in place. This drops the original bytes."""
        self._original = None
        message: Content = self._message
        return message

    def to_envelope(self, received_unix_nano: int | None = None) -> bytes:
        """The bytes that the queue stores. The time of receipt in them is now, unless it is given."""
        headers = self.sender.headers
        return pb.Envelope(
            received_unix_nano=time.time_ns() if received_unix_nano is None else received_unix_nano,
            destinations=self.destinations,
            run_id=said_once(headers.get(RUN_HEADER, ""))[:_MAX_TEXT],
            user_agent=headers.get("user-agent", "")[:_MAX_TEXT],
            key_name=self.sender.key_name[:_MAX_TEXT],
            max_tags=self.max_tags,
            limit=None if self.sender.limit is None else self.sender.limit.to_message(),
            signal=NUMBERS[self.signal],
            request=self._message.SerializeToString() if self._original is None else self._original,
        ).SerializeToString()


AnyRequest = Request[Any, Any]
"""A request of any signal."""
