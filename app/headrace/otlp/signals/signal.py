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
    def stored(self) -> bool:
        """Whether Headrace stores it. One that is not is counted, and refused in words. This is the one place that says so."""

    @property
    def strict(self) -> bool:
        """Whether a request of which no record can be stored is answered with an error. If not, it is answered with success and
        a `partial_success`, after which no client complains without end. (A request that may not go where it wants to go is
        always answered with an error.)"""

    def decode(self, body: bytes, encoding: Encoding, charge: Charge = weight.nothing) -> Decoded | Refused:
        """A body, inflated → what it holds. A record that cannot be parsed costs no other.

        `charge` is told of the memory that it takes, before it does.

        Raises:
            MalformedBody: the body is no request of this signal.
            BodyTooLarge: it has too many parts. InFlightFull: by `charge`.
        """

    def answer(self, rejected: int, said: str) -> Message:
        """A response. Its `partial_success` is set only where something is to be said: unset means that all is well.

        Source: OTLP specification, "Partial Success"
        (https://github.com/open-telemetry/opentelemetry-proto/blob/main/docs/specification.md#partial-success-1).
        """


def decoded(signal: Signal, body: bytes, encoding: Encoding, charge: Charge) -> Decoded | Refused:
    """What `Signal.decode` returns, for every signal."""
    notes = Notes()
    message, unparsed = codec.decode(body, encoding, charge, notes, signal.form)
    records = signal.form.count(message)
    if not signal.stored:
        return _refused(signal, records + unparsed)
    as_sent = encoding is Encoding.PROTOBUF and not unparsed and not notes.repaired
    return Decoded(message, body if as_sent else None, records, unparsed, notes)


def _refused(signal: Signal, count: int) -> Refused:
    """A body of a signal that is not stored, with `count` records."""
    if not count:
        return Refused(0, "")
    name = signal.name.upper()
    return Refused(
        count,
        f"Headrace does not store {signal.name}: {count} {signal.form.noun}s were not stored. Set OTEL_{name}_EXPORTER=none in "
        f"the service, or point OTEL_EXPORTER_OTLP_{name}_ENDPOINT elsewhere.",
    )
