"""What the receivers need to know about a signal of OTLP."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from google.protobuf.message import Message

from headrace.otlp import codec, weight
from headrace.otlp.codec import Encoding
from headrace.otlp.form import Form
from headrace.otlp.notes import Notes
from headrace.otlp.weight import Charge


@dataclass(frozen=True, slots=True)
class Decoded:
    """A body that can be stored. `original`: protobuf bytes that say just what `message` says, if the body was some.

    `records`: how many records the message holds. `unparsed`: how many more came, and are left out, as they cannot be parsed.
    `notes`: what was repaired, and what stands in fields that OTLP does not have.
    """

    message: Any
    original: bytes | None
    records: int
    unparsed: int
    notes: Notes = field(default_factory=Notes)


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
    def form(self) -> Form:
        """How its requests are built."""

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
    def strict(self) -> bool:
        """Whether a request of which no record can be stored is answered with an error. If not, it is answered with success and
        a `partial_success`, after which no client complains without end. (A request that may not go where it wants to go is
        always answered with an error.)"""

    def decode(self, body: bytes, encoding: Encoding, charge: Charge = weight.nothing) -> Decoded:
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


def decoded(signal: Signal, body: bytes, encoding: Encoding, charge: Charge) -> Decoded:
    """What `Signal.decode` returns, for every signal."""
    notes = Notes()
    message, unparsed = codec.decode(body, encoding, charge, notes, signal.form)
    records = signal.form.count(message)
    as_sent = encoding is Encoding.PROTOBUF and not (unparsed or notes.repaired or notes.why)  # a part without records, too
    return Decoded(message, body if as_sent else None, records, unparsed, notes)
