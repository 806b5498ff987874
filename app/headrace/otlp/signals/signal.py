"""What the receivers need to know about a signal of OTLP."""

from dataclasses import dataclass, field
from typing import Protocol

from google.protobuf.message import Message
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from headrace.otlp import weight
from headrace.otlp.codec import Encoding
from headrace.otlp.notes import Notes
from headrace.otlp.weight import Charge


@dataclass(frozen=True, slots=True)
class Decoded:
    """A body that can be stored. `original`: protobuf bytes that say just what `message` says, if the body was some.

    `records`: how many records the message holds. `unparsed`: how many more came, and are left out, as they cannot be parsed.
    `notes`: what was repaired, and what stands in fields that OTLP does not have.
    """

    message: ExportTraceServiceRequest
    original: bytes | None
    records: int
    unparsed: int
    notes: Notes = field(default_factory=Notes)


@dataclass(frozen=True, slots=True)
class Refused:
    """A body of which nothing is stored: the number of its records, and what its sender is told. The text is empty if there are
    no records."""

    records: int
    said: str


class Signal(Protocol):
    """One of OTLP's signals. Every implementation passes tests/unit/otlp/test_signals.py."""

    def __hash__(self) -> int:
        """There is one of each kind, which may be a key."""

    @property
    def name(self) -> str:
        """As it stands in the path `/v1/<name>`, and in metrics."""

    @property
    def service(self) -> str:
        """Its gRPC service, whose one method is `Export`."""

    @property
    def request(self) -> type[Message]:
        """What is sent to it."""

    @property
    def response(self) -> type[Message]:
        """What it answers."""

    @property
    def summary(self) -> str:
        """What Headrace does with it, for `/openapi.json`."""

    @property
    def stored(self) -> bool:
        """Whether Headrace stores it. One that is not is counted, and refused in words."""

    def decode(self, body: bytes, encoding: Encoding, charge: Charge = weight.nothing) -> Decoded | Refused:
        """A body, inflated → what it holds. A record that cannot be parsed costs no other.

        `charge` is called with bytes of memory before they are taken.

        Raises:
            MalformedBody: the body is no request of this signal.
            BodyTooLarge: it has too many parts. InFlightFull: `charge` raised it.
        """

    def answer(self, rejected: int, said: str) -> Message:
        """A response. Its `partial_success` is set only where something is to be said: unset means that all is well.

        Source: OTLP specification, "Partial Success"
        (https://github.com/open-telemetry/opentelemetry-proto/blob/main/docs/specification.md#partial-success-1).
        """
